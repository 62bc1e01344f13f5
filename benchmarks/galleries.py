"""Growth with the number of references: matching, in seconds and memory, and an optimisation that is offered many and
matched to few.

    OMP_NUM_THREADS=1 python benchmarks/galleries.py [--references 10 100 1000 10000] [--repeats 3] [--plot FILE]
    python benchmarks/galleries.py --data FOLDER    both formulations on real pictures, in content/ and style/ there

Descriptors are drawn at Stable Diffusion 1.5's and DINOv2's sizes: one content of 10 regions against references of 8 on
average. `pair by pair` scores one reference after the other and compares circles two at a time. `together` is ours with
all descriptors in memory, `from the store` with descriptors on disk, a file for each reference, `from a gallery` with
the blocks of many that a build adds. Every measurement is a process of its own, whose memory is the most that it had
above what came before. Seconds are those of the CPU, so that other work on the machine does not count. The formulations
must find the same matches.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from matplotlib.figure import Figure
from rich.console import Console

from stylegallery.analysis import Analysis
from stylegallery.command import listing, plain_console
from stylegallery.contract import Match, MatchConstraints
from stylegallery.descriptors import described, join, read
from stylegallery.matching import MatchingConfig, RegionDescriptors, best_matches
from stylegallery.overrides import CONFIGS
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.progress import Bars
from stylegallery.segmentation import Segmentation
from stylegallery.stopwatch import process_peak_mib
from stylegallery.store import Entries, digest

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
HOW = ("pair by pair", "together", "from the store", "from a gallery")
LIMIT = 2.0**34  # bytes of the store
NAMES = [f"{how}, {unit}" for how in HOW for unit in ("s", "MiB")]
STATISTICS, SEMANTICS = 1280, 768  # mean and variance of 640 channels; DINOv2-base
CONTENT_REGIONS, REFERENCE_REGIONS = 10, (5, 11)  # of a reference: 8 on average


# --- descriptors and both formulations ---


def drawn(number: int, regions: int) -> RegionDescriptors:
    """Random descriptors of picture `number`."""
    generator = torch.Generator().manual_seed(number)
    circles = torch.rand(regions, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 1, 0.5])
    return RegionDescriptors(
        torch.randn(regions, STATISTICS, generator=generator),
        torch.randn(regions, SEMANTICS, generator=generator),
        circles.numpy(),
    )


def content() -> RegionDescriptors:
    return drawn(10**6, CONTENT_REGIONS)


def references(count: int) -> Iterator[RegionDescriptors]:
    low, high = REFERENCE_REGIONS
    return (drawn(number, low + number % (high - low + 1)) for number in range(count))


def config() -> MatchingConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        made: MatchingConfig = instantiate(compose("config").method.matching)
    return made


def pair_by_pair(
    content: RegionDescriptors, references: Sequence[RegionDescriptors], config: MatchingConfig
) -> list[Match]:
    """One reference after the other, their circles pair by pair, and the best of a list."""
    pairs = []
    for number, reference in enumerate(references, 1):
        cosines = [
            (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).double().numpy()
            for a, b in ((content.statistics, reference.statistics), (content.semantics, reference.semantics))
        ]
        overlaps = np.array([[overlap(one, other) for other in reference.circles] for one in content.circles])
        terms = np.stack([*cosines, overlaps], axis=-1)
        pairs += [((number, region), terms[:, region - 1]) for region in range(1, len(reference.circles) + 1)]
    weights = np.array([config.statistics, config.semantics, config.geometry])
    scores = np.stack([terms for _, terms in pairs], axis=1) @ weights
    matches = []
    for region, row in enumerate(scores, 1):
        best = max(range(len(pairs)), key=lambda index: row[index])
        (picture, taken), terms = pairs[best]
        statistics, semantics, geometry = terms[region - 1].tolist()
        score = float(row[best])
        matches.append(Match(region, picture, taken, score, statistics, semantics, geometry, False))
    return matches


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two discs (row, column, radius): segments of circles, by their angles."""
    (r, s), d = (float(first[2]), float(second[2])), math.dist(first[:2], second[:2])
    if d >= r + s:
        return 0.0
    if d <= abs(r - s):
        common = math.pi * min(r, s) ** 2
    else:
        angles = [math.acos(max(-1.0, min(1.0, (d * d + p * p - q * q) / (2 * d * p)))) for p, q in ((r, s), (s, r))]
        common = sum(p * p * (a - math.sin(2 * a) / 2) for p, a in zip((r, s), angles, strict=True))
    return common / (math.pi * (r * r + s * s) - common)


