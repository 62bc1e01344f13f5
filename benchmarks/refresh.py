"""What `guidance.refresh` costs and saves: features of content and references taken once for r timesteps, against every
timestep, on the embedded model. Printed beside it: what another seed and another rounding (`batched=false`) change.

    python benchmarks/refresh.py --data FOLDER [--items 8] [--schedules preset] [--sheet sheet.png]

Items are those of data=mixed60 with two references, spread so that contents and families differ. The schedules are
`preset`, that of the embedded model (8 timesteps 20 apart); `fine`, the paper's 150 x 1 and Adam with the embedded
model's extras (25 timesteps up to 150, 6 apart); and `noise`, the paper's settings as they are, from the inverted
latent through all 150 timesteps.

`speed` is seconds of this process's CPU time in stage 3 at r = 1 by those of the row (run it with OMP_NUM_THREADS=1).
`grey` is the mean absolute difference of the picture from r = 1 on the same seed, in grey levels. `energy` is that of
the final latent at features of the same timestep, whatever r the run had. The scores are those of evaluation/metrics,
regional ones in the regions of seed 0. Of every score stand the mean change against r = 1 and, in brackets, its mean
absolute value over the items, which is the spread where the row is another seed.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageDraw
from torch import Tensor

from data.benchmark import manifest_items
from evaluation.metric import Annotation, Metric, Sample
from evaluation.registry import build_metrics
from stylegallery.contract import Item
from stylegallery.guidance import (
    GuidanceConfig,
    content_loss,
    guidance_timesteps,
    guided_layers,
    optimise,
    regional_style_loss,
)
from stylegallery.images import to_pixels
from stylegallery.overrides import CONFIGS
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.segmentation import Segmentation

REFRESH = (1, 2, 4, 5, 8, 10, 16)
SEEDS = (1, 2)
SCORES = ("regional_style_efficientnet", "structure_efficientnet", "texture", "regional_texture")


def schedule(name: str, preset: GuidanceConfig) -> GuidanceConfig:
    """The settings of stage 3 of a schedule, see above."""
    if name == "preset":
        return preset
    if name == "fine":
        return replace(preset, steps=150, iterations=1, learning_rate=0.06, betas=(0.9, 0.999))
    paper: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "method/stylegallery.yaml").guidance)
    extras = {key: value for key, value in paper["extras"].items() if key != "_target_"}
    own = {key: value for key, value in paper.items() if key not in ("_target_", "extras")}
    return replace(preset, **own, extras=replace(preset.extras, **extras))


def segmentations(method: StyleGallery, plan: Plan, config: GuidanceConfig) -> list[Segmentation]:
    """Content and references as `StyleGallery.render` hands them on."""
    if config.extras.initial == "content":
        content, references, _ = method.scene(plan)
        return [content, *references]
    return [analysis.segmentation for analysis in plan.analyses]


@torch.no_grad()
def true_energy(
    method: StyleGallery, found: Sequence[Segmentation], plan: Plan, config: GuidanceConfig
) -> Callable[[Tensor], float]:
    """The energy of a latent at features of the same timestep, mean over every eighth timestep of the schedule."""
    model, layers = method.model, guided_layers(method.model, config)
    timesteps = guidance_timesteps(model, config)[::8]
    fixed = [[model.self_attention(one.latent, timestep, layers) for one in found] for timestep in timesteps]

    @torch.no_grad()
    def energy(latent: Tensor) -> float:
        values = []
        for timestep, (content, *references) in zip(timesteps, fixed, strict=True):
            attention, by_reference = model.self_attention(latent, timestep, layers), dict(enumerate(references, 1))
            style = regional_style_loss(attention, by_reference, found[0], found[1:], plan.matches, config)
            values.append(config.style_weight * style + config.content_weight * content_loss(attention, content))
        return float(torch.stack(values).mean())

    return energy


def variants(config: GuidanceConfig, timesteps: int) -> Iterator[tuple[str, int, GuidanceConfig]]:
    """Name, seed and settings of every run; the first is what all others are compared with."""
    for refresh in REFRESH:
        if refresh < timesteps or refresh == min(r for r in REFRESH if r >= timesteps):  # the others are the same
            yield f"r = {refresh}", 0, replace(config, refresh=refresh)
    for seed in SEEDS:
        yield "another seed", seed, replace(config, refresh=1)
    yield "another rounding", 0, replace(config, refresh=1, batched=not config.batched)


def measured(
    method: StyleGallery, item: Item, name: str, plans: Sequence[Plan], metrics: Sequence[Metric]
) -> tuple[list[dict[str, object]], list[Tensor]]:
    """A row for every variant of an item, and its pictures."""
    annotation = Annotation(plans[0].content.labels, [one.labels for one in plans[0].references], plans[0].matches)
    rows: list[dict[str, object]] = []
    pictures: list[Tensor] = []
    config = schedule(name, method.guidance)
    energy = true_energy(method, segmentations(method, plans[0], config), plans[0], config)
    for variant, seed, settings in variants(config, len(guidance_timesteps(method.model, config))):
        plan = plans[seed]
        content, *references = segmentations(method, plan, settings)
        start = time.process_time()
        latent, _ = optimise(method.model, content, references, plan.matches, settings)
        seconds = time.process_time() - start
        picture = method.model.decode(latent)
        sample = Sample(item.id, plan.content.image, [one.image for one in plan.references], picture, annotation)
        pictures.append(picture)
        row = {"schedule": name, "item": item.id, "variant": variant, "seconds": seconds}
        row |= {"grey": float((picture - pictures[0]).abs().mean()) * 255, "energy": energy(latent)}
        rows.append(row | {metric.name: metric([sample])[0] for metric in metrics})
    return rows, pictures


@torch.no_grad()
def drift(method: StyleGallery, latents: Sequence[Tensor]) -> pd.DataFrame:
    """How far features move from a timestep (rows) to one so many above (columns): mean |difference| by mean |feature|
    of queries, keys and values, mean over layers and latents, in per cent."""
    layers, rows = guided_layers(method.model, method.guidance), dict[int, dict[str, float]]()
    for timestep in (1, 51, 101, 201, 401, 601, 801):
        rows[timestep] = {}
        for distance in (0, 6, 24, 30, 48, 60, 96):
            found = [method.model.self_attention(latent, timestep + distance, layers) for latent in latents]
            if distance == 0:
                at = found
                continue
            moved = [
                float((tensor - other).abs().mean() / other.abs().mean())
                for attention, before in zip(found, at, strict=True)
                for layer, same in zip(attention, before, strict=True)
                for tensor, other in zip(layer[:3], same[:3], strict=True)
            ]
            rows[timestep][f"+{distance}"] = 100 * float(np.mean(moved))
    return pd.DataFrame(rows).T


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every variant: median (and range) of speed, and means over the items of the changes against the first variant,
    with the largest picture's or, in brackets, mean absolute values."""
    rows = rows.reset_index(drop=True)
    before = rows[rows.variant == "r = 1"].set_index("item").loc[rows.item].reset_index()
    table = {}
    for variant, part in rows.groupby("variant", sort=False):
        first = before.loc[part.index]
        speed, energy = first.seconds / part.seconds, 100 * (part.energy / first.energy - 1)
        table[variant] = {
            "speed": f"{speed.median():.2f} ({speed.min():.2f} to {speed.max():.2f})",
            "grey": f"{part.grey.mean():.2f} (at most {part.grey.max():.2f})",
            "energy": f"{energy.mean():+.2f} % [{energy.abs().mean():.2f}]",
        }
        for score in SCORES:
            change = part[score] - first[score]
            table[variant][score] = f"{change.mean():+.4f} [{change.abs().mean():.4f}]"
    return pd.DataFrame(table).T


