"""Region maps as pictures. Maps are tensors or arrays: what only shows them does without PyTorch."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage


def colours(count: int) -> np.ndarray:
    """`count` well separated RGB colours (count, 3) in [0, 1]: golden-angle hues, alternating value."""
    hues = ((0.58 + index * 0.381966) % 1 for index in range(count))
    rows = [hsv_to_rgb(hue, 0.72, 0.72 if index % 2 else 0.95) for index, hue in enumerate(hues)]
    return np.array(rows).reshape(count, 3)


def deepest_point(labels: ArrayLike, label: int, shape: Sequence[int]) -> tuple[float, float]:
    """The pixel (x, y) of a picture of shape (H, W) farthest from the borders of a region: where its number goes."""
    inside = np.asarray(labels) == label
    row, column = np.unravel_index(ndimage.distance_transform_edt(np.pad(inside, 1)).argmax(), np.add(inside.shape, 2))
    return float(column - 0.5) * shape[1] / inside.shape[1], float(row - 0.5) * shape[0] / inside.shape[0]


def overlaid(pixels: np.ndarray, labels: np.ndarray, palette: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """A picture (H, W, 3) uint8 tinted by region with white borders; labels (H, W), palette (R, 3) in [0, 1]."""
    picture = pixels / 255
    tint = np.vstack([np.zeros((1, 3)), palette])[labels]
    grey = picture.mean(-1, keepdims=True)
    mixed = (1 - strength) * (0.5 * picture + 0.5 * grey) + strength * tint
    border = ndimage.grey_dilation(labels, 3) != ndimage.grey_erosion(labels, 3)
    mixed[border] = 1
    return (mixed * 255).round().clip(0, 255).astype(np.uint8)


def write_indexed_png(path: Path | BinaryIO, labels: ArrayLike, size: tuple[int, int]) -> None:
    """The label map, of at most `regions.MOST_REGIONS`, by nearest neighbour at picture size (H, W) as palette PNG;
    index = label.

    It can be edited and passed as a mask, which has at most 64 regions.
    """
    values = np.asarray(labels)
    palette = np.vstack([np.zeros((1, 3)), colours(max(1, int(values.max())))])
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, values.shape, strict=True))
    image = Image.fromarray(values[np.ix_(rows, columns)].astype(np.uint8))
    image.putpalette((palette * 255).astype(np.uint8).ravel().tolist())
    image.save(path, format="png")