# --- matching ---


def matched(count: int, repeats: int, how: str, store: Path) -> tuple[list[float], float, list[Match]]:
    """Seconds of each repeat, MiB above the imports' and matches: pair by pair or together with all descriptors in
    memory, or with those of a store."""
    one, settings, before = content(), config(), process_peak_mib()
    seconds = []
    offered = kept(count, store) if how.startswith("from") else []
    held = [] if offered else list(references(count))
    for _ in range(repeats):
        start = time.process_time()
        if how == "pair by pair":
            matches = pair_by_pair(one, held, settings)
        elif how == "together":
            matches = best_matches(one, held, settings, MatchConstraints())
        else:
            blocks = Entries(store if how == "from a gallery" else store / "none", LIMIT)
            matches = best_matches(one, described(offered, blocks), settings, MatchConstraints())
        seconds.append(time.process_time() - start)
    return seconds, process_peak_mib() - before, matches


def fill(count: int, store: Path) -> None:
    """Keep descriptors as an analysis keeps them."""
    entries, keys = Entries(store, LIMIT), [digest(str(number)) for number in range(count)]
    for key, reference in zip(keys, references(count), strict=True):
        if not entries.has(key):
            entries.put(key, {name: torch.as_tensor(value) for name, value in vars(reference).items()})


def kept(count: int, store: Path) -> list[Analysis]:
    """What a run with a store knows of its references before it reads any of them."""
    entries = Entries(store, LIMIT)
    keys = [digest(str(number)) for number in range(count)]
    nothing: Any = None
    whole: Any = read  # no entry of these is gone
    return [Analysis("", 0, partial(whole, entries, key), nothing, nothing, key) for key in keys]


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(function, *arguments).result()


# --- optimisation ---


