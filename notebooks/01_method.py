# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The method, stage by stage
#
# StyleGallery ([arXiv 2603.10354](https://arxiv.org/abs/2603.10354)) stylises a photo region by region, each from the
# best region of any reference. This notebook walks through its three stages on bundled pictures, with a look at what
# each of them hands on. `analyse`, `match` and `render` are those of [`pipeline.py`](../stylegallery/pipeline.py); the
# model is the small one that ships with the repository, so the pictures are not those of Stable Diffusion.

# %%
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.patches import Rectangle
from sklearn.metrics import silhouette_score

import stylegallery
from stylegallery import MatchConstraints, StyleGallery
from stylegallery.draws import derived
from stylegallery.figures import energy_figure, overlay, overview, plan_figure, regions_figure, show
from stylegallery.guidance import guidance_timesteps, style_target
from stylegallery.images import read_image, to_pixels
from stylegallery.inversion import fuse
from stylegallery.matching import score_terms
from stylegallery.region_pictures import colours, deepest_point
from stylegallery.regions import flat_labels, region_count, resize_labels
from stylegallery.segmentation import cluster, merge, principal_components

SAMPLES = Path(stylegallery.__file__).parents[1] / "data" / "samples"

# %% [markdown]
# Settings to play with. Stage 3 is shortened so that the notebook takes a minute on one core; `None` keeps the number
# of updates of the preset, for the quality of `make demo`.

# %% tags=["parameters"]
CONTENT = SAMPLES / "content" / "coffee.jpg"
REFERENCES = [SAMPLES / "style" / "pencil_still_life.jpg", SAMPLES / "style" / "ink_mountains.jpg"]  # two or more
OVERRIDES = []  # settings of the method as on the command line: "resolution=512", "model=sd15", ...
UPDATES = 6

# %%
gallery = StyleGallery.from_config(*OVERRIDES)
model = gallery.model
content, *references = analyses = [gallery.analyse(picture) for picture in (CONTENT, *REFERENCES)]
images, labels = [one.image for one in analyses], [one.labels for one in analyses]
names = ["content", *(f"reference {number}" for number in range(1, len(images)))]
seed = derived(content.run_seed, read_image(CONTENT))  # what is drawn for a picture is its own


def show_row(drawings: dict[str, np.ndarray], height: float = 2.6) -> tuple[plt.Figure, list[plt.Axes]]:
    """Pictures (H, W, 3) side by side at one height, each under its name."""
    widths = [pixels.shape[1] / pixels.shape[0] for pixels in drawings.values()]
    figure, axes = plt.subplots(
        1, len(drawings), figsize=(height * sum(widths), height + 0.3), width_ratios=widths, layout="constrained"
    )
    for axis, (name, pixels) in zip(np.atleast_1d(axes), drawings.items(), strict=True):
        show(axis, pixels, name)
    return figure, list(np.atleast_1d(axes))


_ = show_row({name: to_pixels(image) for name, image in zip(names, images, strict=True)})

# %% [markdown]
# ## Stage 1: semantic regions (§3.1)
#
# DDIM inversion turns the clean latent into noise, step by step, and at every step the UNet's third up block describes
# each cell of the latent grid. The features of all steps are averaged with weights $d(i)$ that favour the less noisy
# ones. Below, the three leading principal components of each map are its red, green and blue.

# %%
setting, found = gallery.segmentation, content.segmentation
steps = list(model.invert(found.latent, setting.inversion_steps))
fused = fuse([step.features for step in steps])[0]


def component_colours(features: torch.Tensor) -> np.ndarray:
    """A feature map (C', h, w) as a picture: cells of like features have like colours."""
    values = principal_components(features.flatten(1).T.cpu().numpy(), 3, seed)
    low, high = np.percentile(values, [1, 99], axis=0)
    return ((values - low) / (high - low)).clip(0, 1).reshape(*features.shape[1:], 3)


