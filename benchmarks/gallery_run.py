"""A run that is offered thousands of pictures, from the command line to its result, beside the same run with the
matched ones alone.

    OMP_NUM_THREADS=1 python -m benchmarks.gallery_run [--pictures 10000] [resolution=96 method.guidance.steps=10 ...]

Pictures are small files of noise. What stages 1 and 2 would find of them is drawn into a store, in the shapes that one
of them really has, since analysing all takes hours. `gallery build` then finds all analysed and joins descriptors.
Each command is a process of its own: its seconds of the CPU and of the clock, and the most memory it had.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from stylegallery.command import listing, plain_console
from stylegallery.pipeline import StyleGallery
from stylegallery.progress import Bars
from stylegallery.provenance import file_digest

ROOT = Path(__file__).parent.parent
CONTENT = ROOT / "data" / "samples" / "content" / "coffee.jpg"


def paint(folder: Path, count: int) -> list[Path]:
    """Pictures of noise."""
    folder.mkdir()
    draw, paths = np.random.default_rng(0), [folder / f"{number:05}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
    return paths


def simulate(paths: list[Path], settings: list[str], console: Console) -> None:
    """Keep an analysis of every picture: the regions of the first, and descriptors that are drawn."""
    method = StyleGallery.from_config(*settings)
    store, one = method.analyser.store, method.analyse(paths[0])
    assert store
    regions = {"labels": one.labels, "latent": one.segmentation.latent, "inverted": one.segmentation.inverted}
    for path in Bars(console).track(paths, description="analyses"):
        key = store.analysis_key(file_digest(path), "", 0)
        draw = torch.Generator().manual_seed(int(key[:8], 16))
        known = {name: torch.as_tensor(value) for name, value in vars(one.descriptors).items()}
        drawn = {name: torch.rand(value.shape, generator=draw, dtype=value.dtype) for name, value in known.items()}
        store.analyses.put(key, regions | drawn)


def measured(*command: str) -> tuple[float, float, float]:
    """Seconds of the CPU, seconds of the clock and MiB of a command."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:3])} failed")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss / 1024


def runs(place: Path, paths: list[Path], settings: list[str]) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """What every command took."""
    build = ("-m", "stylegallery.gallery", "build", str(paths[0].parent), *settings)
    yield "gallery build, all analysed", measured(*build)
    yield "gallery build, nothing new", measured(*build)
    everything = ("run.py", f"content={CONTENT}", *settings)
    yield "run with all", measured(*everything, f"references={paths[0].parent}", f"out={place / 'all'}")
    matches = json.loads((place / "all" / "matches.json").read_text())
    matched = sorted({match["reference"] for match in matches})
    few = ",".join(f"'{paths[number - 1]}'" for number in matched)
    yield f"run with the {len(matched)} matched", measured(*everything, f"references=[{few}]", f"out={place / 'few'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("settings", nargs="*", default=["resolution=96", "method.guidance.steps=10"])
    options, console = parser.parse_args(), plain_console()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        settings = [*options.settings, "device=cpu", f"store.folder={place / 'store'}"]
        paths = paint(place / "pictures", options.pictures)
        simulate(paths, settings, console)
        table = listing("command", "CPU, s", "clock, s", "MiB", title=f"{options.pictures} pictures")
        for name, (seconds, clock, memory) in runs(place, paths, settings):
            table.add_row(name, f"{seconds:.1f}", f"{clock:.1f}", f"{memory:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