def optimised(count: int, repeats: int) -> tuple[list[float], float]:
    """Seconds with `count` references offered over those with the matched ones alone, run in turns, and MiB above what
    building the method took: the embedded model at 128 px, four steps. References are made when they are asked for."""
    torch.set_num_threads(1)
    method = StyleGallery.from_config("store=null", "device=cpu", "resolution=128", "method.guidance.steps=4")
    photo = method.analyse(SAMPLES / "content" / "coffee.jpg")
    (height, width), regions = photo.labels.shape, int(photo.labels.max())

    def segmentation(number: int) -> Segmentation:
        generator = torch.Generator().manual_seed(number)
        labels = torch.arange(height * width).reshape(height, width) * 8 // (height * width) + 1
        return Segmentation(labels, *(torch.randn(photo.segmentation.latent.shape, generator=generator),) * 2)

    def offered(number: int) -> Analysis:
        return Analysis(
            "", 0, partial(drawn, number, 8), lambda: torch.rand(photo.image.shape), partial(segmentation, number)
        )

    spread = [1 + region * (count - 1) // max(1, regions - 1) for region in range(regions)]
    matches = [Match(i, number, 1, 0, 0, 0, 0, False) for i, number in enumerate(spread, 1)]
    plan = Plan(photo, [offered(number) for number in range(count)], matches)
    few, ratios, before = plan.of_matched(), [], process_peak_mib()
    method.render(few)
    for _ in range(repeats):
        seconds = []
        for one in (plan, few):
            start = time.process_time()
            method.render(one)
            seconds.append(time.process_time() - start)
        ratios.append(seconds[0] / seconds[1])
    return ratios, process_peak_mib() - before


# --- real pictures ---


def agree_on(folder: Path, most: int | None, resolution: int, console: Console) -> None:
    """Every photo of a benchmark against its styles, `most` of them: pair by pair on what the embedded model finds, and
    as a run matches what it reads from a gallery."""
    photos, styles = (sorted((folder / name).rglob("*.[jp][pn]g")) for name in ("content", "style"))
    styles = styles[:most]
    with tempfile.TemporaryDirectory() as place:
        settings = (f"resolution={resolution}", "resizing=square", f"store.folder={place}", "device=cpu")
        method = StyleGallery.from_config(*settings)
        store = method.analyser.store
        assert store
        pictures = [(path, None) for path in (*photos, *styles)]
        found = [analysis.descriptors for analysis in method.analyser(pictures, 0, Bars(console))]
        kept = method.analyser(pictures, 0)
        join(store.analyses, [analysis.key for analysis in kept[len(photos) :]])
        differ, error, regions = 0, 0.0, 0
        for number, photo in enumerate(kept[: len(photos)]):
            old = pair_by_pair(found[number], found[len(photos) :], method.matching)
            new = method.match(photo, kept[len(photos) :]).matches
            regions += len(new)
            differ += sum(
                (a.reference, a.reference_region) != (b.reference, b.reference_region)
                for a, b in zip(old, new, strict=True)
            )
            error = max(error, *(abs(a.score - b.score) for a, b in zip(old, new, strict=True)))
    console.print(
        f"{len(photos)} photos, {regions} regions, against {len(styles)} styles of "
        f"{sum(len(one.circles) for one in found[len(photos) :])} regions: {differ} matches differ, scores by "
        f"{error:.1e} at most"
    )


# --- what is shown ---


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Seconds, memory and the ratio of optimisations over the number of references."""
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    seconds, memory, ratio = figure.subplots(1, 3)
    counts = [row["references"] for row in rows]
    for name, colour in (
        ("pair by pair", "#b0553b"),
        ("together", "#2b6f9e"),
        ("from the store", "#4a8f4a"),
        ("from a gallery", "#8a5fa8"),
    ):
        seconds.plot(counts, [row[f"{name}, s"] for row in rows], "o-", color=colour, label=name, markersize=4)
        memory.plot(counts, [row[f"{name}, MiB"] for row in rows], "o-", color=colour, label=name, markersize=4)
    memory.plot(
        counts, [row["optimisation, MiB"] for row in rows], "o-", color="#777", label="optimisation", markersize=4
    )
    low, middle, high = zip(*(row["ratios"] for row in rows), strict=True)
    ratio.fill_between(counts, low, high, color="#2b6f9e", alpha=0.2, linewidth=0)
    ratio.plot(counts, middle, "o-", color="#2b6f9e", markersize=4)
    seconds.set(title="matching, CPU seconds", yscale="log")
    seconds.axhline(1, color="black", linewidth=0.8, linestyle=":")
    memory.set(title="memory, MiB", yscale="log")
    memory.axhline(1024, color="black", linewidth=0.8, linestyle=":")
    ratio.set(title="optimisation, ratio", ylim=(0.7, 1.3))
    ratio.axhline(1.1, color="black", linewidth=0.8, linestyle=":")
    for axes in (seconds, memory, ratio):
        axes.set(xscale="log", xlabel="references offered")
        axes.spines[["top", "right"]].set_visible(False)
    seconds.legend(frameon=False, fontsize=8)
    memory.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="write a picture of it")
    parser.add_argument("--data", type=Path, help="a folder of real pictures to agree on")
    parser.add_argument("--styles", type=int, help="only so many of its styles")
    parser.add_argument("--resolution", type=int, default=128, help="of these pictures")
    parser.add_argument("--store", type=Path, help="keep the descriptors that are drawn, for the next time")
    options = parser.parse_args()
    console = plain_console()
    if options.data:
        agree_on(options.data, options.styles, options.resolution, console)
        return
    rows: list[dict[str, Any]] = []
    table = listing("references", *NAMES, "optimisation, ratio", "optimisation, MiB", title="CPU seconds and MiB")
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary)
        alone(fill, max(options.references), store)
        for count in options.references:
            alone(join, Entries(store, LIMIT), [one.key for one in kept(count, store)])
            found = {how: alone(matched, count, options.repeats, how, store) for how in HOW}
            first, *others = ([(m.reference, m.reference_region) for m in matches] for _, _, matches in found.values())
            assert all(other == first for other in others), "the formulations disagree"
            ratios, optimisation = alone(optimised, count, options.repeats + 2)
            row: dict[str, Any] = {"references": count, "optimisation, MiB": optimisation}
            row |= {f"{how}, s": median(seconds) for how, (seconds, _, _) in found.items()}
            row |= {f"{how}, MiB": memory for how, (_, memory, _) in found.items()}
            row["ratios"] = (min(ratios), median(ratios), max(ratios))
            rows.append(row)
            cells = [f"{row[name]:.3f}" if name.endswith(" s") else f"{row[name]:.0f}" for name in NAMES]
            low, middle, high = row["ratios"]
            table.add_row(str(count), *cells, f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{optimisation:.0f}")
            console.print(f"{count} references done")
    console.print(table)
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
