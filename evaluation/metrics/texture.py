"""Does the texture of the references arrive? Distributions of small patches at several scales, whatever their palette.

Sliced Wasserstein distance of Laplacian-pyramid patches (Karras et al., ICLR 2018, §5): 7x7 patches of the four finest
levels of the luminance, not standardised, because the strength of a stroke is part of it; projected on 128 directions,
and the distance of the sorted projections averaged; times 100. No weights; the draws are seeded.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from evaluation.metric import Direction, Sample
from evaluation.metrics.regional import annotation_of, named
from stylegallery.colour_statistics import luminance
from stylegallery.regions import resize_labels

LEVELS, SIDE, PATCHES, DIRECTIONS, QUANTILES = 4, 7, 16384, 128, 1024
FEWEST = 64  # patches of a region on a level: below, the level says nothing of the region
SMALLEST = 17  # pixels of a side: below, the blur of the fourth level has nothing to mirror
FLOOR = 0.1  # a distance between patches of one picture and other patches of it
SCALE = 100.0
BINOMIAL = torch.tensor([1.0, 4, 6, 4, 1]) / 16


def blur(image: Tensor) -> Tensor:
    """(1, 1, H, W) by the binomial filter of five taps in rows and columns, mirrored at the border."""
    rows = F.conv2d(F.pad(image, (0, 0, 2, 2), mode="reflect"), BINOMIAL.view(1, 1, 5, 1))
    return F.conv2d(F.pad(rows, (2, 2, 0, 0), mode="reflect"), BINOMIAL.view(1, 1, 1, 5))


def laplacian_pyramid(image: Tensor) -> list[Tensor]:
    """The LEVELS finest octaves of the luminance of (1, 3, H, W), finest first, each (1, 1, h, w).

    Raises ValueError where a side has fewer than SMALLEST pixels.
    """
    if min(image.shape[-2:]) < SMALLEST:
        raise ValueError(f"a picture of {image.shape[-1]}x{image.shape[-2]} px is too small for texture")
    rest = luminance(image)
    levels = []
    for _ in range(LEVELS):
        coarse = blur(rest)[..., ::2, ::2]
        enlarged = torch.zeros_like(rest)
        enlarged[..., ::2, ::2] = 4 * coarse
        levels.append(rest - blur(enlarged))
        rest = coarse
    return levels


def projections(level: Tensor, inside: Tensor | None, index: int) -> Tensor | None:
    """QUANTILES of the patches of a level (1, 1, h, w) along every direction, (QUANTILES, DIRECTIONS).

    Patches lie wholly `inside` (h, w), or anywhere; None where there are too few. Equal levels draw equal patches and
    directions.
    """
    if min(level.shape[-2:]) < SIDE:
        return None
    generator = torch.Generator().manual_seed(index)
    directions = F.normalize(torch.randn(SIDE**2, DIRECTIONS, generator=generator), dim=0)
    patches = F.unfold(level, SIDE)[0].T
    if inside is not None:
        whole = F.unfold(inside[None, None].to(level.dtype), SIDE)[0].amin(0) > 0
        patches = patches[whole]
        if len(patches) < FEWEST:
            return None
    if len(patches) > PATCHES:
        patches = patches[torch.randperm(len(patches), generator=generator)[:PATCHES]]
    # NumPy sorts the rows of a matrix four times as fast as PyTorch does its columns, to the same values.
    ordered = torch.from_numpy(np.sort((patches @ directions).T.contiguous().numpy())).T
    places = (torch.arange(QUANTILES) + 0.5) / QUANTILES * len(ordered) - 0.5
    places = places.clamp(0, len(ordered) - 1)
    below = places.floor().long()
    share = (places - below)[:, None]
    return torch.lerp(ordered[below], ordered[(below + 1).clamp(max=len(ordered) - 1)], share)


def in_region(level: Tensor, labels: Tensor, region: int, index: int) -> Tensor | None:
    """`projections` of a region of a label map (h, w), which has any grid."""
    return projections(level, resize_labels(labels, (level.shape[-2], level.shape[-1])) == region, index)


def distance(first: Tensor, second: Tensor) -> float:
    return SCALE * float((first - second).abs().mean())


def distances(first: Tensor, second: Tensor) -> list[float]:
    """Of two whole pictures (1, 3, H, W), on the levels that both have, finest first."""
    return [distance(*pair) for pair in zip(described(first), described(second), strict=True)]


KEPT = WeakTensorKeyDictionary()  # picture -> what `described` says of it: methods share references


def described(image: Tensor) -> list[Tensor]:
    """What `projections` says of every level of a whole picture (1, 3, H, W)."""
    if image not in KEPT:
        found = (projections(level, None, index) for index, level in enumerate(laplacian_pyramid(image)))
        KEPT[image] = [quantiles for quantiles in found if quantiles is not None]
    return list(KEPT[image])


class Texture:
    """Distance of the patches of the output to those of its nearest reference, mean over the levels; lower is better.

    0 for a copy of a reference. `level` 1 to 4 is one octave alone, 1 the finest.
    """

    version = 1
    direction: Direction = "down"
    bounds = (0.0, float("inf"))
    kind = "style"

    def __init__(self, level: int | None = None) -> None:
        self.levels = range(LEVELS) if level is None else [level - 1]
        self.name = "texture" if level is None else f"texture_{level}"

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        return [min(self.distance(sample.image, reference) for reference in sample.references) for sample in samples]

    def distance(self, image: Tensor, reference: Tensor) -> float:
        found = distances(image, reference)
        if len(found) <= max(self.levels):
            raise ValueError(f"pictures of {image.shape[-1]}x{image.shape[-2]} px are too small for {self.name}")
        return sum(found[level] for level in self.levels) / len(self.levels)


class RegionalTexture:
    """How much of the way to the texture of its match is left to every region; lower is better.

    Σ_i n_i · d(o_i, s_m(i)) / Σ_i n_i · d(c_i, s_m(i)) on every level, and the mean over the levels: o_i the patches
    inside region i of the output, c_i those of the content, s_m(i) those of its match, n_i its pixels. 1 is the
    untouched photo, 0 the texture of the matches; above 1 the output is farther from it than the photo was. A photo
    that is nearer to its matches than FLOOR counts as that far, since two parts of one picture are no nearer.
    """

    version = 2
    direction: Direction = "down"
    bounds = (0.0, float("inf"))
    kind = "regional"

    def __init__(self, annotator: str) -> None:
        self.annotator, self.name = annotator, named("regional_texture", annotator)

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """Raises ValueError without annotation, or where all regions are too small."""
        pyramid, inside = cache(laplacian_pyramid), cache(in_region)  # methods share contents, references, annotations
        return [self.share_left(sample, pyramid, inside) for sample in samples]

    def share_left(
        self, sample: Sample, pyramid: Callable[[Tensor], list[Tensor]], inside: Callable[..., Tensor | None]
    ) -> float:
        """pyramid, inside: `laplacian_pyramid` and `in_region` of what samples share."""
        annotation, output = annotation_of(sample), laplacian_pyramid(sample.image)
        content, *references = (pyramid(image) for image in (sample.content, *sample.references))
        labels, shares = annotation.content_labels, []
        for index in range(LEVELS):
            own = resize_labels(labels, (output[index].shape[-2], output[index].shape[-1]))
            left = whole = floor = 0.0
            for match in annotation.matches:
                style, style_labels = references[match.reference - 1], annotation.reference_labels[match.reference - 1]
                wanted = inside(style[index], style_labels, match.reference_region, index)
                made = in_region(output[index], labels, match.content_region, index)
                before = inside(content[index], labels, match.content_region, index)
                if wanted is None or made is None or before is None:
                    continue
                pixels = float((own == match.content_region).sum())
                left += pixels * distance(made, wanted)
                whole += pixels * distance(before, wanted)
                floor += pixels * FLOOR
            if floor > 0:
                shares.append(left / max(whole, floor))
        if not shares:
            raise ValueError("no region is large enough on any level")
        return sum(shares) / len(shares)
