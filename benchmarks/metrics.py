"""Scoring speed of all metrics that need no download, shared against one by one.

    python benchmarks/metrics.py [--items 16] [--side 256] [--repeats 5]

One process does both in turn. `shared`: as evaluation.score, eight items at a time, each backbone once per picture.
`one by one`: every metric by itself on every item, nothing kept between them, as separate metric programs would.
Prints the median and the range over the repeats. On a busy machine set OMP_NUM_THREADS=1: threads that wait for each
other burn time.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from evaluation.metric import BATCH, Metric, MissingWeights, Sample
from evaluation.registry import build_metrics
from stylegallery.images import read_image
from stylegallery.picture_files import list_images

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
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    items = samples(options.items, options.side)
    every = [metric for metric in build_metrics()[0] if metric.kind != "regional"]
    metrics = [metric for metric in every if available(metric, copies(items[:1])[0])]
    starts = range(0, len(items), BATCH)
    runs: dict[str, list[tuple[float, float]]] = {"shared": [], "one by one": []}
    with torch.inference_mode():
        for _ in range(options.repeats):
            runs["shared"].append(run(metrics, [copies(items[start : start + BATCH]) for start in starts]))
            parts = [run([metric], [copies([item])]) for item in items for metric in metrics]
            runs["one by one"].append((sum(clock for clock, _ in parts), sum(cores for _, cores in parts)))
    print(f"{len(metrics)} metrics, {len(items)} items, {options.side} px, {torch.get_num_threads()} threads")
    for name, times in runs.items():
        clock, cores = ([len(items) / seconds for seconds in kind] for kind in zip(*times, strict=True))
        print(f"{name:<10}  items/s {spread(clock)}   items per core second {spread(cores)}")
    pairs = list(zip(runs["one by one"], runs["shared"], strict=True))
    clock, cores = ([single[kind] / shared[kind] for single, shared in pairs] for kind in (0, 1))
    print(f"ratio       clock   {spread(clock)}   core seconds          {spread(cores)}")


def spread(values: Sequence[float]) -> str:
    return f"{median(values):5.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
