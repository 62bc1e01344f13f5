"""How few updates reach the energy of the published schedule: rules that change its steps, rate, memory or start.

    python -m benchmarks.fewer_steps --data FOLDER [--items 20] [--rules published fast] [--plot FILE]

Every rule is the paper's settings on the embedded model (150 timesteps from the inverted latent, Adam at 0.05) with
what the table says; `fast` is conf/preset/fast.yaml. Two more are tried here alone: `L-BFGS` (nine timesteps, four
iterations each) and `coarse to fine` (`fast` with its first 24 updates at half the resolution).

`energy` is that of the final latent at features of its own timestep, mean over every eighth of the 150; the ratio is to
the published schedule on the same item, with its standard deviation over items. The scores are evaluation/metrics', in
the regions and matches of the item. `updates` are passes through the network that depend on z, in those of the full
resolution. Items are spread over data=mixed60. `--plot` draws energy against updates, with that deviation.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.refresh import SCORES, schedule, segmentations, sheet, true_energy
from data.benchmark import manifest_items
from evaluation.metric import Annotation, Sample
from evaluation.registry import build_metrics
from stylegallery.guidance import (
    GuidanceConfig,
    content_loss,
    guidance_timesteps,
    guided_layers,
    optimise,
    regional_style_loss,
)
from stylegallery.models.attention import SelfAttention
from stylegallery.overrides import CONFIGS
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.regions import resize_labels
from stylegallery.segmentation import Segmentation
from stylegallery.shared_attention import SharedAttention


def rules(published: GuidanceConfig) -> dict[str, GuidanceConfig]:
    """The settings of every rule that is made of settings alone."""
    fifty = replace(published, steps=50)
    preset = OmegaConf.to_container(OmegaConf.load(CONFIGS / "preset/fast.yaml").guidance)
    assert isinstance(preset, dict)
    extras = replace(published.extras, **preset.pop("extras"))
    fast = replace(published, **{**preset, "betas": tuple(preset["betas"])}, extras=extras)
    falling = replace(published.extras, final_learning_rate=0.01)
    return {
        "published": published,
        "50 steps": fifty,
        "50 steps, rate 0.15": replace(fifty, learning_rate=0.15),
        "50 steps, rate 0.25 to 0.01": replace(fifty, learning_rate=0.25, extras=falling),
        "the same, betas 0.7, 0.95": replace(fifty, learning_rate=0.25, extras=falling, betas=fast.betas),
        "fast with Adam's betas": replace(fast, betas=published.betas),
        "fast": fast,
        "fast, 50 steps": replace(fast, steps=50),
        "fast, 24 steps": replace(fast, steps=24),
        "fast, up to timestep 500": replace(fast, steps=72, extras=replace(extras, highest_timestep=500)),
    }


def run(method: StyleGallery, plan: Plan, config: GuidanceConfig) -> tuple[Tensor, float]:
    content, *references = segmentations(method, plan, config)
    latent, energies = optimise(method.model, content, references, plan.matches, config)
    return latent, len(energies)


def lbfgs(method: StyleGallery, plan: Plan, config: GuidanceConfig) -> tuple[Tensor, float]:
    """L-BFGS in place of Adam: four iterations at each of nine timesteps."""
    model, layers, passes = method.model, guided_layers(method.model, config), 0
    content, *references = segmentations(method, plan, config)
    latent = content.latent.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([latent], max_iter=4, history_size=10)
    for timestep in guidance_timesteps(model, replace(config, steps=9)):
        with torch.no_grad():
            fixed = [model.self_attention(one.latent, timestep, layers) for one in (content, *references)]

        def energy(timestep: int = timestep, fixed: list[Any] = fixed) -> Tensor:
            nonlocal passes
            passes += 1
            optimizer.zero_grad()
            attention, by_reference = model.self_attention(latent, timestep, layers), dict(enumerate(fixed[1:], 1))
            style = regional_style_loss(attention, by_reference, content, references, plan.matches, config)
            found = config.style_weight * style + config.content_weight * content_loss(attention, fixed[0])
            found.backward()
            return found

        optimizer.step(energy)
    return latent.detach(), passes


def coarse_to_fine(method: StyleGallery, plan: Plan, config: GuidanceConfig) -> tuple[Tensor, float]:
    """The first 24 of 36 updates at half the resolution, where one costs a quarter."""
    model = method.model
    fine = segmentations(method, plan, config)
    coarse = [halved(method, one) for one in fine]
    early, late = replace(config, steps=24), replace(config, steps=12, learning_rate=config.learning_rate / 2)
    latent, _ = optimise(model, coarse[0], coarse[1:], plan.matches, early)
    change = F.interpolate(latent - coarse[0].latent, fine[0].latent.shape[-2:], mode="bilinear")
    photo = fine[0].latent
    started = replace(fine[0], latent=photo + change)

    class Features(SharedAttention):
        """The content's features are its own, not those of where the optimisation starts."""

        def of_each(
            self, latents: Sequence[Tensor], timestep: int, layers: Sequence[int], batched: bool
        ) -> list[list[SelfAttention]]:
            own = [photo if latent is started.latent else latent for latent in latents]
            return model.self_attention_of_each(own, timestep, layers, batched)

    latent, _ = optimise(model, started, fine[1:], plan.matches, late, shared=Features(model, mebibytes=1))
    return latent, 24 / 4 + 12