chosen = [steps[0], steps[len(steps) // 2], steps[-1]]
maps = {f"features at t = {step.timestep}": component_colours(step.features[0]) for step in chosen}
_ = show_row(maps | {"fused": component_colours(fused)}, height=1.9)

# %% [markdown]
# `analyse` did the whole of stage 1 for each picture alone, the references like the content.

# %%
features = [gallery.analyser.inverted([image])[0].features for image in images]
_ = show_row({f"{name}: fused features": component_colours(one) for name, one in zip(names, features, strict=True)})

# %%
regions_figure(analyses)

# %% [markdown]
# How the content came to its regions: K-means cuts the features into $k$ clusters, and the silhouette chooses $k$.

# %%
window = setting.smoothing
smooth = F.avg_pool2d(features[0][None], window, 1, window // 2, count_include_pad=False)[0]
points = principal_components(smooth.flatten(1).T.cpu().numpy(), setting.components, seed)

smallest, largest = setting.clusters
clusters = {k: cluster(points, replace(setting, clusters=(k, k)), seed) for k in range(smallest, largest + 1)}
silhouettes = pd.Series({k: silhouette_score(points, found) for k, found in clusters.items()})
best = silhouettes.idxmax()


def tinted(flat: np.ndarray) -> np.ndarray:
    """The content under the colours of a flat labelling that starts at 0."""
    return overlay(images[0], torch.from_numpy(flat.reshape(labels[0].shape)) + 1, colours(flat.max() + 1))


columns = 5
figure = plt.figure(figsize=(12, 3.4), layout="constrained")
places = figure.add_gridspec(2, columns + 2)
axes = figure.add_subplot(places[:, :2])
axes.plot(silhouettes, color="0.3", marker="o")
axes.plot(best, silhouettes[best], "o", color="tab:red", markersize=9)
axes.set(xlabel="number of clusters k", ylabel="silhouette ↑", xticks=silhouettes.index)
axes.spines[["top", "right"]].set_visible(False)
for place, k in enumerate(list(clusters)[: 2 * columns]):
    axes = figure.add_subplot(places[place // columns, 2 + place % columns])
    show(axes, tinted(clusters[k]), f"k = {k}")
    axes.title.set_color("tab:red" if k == best else "black")

# %% [markdown]
# Clusters whose mean latents, which hold their colour, are close to each other become one, borders move onto the edges
# of the picture (not in the paper, and off for other models than the small one), and specks go to their neighbours. Few
# clusters leave little to merge, so the largest $k$ is shown beside the chosen one.

# %%
latents = found.latent[0].flatten(1).T.cpu().numpy().astype(np.float64)
pieces = {}
for k in dict.fromkeys((largest, best)):
    merged = merge(clusters[k], [(latents, setting.merge_distance)], setting.merging)
    pieces |= {f"{k} clusters": tinted(clusters[k]), f"of {k}, merged: {merged.max() + 1}": tinted(merged)}
pieces["on the edges, without specks: the regions"] = tinted(labels[0].flatten().numpy() - 1)
_ = show_row(pieces, height=1.7)

# %% [markdown]
# ## Stage 2: matching (§3.2)
#
# Every content region is compared with every region of every reference by three terms: statistics of the fused
# features, semantics of an image encoder, and geometry, the overlap of the enclosing circles. The score is their
# weighted sum and the best region wins (framed).

# %%
plan = gallery.match(content, references)

candidates = [(i, j) for i, regions in enumerate(labels[1:], 1) for j in range(1, region_count(regions) + 1)]
terms = np.concatenate([score_terms(content.descriptors, one.descriptors) for one in references], axis=1)
weights = {name: getattr(gallery.matching, name) for name in ("statistics", "semantics", "geometry")}
scores = terms @ np.array(list(weights.values()))

tables = {f"{name} (× {weight:g})": terms[..., index] for index, (name, weight) in enumerate(weights.items())}
rows = len(plan.matches)
figure, axes = plt.subplots(2, 2, figsize=(12, 1.6 + 0.9 * rows), sharex=True, sharey=True, layout="constrained")
for axis, (name, values) in zip(axes.flat, (tables | {"score ↑": scores}).items(), strict=True):
    axis.imshow(values, cmap="Blues" if values is not scores else "Greens", aspect="auto")
    axis.set_title(name, fontsize=10)
    middle = (values.min() + values.max()) / 2
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if value > middle else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)
    for match in plan.matches:
        corner = candidates.index((match.reference, match.reference_region)) - 0.5, match.content_region - 1.5
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="tab:red", linewidth=2))
axes[0, 0].set_xticks(range(len(candidates)), [f"{reference}.{region}" for reference, region in candidates])
axes[0, 0].set_yticks(range(rows), range(1, rows + 1))
_ = figure.supxlabel("reference.region", fontsize=10), figure.supylabel("content region", fontsize=10)

# %%
plan_figure(plan)

# %% [markdown]
# ## Stage 3: energy-guided optimisation (§3.3)
#
# The latent is optimised until every self-attention layer puts out, in a content region, what its queries would get
# from the keys and values of the matched reference region. *Sparse* attention is the point: a query may look at its
# match and nowhere else.
#
# Take one query, the deepest point of the largest content region (cross), and the last layer. With the identity matrix
# in the place of the values, the style target is the attention itself. Three ways to treat the keys outside the match:
# *attended* like the others (no regions at all), *zeroed* (what the published code computes: each outside key stays
# in the softmax with logit 0) and *excluded* (the paper). The titles say how much attention arrives in the match; what
# is missing under *zeroed* goes to values of zero.

# %%
shares = torch.bincount(labels[0].flatten(), minlength=rows + 1)
region = int(shares.argmax())
match = plan.matches[region - 1]
reference_labels, reference_image = labels[match.reference], images[match.reference]

timesteps = guidance_timesteps(model, gallery.guidance)
timestep, layer = timesteps[len(timesteps) // 2], model.layer_count - 1
with torch.no_grad():
    content_attention, reference_attention = (
        model.self_attention(analyses[number].segmentation.latent, timestep, [layer])[0]
        for number in (0, match.reference)
    )

x, y = deepest_point(labels[0], region, labels[0].shape)
token = round(y) * labels[0].shape[1] + round(x)
query = content_attention.query[:, :, token : token + 1]
flat = flat_labels(reference_labels, reference_attention.key.shape[2])
keys = torch.nonzero(flat == match.reference_region)[:, 0]
identity = torch.eye(len(flat)).expand(1, query.shape[1], -1, -1)
attention = {
    outside: style_target(
        query, reference_attention._replace(value=identity), keys, gallery.guidance.attention_scale, outside
    ).mean(1)[0, 0]
    for outside in ("attended", "zeroed", "excluded")
}

# %%
shape = reference_image.shape[-2:]
match_outline = resize_labels((reference_labels == match.reference_region).long(), shape)
backdrop = to_pixels(reference_image).mean(-1)
top = max(float(heat.max()) for heat in attention.values())
figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), layout="constrained")
show(axes[0], to_pixels(images[0]), f"a query of content region {region}")
cross = deepest_point(labels[0], region, images[0].shape[-2:])
axes[0].plot(*cross, "+", color="white", markersize=18, markeredgewidth=5)
axes[0].plot(*cross, "+", color="tab:red", markersize=16, markeredgewidth=2.5)
for axis, (outside, heat) in zip(axes[1:], attention.items(), strict=True):
    axis.imshow(backdrop, cmap="gray", vmin=-500, vmax=255)
    cells = heat.reshape(reference_labels.shape).numpy()
    extent = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    drawn = axis.imshow(cells, cmap="hot_r", norm=PowerNorm(0.5, 0, top), alpha=(cells / top) ** 0.25, extent=extent)
    axis.contour(match_outline, [0.5], colors="tab:blue", linewidths=1.5)
    axis.set_title(f"{outside}: {heat[keys].sum():.0%} in the match", fontsize=10)
    axis.axis("off")
bar = figure.colorbar(ScalarMappable(drawn.norm, drawn.cmap), ax=axes, label="attention, mean over heads", shrink=0.8)

# %% [markdown]
# The energy is the regional style loss, the distance from this target, plus the weighted global content loss, which
# holds the queries where the content has them. Adam lowers it at each timestep, from high to low. Energies of different
# timesteps are on different scales, so the curve need not fall to its end.

# %%
if UPDATES:
    shorter = UPDATES / (len(timesteps) * gallery.guidance.iterations)
    gallery.guidance = replace(gallery.guidance, steps=max(1, round(gallery.guidance.steps * shorter)))
result = gallery.render(plan)
energy_figure(result.energies)

# %%
overview(result, CONTENT.stem)

# %% [markdown]
# ## An experiment: another match for one region
#
# The user may pin a region (`pins=` on the command line). Here the largest content region takes the best region of
# another reference than its own choice; no picture is analysed again. The result should change inside the region above
# all.

# %%
others = [index for index, (reference, _) in enumerate(candidates) if reference != match.reference]
pin = candidates[max(others, key=lambda index: scores[region - 1, index])]
pinned = gallery.render(gallery.match(content, references, MatchConstraints({region: pin})))

change = (pinned.image - result.image).abs().mean(1)[0].numpy()
inside = resize_labels(labels[0], images[0].shape[-2:]).numpy() == region
_, axes = show_row(
    {
        f"region {region} ← {match.reference}.{match.reference_region}, its own choice": to_pixels(result.image),
        f"region {region} ← {pin[0]}.{pin[1]}, pinned": to_pixels(pinned.image),
        f"difference: {change[inside].mean():.3f} inside, {change[~inside].mean():.3f} outside": plt.get_cmap("gray_r")(
            change / change.max()
        )[..., :3],
    }
)
_ = axes[2].contour(inside, [0.5], colors="tab:blue", linewidths=1.5)