def sheet(path: Path, rows: Sequence[tuple[str, Sequence[Tensor]]], names: Sequence[str]) -> None:
    """Pictures of every item side by side, captioned."""
    lines = [np.hstack([to_pixels(picture) for picture in pictures]) for _, pictures in rows]
    image = Image.fromarray(np.vstack(lines))
    draw, side = ImageDraw.Draw(image), lines[0].shape[0]
    for row, (label, _) in enumerate(rows):
        for column, name in enumerate(names):
            draw.text((column * side + 3, row * side + 3), f"{label[:12]} {name}", fill="white", stroke_width=1,
                      stroke_fill="black")  # fmt: skip
    image.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the benchmark's pictures")
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--schedules", nargs="+", choices=("preset", "fine", "noise"), default=["preset", "fine"])
    parser.add_argument("--drift", action="store_true", help="only how far features move between timesteps")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--sheet", type=Path, help="where to put the pictures; the schedule's name is added")
    parser.add_argument("--rows", type=Path, help="where to put a table of all items, after every item")
    options = parser.parse_args()
    method = StyleGallery.from_config("resizing=square", f"resolution={options.resolution}")
    every = [item for item in manifest_items("mixed60", "stylegallery", options.data) if len(item.references) == 2]
    items = every[:: len(every) // options.items][: options.items]
    if options.drift:
        paths = [path for item in items for path in (item.content, *item.references)]
        latents = [method.model.encode(method.analyser.read(path).image) for path in paths]
        print(drift(method, latents).round(2).to_markdown())
        return
    metrics, _ = build_metrics(SCORES)
    rows: list[dict[str, object]] = []
    pictures: dict[str, list[tuple[str, list[Tensor]]]] = {name: [] for name in options.schedules}
    for item in items:
        plans = [method.plan(item, torch.Generator().manual_seed(seed)) for seed in (0, *SEEDS)]
        for name in options.schedules:
            found, shown = measured(method, item, name, plans, metrics)
            rows += found
            pictures[name].append((item.id, shown))
            print(name, item.id, [f"{row['grey']:.2f}" for row in found], flush=True)
        frame = pd.DataFrame(rows)
        if options.rows:
            frame.to_csv(options.rows, index=False)
    for name, part in frame.groupby("schedule", sort=False):
        print(f"\n{name}, {len(items)} items at {options.resolution} px")
        print(summary(part).to_markdown())
        if options.sheet:
            names = part.variant[part.item == items[0].id].tolist()
            sheet(options.sheet.with_stem(f"{options.sheet.stem}_{name}"), pictures[str(name)], names)


if __name__ == "__main__":
    main()
