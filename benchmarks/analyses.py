"""What the store of analyses saves: items of one content with one reference each.

    python -m benchmarks.analyses [--items 6] [--repeats 5] [--whole] [resolution=192 model=sd15 ...]

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


def seconds_of(method: StyleGallery, items: list[Item], whole: bool) -> float:
    """Of the plans of all items, or of their plans and pictures."""
    start = time.perf_counter()
    for item in items:
        plan = method.plan(item, item_generator(0, item))
        if whole:
            method.render(plan)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="settings of the method, as on the command line")
    parser.add_argument("--items", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="with stage 3; default: stages 1 and 2 alone")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as place:
        items = items_of(Path(place), arguments.items)
        method = StyleGallery.from_config(f"store.folder={place}/first", *arguments.overrides)
        kept = method.analyser.store
        assert kept is not None
        method.plan(items[0], item_generator(0, items[0]))  # what is done once in a process is nobody's
        found: dict[str, list[float]] = {"off": [], "cold": [], "warm": []}
        for turn in range(arguments.repeats):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                store = AnalysisStore(kept.settings, folder, 10.0)
                for side, used in (("off", None), ("cold", store), ("warm", store)):
                    method.analyser = replace(method.analyser, store=used)
                    found[side].append(seconds_of(method, items, arguments.whole))
            print(turn, {side: round(values[-1], 3) for side, values in found.items()}, flush=True)
    print(f"\n{arguments.items} items of one content, {torch.get_num_threads()} threads, {arguments.repeats} turns\n")
    print("| | seconds | off by this |\n|---|---|---|")
    for side, values in found.items():
        ratios = np.array(found["off"]) / values
        print(
            f"| {side} | {np.median(values):.2f} | {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |"
        )


if __name__ == "__main__":
    main()
