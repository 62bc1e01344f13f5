"""Label maps: which region every cell of a grid belongs to.

A label map is an int64 tensor (h, w); 0 means nothing, regions are 1..R without gaps. Unless a function says
otherwise, the grid is the latent grid.
"""

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from stylegallery.errors import InputError
from stylegallery.images import open_image


def resize_labels(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize (h, w) -> grid; source index = floor(i · in / out), as in the published code."""
    rows = torch.arange(grid[0]) * labels.shape[0] // grid[0]
    columns = torch.arange(grid[1]) * labels.shape[1] // grid[1]
    return labels[rows][:, columns]


def region_count(labels: Tensor) -> int:
    return int(labels.max())


def without_gaps(labels: Tensor) -> Tensor:
    """Renumber the labels above 0 to 1..R in ascending order; 0 stays 0."""
    present = torch.unique(labels[labels > 0])
    return torch.where(labels > 0, torch.searchsorted(present, labels) + 1, 0)


def absorb_small_components(labels: Tensor, minimum: int) -> Tensor:
    """Give every 4-connected component below `minimum` cells to its most frequent 4-neighbour label.

    Every component looks at the neighbours in the map as it came in; ties go to the smaller label; a component
    that fills the map stays (paper §3.1, clean-up; the published code does the same).
    """
    source = labels.numpy()
    result = source.copy()
    cross = ndimage.generate_binary_structure(2, 1)
    for label in np.unique(source):
        components, count = ndimage.label(source == label, structure=cross)
        sizes = np.bincount(components.ravel())
        for index in range(1, count + 1):
            if sizes[index] >= minimum:
                continue
            inside = components == index
            ring = source[ndimage.binary_dilation(inside, structure=cross) & ~inside]
            if ring.size:
                values, counts = np.unique(ring, return_counts=True)
                result[inside] = values[counts.argmax()]
    return torch.from_numpy(result)


def override(labels: Tensor, mask: Tensor) -> Tensor:
    """User masks on top: every label above 0 of `mask` (h, w) becomes a region of its own, the rest keeps `labels`."""
    return without_gaps(torch.where(mask > 0, mask + region_count(labels), labels))


def read_mask(path: Path) -> Tensor:
    """Label map (H, W) of a mask picture of any size: 0 is background, 1..R are the user's regions.

    Grey and palette pictures hold indices; in colour pictures black is background and every other colour is a
    region, numbered in the order of first appearance, row by row.

    Raises:
        InputError: unreadable, nothing but background, or more than 64 colours (an antialiased or JPEG picture).
    """
    image = open_image(path)
    if image.mode in ("L", "P", "1", "I;16", "I"):
        values = np.asarray(image).astype(np.int64)
    else:
        colours = np.asarray(image.convert("RGB")).astype(np.int64)
        codes = colours @ np.array([65536, 256, 1])
        unique, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(np.where(unique == 0, -1, first)))
        values = (rank + (0 if 0 in unique else 1))[inverse].reshape(codes.shape)
    labels = without_gaps(torch.from_numpy(np.ascontiguousarray(values)))
    if region_count(labels) == 0:
        raise InputError(f"mask {path} is all background; paint at least one region with an index or colour above 0")
    if region_count(labels) > 64:
        raise InputError(
            f"mask {path} has {region_count(labels)} labels, more than 64; save it as PNG without antialiasing"
        )
    return labels
