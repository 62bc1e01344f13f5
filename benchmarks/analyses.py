"""What the store of analyses saves: items of one content with one reference each, their plans and all of them.

    python -m benchmarks.analyses [--items 6] [--repeats 5] [resolution=192 model=sd15 ...]

Three sides take turns in one process with one model: without a store, with an empty one, and with one that has every
picture. A ratio is the seconds of the first side by those of another in the same turn; its spread is that of the turns.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stylegallery.contract import Item
from stylegallery.draws import item_generator
from stylegallery.images import read_image, save
from stylegallery.picture_files import list_images
from stylegallery.pipeline import StyleGallery
from stylegallery.store import AnalysisStore

SAMPLES = Path(__file__).parent.parent / "data" / "samples"


def items_of(folder: Path, count: int) -> list[Item]:
    """One content with `count` references, which are the samples in four orientations."""
    content, styles = list_images(str(SAMPLES / "content"))[0], list_images(str(SAMPLES / "style"))
    items = []
    for number in range(count):
        turns, style = divmod(number, len(styles))
        save(torch.rot90(read_image(styles[style]), turns, (2, 3)), folder / f"{number}.png")
        items.append(Item(str(number), content, (folder / f"{number}.png",)))
    return items


def seconds_of(method: StyleGallery, items: list[Item]) -> tuple[float, float]:
    """Of the plans of all items, and of their plans and pictures."""
    planning, start = 0.0, time.perf_counter()
    for item in items:
        before = time.perf_counter()
        plan = method.plan(item, item_generator(0, item))
        planning += time.perf_counter() - before
        method.render(plan)
    return planning, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="settings of the method, as on the command line")
    parser.add_argument("--items", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as place:
        items = items_of(Path(place), arguments.items)
        method = StyleGallery.from_config(f"store.folder={place}/first", *arguments.overrides)
        kept = method.analyser.store
        assert kept is not None
        method.plan(items[0], item_generator(0, items[0]))  # what is done once in a process is nobody's
        found: dict[str, list[tuple[float, float]]] = {"off": [], "cold": [], "warm": []}
        for turn in range(arguments.repeats):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                store = AnalysisStore(kept.settings, folder, 10.0)
                for side, used in (("off", None), ("cold", store), ("warm", store)):
                    method.analyser = replace(method.analyser, store=used)
                    found[side].append(seconds_of(method, items))
            print(turn, {side: [round(value, 2) for value in values[-1]] for side, values in found.items()}, flush=True)
    print(f"\n{arguments.items} items of one content, {torch.get_num_threads()} threads, {arguments.repeats} turns\n")
    print("| | plans, s | plans, off by this | whole, s | whole, off by this |\n|---|---|---|---|---|")
    off = np.array(found["off"])
    for side, values in found.items():
        taken = np.array(values)
        columns = []
        for part in range(2):
            ratios = off[:, part] / taken[:, part]
            columns.append(f"{np.median(taken[:, part]):.2f}")
            columns.append(f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
        print(f"| {side} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
