"""Scoring speed of all metrics that need no download, batched and shared against one by one.

    python benchmarks/metrics.py [--items 24] [--side 256]

One process does both. `batched`: as evaluation.score, eight items at a time, each backbone once per picture. `one by
one`: every metric by itself on every item, nothing kept between them, as a loop over separate metric programs would.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from evaluation.backbones import BATCH, MissingWeights
from evaluation.metric import Metric, Sample
from evaluation.score import build_metrics
from stylegallery.images import list_images, read_image

SAMPLES = Path(__file__).parent.parent / "data" / "samples"


def samples(count: int, side: int) -> list[Sample]:
    """Blends of the bundled pictures, each with one reference; no two pictures are equal."""
    pictures = [
        F.interpolate(read_image(path), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        for folder in ("content", "style")
        for path in list_images(str(SAMPLES / folder))
    ]
    made = []
    for index in range(count):
        content, style = (pictures[(index * step) % len(pictures)].roll(index, -1) for step in (1, 3))
        made.append(Sample(str(index), content, [style], (content + style.flip(-1)) / 2))
    return made


def copies(originals: Sequence[Sample]) -> list[Sample]:
    return [Sample(s.item, s.content.clone(), [r.clone() for r in s.references], s.image.clone()) for s in originals]


def run(metrics: Sequence[Metric], groups: Iterable[list[Sample]]) -> tuple[float, float]:
    """Seconds by the clock and seconds of all cores together; only the latter mean much on a shared machine."""
    clock, cores = time.perf_counter(), time.process_time()
    for group in groups:
        for metric in metrics:
            metric(group)
    return time.perf_counter() - clock, time.process_time() - cores


def available(metric: Metric, sample: Sample) -> bool:
    try:
        metric([sample])
    except MissingWeights:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    items = samples(options.items, options.side)
    every = [metric for metric in build_metrics()[0] if metric.kind != "regional"]
    metrics = [metric for metric in every if available(metric, copies(items[:1])[0])]
    with torch.inference_mode():
        batched = run(metrics, [copies(items[start : start + BATCH]) for start in range(0, len(items), BATCH)])
        parts = [run([metric], [copies([item])]) for item in items for metric in metrics]
    single = tuple(sum(part) for part in zip(*parts, strict=True))
    print(f"{len(metrics)} metrics, {len(items)} items, {options.side} px, {torch.get_num_threads()} threads")
    for name, (clock, cores) in {"batched": batched, "one by one": single}.items():
        print(f"{name:<10} {len(items) / clock:6.2f} items/s {len(items) / cores:6.2f} items per core second")
    print(f"ratio      {single[0] / batched[0]:6.2f} by the clock, {single[1] / batched[1]:.2f} in core seconds")


if __name__ == "__main__":
    main()
