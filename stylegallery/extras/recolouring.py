"""Optional, not in the paper: give the content each matched region's palette before stage 3.

Large models carry colour through attention alone; the embedded one moves it slowly, as StyleID found for injected keys
and values. There the cure is to match channel statistics of the whole latent; here it is region by region and in
pixels, so that borders stay as sharp as the content's.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from stylegallery.colour_statistics import transport
from stylegallery.contract import Match
from stylegallery.extras.borders import soft_masks
from stylegallery.regions import resize_labels

REACH = 3  # cells from a border of regions to the edge of the things they belong to
LEAST_CONTRAST = 0.8  # of the content's own lightness: a flat match must not wipe out the drawing


def recolour(
    image: Tensor,
    labels: Tensor,
    references: Sequence[Tensor],
    reference_labels: Sequence[Tensor],
    matches: Sequence[Match],
    strength: float,
) -> Tensor:
    """Content (1, 3, H, W) in [0, 1] whose regions have the colour mean and covariance of their matches, and most of
    their own contrast; the mean, where a region has several matches.

    Regions that take from one region of a reference have its palette together: where they share a wall or a sky, it
    keeps one colour. Apart, the part of a wall that a region of hair and wall has would become as light as its palette
    goes, and a halo.
    `labels` and `reference_labels` are label maps on the latent grids; `strength` in [0, 1] fades the change in.
    Regions meet along the content's own edges, not along the cells of the grid.
    """
    size = (image.shape[-2], image.shape[-1])
    cell = image.shape[-1] // labels.shape[1]
    pixel_labels = resize_labels(labels, size)
    masks = soft_masks(image, pixel_labels, REACH * cell)
    count, taking = Counter(match.content_region for match in matches), defaultdict[tuple[int, int], list[int]](list)
    for match in matches:
        taking[match.reference, match.reference_region].append(match.content_region)
    result = torch.zeros_like(image)
    for (number, region), takers in taking.items():
        reference = references[number - 1]
        taken = resize_labels(reference_labels[number - 1], (reference.shape[-2], reference.shape[-1])) == region
        inside = torch.isin(pixel_labels, torch.tensor(takers))
        coloured = transport(image, image[0][:, inside], reference[0][:, taken])
        coloured = coloured + lost_contrast(image, coloured, inside)
        result += sum(masks[taker - 1] / count[taker] for taker in takers) * coloured
    return torch.lerp(image, result.clamp(0, 1), strength)


def lost_contrast(image: Tensor, coloured: Tensor, inside: Tensor) -> Tensor:
    """Lightness (1, 1, H, W) to add to `coloured` so that the region keeps LEAST_CONTRAST of the image's.

    It keeps that much where the lightness of both rises at the same places, and less where it does not.
    """
    before, after = (picture.mean(1, keepdim=True) for picture in (image, coloured))
    contrast = before[..., inside].std(correction=0)
    lack = LEAST_CONTRAST - after[..., inside].std(correction=0) / contrast.clamp(min=1e-6)
    return lack.clamp(min=0) * (before - before[..., inside].mean())