def halved(method: StyleGallery, found: Segmentation) -> Segmentation:
    """A picture's segmentation at half the resolution."""
    image = method.model.decode(found.latent)
    latent = method.model.encode(F.interpolate(image, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1))
    labels = resize_labels(found.labels, (latent.shape[-2], latent.shape[-1]))
    return Segmentation(labels, latent, latent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the benchmark's pictures")
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--resolution", type=int, default=192)
    parser.add_argument("--rules", nargs="+", help="some of them; the published schedule is always among them")
    parser.add_argument("--rows", type=Path, help="where to put a table of all items")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--sheet", type=Path, help="where to put the pictures")
    options = parser.parse_args()
    method = StyleGallery.from_config("resizing=square", f"resolution={options.resolution}")
    published = replace(schedule("noise", method.guidance), refresh=1)
    runs: dict[str, Callable[[Plan], tuple[Tensor, float]]] = {
        name: lambda plan, config=config: run(method, plan, config)  # type: ignore[misc]
        for name, config in rules(published).items()
    }
    fast = rules(published)["fast"]
    runs |= {"L-BFGS": lambda plan: lbfgs(method, plan, fast)}
    runs |= {"coarse to fine": lambda plan: coarse_to_fine(method, plan, fast)}
    if options.rules:
        runs = {name: runs[name] for name in dict.fromkeys(["published", *options.rules])}
    every = manifest_items("mixed60", "stylegallery", options.data)
    items = every[:: len(every) // options.items][: options.items]
    metrics, _ = build_metrics(SCORES)
    rows: list[dict[str, object]] = []
    pictures: list[tuple[str, list[Tensor]]] = []
    for item in items:
        plan = method.plan(item, torch.Generator().manual_seed(0))
        annotation = Annotation(plan.content.labels, [one.labels for one in plan.references], plan.matches)
        energy = true_energy(method, segmentations(method, plan, published), plan, published)
        shown: list[Tensor] = []
        for name, call in runs.items():
            latent, updates = call(plan)
            shown.append(method.model.decode(latent))
            sample = Sample(item.id, plan.content.image, [one.image for one in plan.references], shown[-1], annotation)
            rows.append(
                {"rule": name, "item": item.id, "updates": updates, "energy": energy(latent)}
                | {metric.name: metric([sample])[0] for metric in metrics}
            )
            print(item.id, name, round(float(rows[-1]["energy"]), 4), flush=True)  # type: ignore[arg-type]
            if options.rows:
                pd.DataFrame(rows).to_csv(options.rows, index=False)
        pictures.append((item.id, shown))
    table = summary(pd.DataFrame(rows))
    print(f"\n{len(items)} items at {options.resolution} px")
    print(table.round(4).to_markdown())
    if options.plot:
        draw(table, options.plot)
    if options.sheet:
        sheet(options.sheet, pictures, list(runs))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the items, and the ratio of the energy to the published schedule's."""
    before = rows[rows.rule == "published"].set_index("item").energy
    rows = rows.assign(ratio=rows.energy / before.loc[rows.item].to_numpy())
    groups = rows.groupby("rule", sort=False)
    means = groups[["updates", "energy", "ratio"]].mean()
    means.insert(3, "± ratio", groups.ratio.std())
    return means.join(groups[list(SCORES)].mean())


def draw(table: pd.DataFrame, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for rule, marker in zip(table.index, itertools.cycle("osD^v<>PX*ph")):
        axes.errorbar(
            table.updates[rule], table.ratio[rule], table["± ratio"][rule], fmt=marker, elinewidth=0.6, label=rule
        )
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(xlabel="updates", ylabel="final energy / that of the published schedule", xlim=(0, 160))
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
