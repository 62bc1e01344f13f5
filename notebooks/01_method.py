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
from sklearn.metrics import silhouette_score

import stylegallery
from stylegallery import MatchConstraints, StyleGallery
from stylegallery.draws import derived
from stylegallery.figures import energy_figure, overview, plan_figure, regions_figure, show
from stylegallery.guidance import guidance_timesteps, style_target
from stylegallery.images import read_image, to_pixels
from stylegallery.inversion import fuse
from stylegallery.matching import score_terms
from stylegallery.region_pictures import deepest_point
from stylegallery.regions import flat_labels, region_count, resize_labels
from stylegallery.segmentation import cluster, principal_components

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
content, *references = analyses = [gallery.analyse(picture) for picture in (CONTENT, *REFERENCES)]


def show_row(drawings: dict[str, np.ndarray], height: float = 2.6) -> list[plt.Axes]:
    """Pictures (H, W, 3) side by side at one height, each under its name."""
    widths = [pixels.shape[1] / pixels.shape[0] for pixels in drawings.values()]
    size = (height * sum(widths), height + 0.3)
    _, axes = plt.subplots(1, len(drawings), figsize=size, width_ratios=widths, layout="constrained")
    for axis, (name, pixels) in zip(axes, drawings.items(), strict=True):
        show(axis, pixels, name)
    return list(axes)


# %% [markdown]
# ## Stage 1: semantic regions (§3.1)
#
# DDIM inversion turns the clean latent into noise, step by step, and at every step the UNet's third up block describes
# each cell of the latent grid. The features of all steps are averaged with weights $d(i)$ that favour the less noisy
# ones. Below, the three leading principal components of each map are its red, green and blue.

# %%
model, setting, found = gallery.model, gallery.segmentation, content.segmentation
seed = derived(content.run_seed, read_image(CONTENT))  # what is drawn for a picture is its own
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
# K-means cuts the fused features into $k$ clusters, and the silhouette chooses $k$. Clusters whose mean latents, which
# hold their colour, are close to each other become one, borders move onto the edges of the picture (not in the paper,
# and off for other models than the small one), and specks go to their neighbours: what is left are the regions.
# `analyse` did all of this for each picture alone, the references like the content.

# %%
window = setting.smoothing
smooth = F.avg_pool2d(fused[None], window, 1, window // 2, count_include_pad=False)[0]
points = principal_components(smooth.flatten(1).T.cpu().numpy(), setting.components, seed)
smallest, largest = setting.clusters
clusters = {k: cluster(points, replace(setting, clusters=(k, k)), seed) for k in range(smallest, largest + 1)}
silhouettes = pd.Series({k: silhouette_score(points, numbers) for k, numbers in clusters.items()})
_ = silhouettes.plot(marker="o", figsize=(5, 2.4), xlabel="number of clusters k", ylabel="silhouette ↑")

# %%
regions_figure(analyses)

# %% [markdown]
# ## Stage 2: matching (§3.2)
#
# Every content region is compared with every region of every reference by three terms: statistics of the fused
# features, semantics of an image encoder, and geometry, the overlap of the enclosing circles. The score is their
# weighted sum, and the best region wins.

# %%
plan = gallery.match(content, references)

candidates = [(r, j) for r, one in enumerate(references, 1) for j in range(1, region_count(one.labels) + 1)]
terms = np.concatenate([score_terms(content.descriptors, one.descriptors) for one in references], axis=1)
weights = {name: getattr(gallery.matching, name) for name in ("statistics", "semantics", "geometry")}
rows = pd.Index(range(1, len(plan.matches) + 1), name="content region")
columns = pd.MultiIndex.from_tuples(candidates, names=["reference", "region"])
scores = pd.DataFrame(terms @ np.array(list(weights.values())), rows, columns)
scores.style.format("{:.2f}").background_gradient("Greens", axis=1)

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
# in the softmax with logit 0) and *excluded* (the paper). The titles say how much attention arrives in the match
# (outlined); what is missing under *zeroed* goes to values of zero.

# %%
region = int(torch.bincount(content.labels.flatten()).argmax())
match = plan.matches[region - 1]
matched = references[match.reference - 1]

timesteps = guidance_timesteps(model, gallery.guidance)
timestep, layer = timesteps[len(timesteps) // 2], model.layer_count - 1
with torch.no_grad():
    content_attention, reference_attention = (
        model.self_attention(one.segmentation.latent, timestep, [layer])[0] for one in (content, matched)
    )

x, y = deepest_point(content.labels, region, content.labels.shape)
token = round(y) * content.labels.shape[1] + round(x)
query = content_attention.query[:, :, token : token + 1]
flat = flat_labels(matched.labels, reference_attention.key.shape[2])
keys = torch.nonzero(flat == match.reference_region)[:, 0]
values = reference_attention._replace(value=torch.eye(len(flat)).expand(1, query.shape[1], -1, -1))

pictures, scale = {f"a query of content region {region}": to_pixels(content.image)}, gallery.guidance.attention_scale
for outside in ("attended", "zeroed", "excluded"):
    heat = style_target(query, values, keys, scale, outside).mean(1)[0, 0]
    shade = heat.reshape(matched.labels.shape).sqrt().numpy()
    pictures[f"{outside}: {heat[keys].sum():.0%} in the match"] = plt.get_cmap("hot_r")(shade / shade.max())[..., :3]
axes = show_row(pictures)
axes[0].plot(*deepest_point(content.labels, region, content.image.shape[-2:]), "+", color="tab:red", markersize=18)
for axis in axes[1:]:
    axis.contour(matched.labels == match.reference_region, [0.5], colors="tab:blue", linewidths=1.5)

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
# The user may pin a region (`pins=` on the command line; a click in the [studio](../docs/studio.md)). Here the largest
# content region takes the best region of another reference than its own choice; no picture is analysed again. The
# result should change inside the region above all.

# %%
reference, target = scores.loc[region].drop(index=match.reference, level="reference").idxmax()
pin = int(reference), int(target)
other_plan = gallery.match(content, references, MatchConstraints({region: pin}))
plan_figure(other_plan)

# %%
pinned = gallery.render(other_plan)
change = (pinned.image - result.image).abs().mean(1)[0].numpy()
inside = resize_labels(content.labels, change.shape).numpy() == region
difference = f"difference: {change[inside].mean():.3f} inside, {change[~inside].mean():.3f} outside"
axes = show_row(
    {
        "its own choice": to_pixels(result.image),
        f"region {region} pinned to {pin[0]}.{pin[1]}": to_pixels(pinned.image),
        difference: plt.get_cmap("gray_r")(change / change.max())[..., :3],
    }
)
_ = axes[2].contour(inside, [0.5], colors="tab:blue", linewidths=1.5)
