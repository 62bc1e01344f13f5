"""Does stage 2 match like with like? Regions labelled by hand (data/masks) in place of stage 1's, and how many are
matched to their own kind where the other picture has it.

    python -m benchmarks.matching --data FOLDER [--encoders SETTINGS ...] [--weights S,M,G ...]

Every content is matched with every other content, photo to photo, and with every labelled reference, photo to painting,
one at a time. `--encoders` compares encoders, each as on the command line of run.py ("encoder.block=10
encoder.resolution=512", "encoder=dinov2"), `--weights` the weights of statistics, semantics and geometry. To choose by,
there are two halves: contents and references by turns in the order of their names. Intervals are those of contents as
independent draws (evaluation/statistics.py). `chance` picks a region at random.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from evaluation.statistics import estimate
from stylegallery.images import read_image, resize
from stylegallery.matching import RegionDescriptors, enclosing_circles, region_semantics, region_statistics, score_terms
from stylegallery.picture_files import SUFFIXES
from stylegallery.pipeline import StyleGallery
from stylegallery.regions import labelme_values, resize_labels

MASKS = Path(__file__).parent.parent / "data" / "masks" / "stylegallery"
# What the masks of contents call the kinds of data/masks/README.md.
KINDS = {
    "bear": "animal", "cat": "animal", "deer": "animal", "dog": "animal", "elephant": "animal",
    "brush": "trees", "forest": "trees", "leaves": "trees", "lawn": "grass", "meadow": "grass",
    "cloud": "sky", "house": "building", "lake": "water", "mountain": "mountains",
    "shirt": "clothing", "suit": "clothing",
}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A picture's name, and what kind its region 1, 2, ... is."""

    name: str
    kinds: list[str]


@dataclass(frozen=True)
class Labelled(Named):
    """Also the picture (1, 3, H, W), its region map (h, w), and what does not depend on the encoder."""

    image: Tensor
    labels: Tensor
    statistics: Tensor
    circles: np.ndarray

    def described(self, encoder: Callable[[Tensor], Tensor]) -> RegionDescriptors:
        height, width = self.image.shape[-2:]
        semantics = region_semantics(self.labels, encoder(self.image)[0], (height, width))
        return RegionDescriptors(self.statistics, semantics, self.circles)


def kinds_on_grid(path: Path, grid: tuple[int, int]) -> tuple[Tensor, list[str]]:
    """Region map (h, w) of a mask, one region for every kind that has a cell, and the kinds."""
    values, names = labelme_values(path)
    kinds = sorted({KINDS.get(name, name) for name in names})
    number = np.array([0] + [kinds.index(KINDS.get(name, name)) + 1 for name in names])
    cells = resize_labels(torch.from_numpy(number[values]), grid).numpy()
    present, labels = np.unique(cells, return_inverse=True)
    return torch.from_numpy(labels.reshape(grid)).long() + 1, [kinds[value - 1] for value in present]


def labelled(method: StyleGallery, mask: Path, picture: Path) -> Labelled:
    image = resize(read_image(picture), method.analyser.resolution, method.analyser.resizing, method.model.multiple)
    (inversion,) = method.analyser.inverted([image])
    labels, kinds = kinds_on_grid(mask, (inversion.features.shape[-2], inversion.features.shape[-1]))
    statistics = region_statistics(labels, inversion.features, method.matching).cpu()
    return Labelled(mask.stem, kinds, image, labels, statistics, enclosing_circles(labels, method.matching.circle))


def labelled_pictures(data: Path) -> Iterator[tuple[Path, Path]]:
    """Masks and their pictures below a folder with content/ and style/, the first missing of which ends the program."""
    for mask in sorted(MASKS.rglob("*.json")):
        folder = data / ("content" if mask.parent == MASKS else f"style/{mask.parent.name}")
        found = [path for path in folder.glob(mask.stem + ".*") if path.suffix.lower() in SUFFIXES]
        if not found:
            raise SystemExit(f"--data: {folder} has no picture {mask.stem}")
        yield mask, found[0]


def hits(
    contents: Sequence[tuple[Named, RegionDescriptors]],
    references: Sequence[tuple[Named, RegionDescriptors]],
    weights: Sequence[float],
) -> pd.DataFrame:
    """Content, kind and hit of every region whose kind the other picture has; hit at chance beside it."""
    rows = []
    for content, own in contents:
        for reference, other in references:
            if reference is content:
                continue
            best = (score_terms(own, other) * weights).sum(-1).argmax(1)
            for region, kind in enumerate(content.kinds):
                if kind in reference.kinds and kind != "other":
                    hit = reference.kinds[best[region]] == kind
                    rows.append((content.name, kind, float(hit), 1 / len(reference.kinds)))
    return pd.DataFrame(rows, columns=["content", "kind", "hit", "chance"])


def told(table: pd.DataFrame) -> str:
    """The share of hits with its interval, and what chance would give."""
    found = estimate(table.hit.to_numpy(), table.content.to_numpy())
    interval = f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f}) of {found.n} regions"
    return f"{interval}, chance {table.chance.mean():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with content/ and style/")
    parser.add_argument("--encoders", nargs="*", default=["encoder=efficientnet"])
    parser.add_argument("--weights", nargs="*", default=[], help="statistics,semantics,geometry")
    args = parser.parse_args()
    method = StyleGallery.from_config()
    paper = method.matching.statistics, method.matching.semantics, method.matching.geometry
    weightings = [tuple(map(float, given.split(","))) for given in args.weights] or [paper]
    pictures = [(mask.parent == MASKS, labelled(method, mask, path)) for mask, path in labelled_pictures(args.data)]
    for settings in args.encoders:
        encoder = StyleGallery.from_config(*settings.split()).analyser.encoder
        described = [(content, (picture, picture.described(encoder))) for content, picture in pictures]
        contents, paintings = ([pair for content, pair in described if content is wanted] for wanted in (True, False))
        for weights in weightings:
            print(f"\n{settings}, weights {', '.join(f'{weight:g}' for weight in weights)}")
            for name, references in (("photos", contents), ("paintings", paintings)):
                table = hits(contents, references, weights)
                halves = [hits(contents[first::2], references[first::2], weights).hit.mean() for first in (0, 1)]
                print(f"{name:10s} {told(table)}, halves {halves[0]:.3f} {halves[1]:.3f}")
            kinds = table.groupby("kind").hit.agg(["mean", "count"])
            shares = (f"{kind} {row['mean']:.2f} of {row['count']:.0f}" for kind, row in kinds.iterrows())
            print(", ".join(shares), flush=True)


if __name__ == "__main__":
    main()
