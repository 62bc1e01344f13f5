"""Region maps, as `contract` defines them: resized, cleaned, read from users' masks.

Functions call a map `labels`; its grid is the latent grid unless they say otherwise.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from stylegallery.colour import GREY_MODES, WIDE_MODES, as_rgb, wide_values
from stylegallery.decoding import LARGEST_AREA, alpha_of, open_image
from stylegallery.errors import InputError
from stylegallery.files import read_json

MOST_REGIONS = 255  # of a picture: what a palette holds beside black
MOST_LABELS = 64  # of a mask
MOST_SHAPES = 10_000  # of a labelme file
INDEX_MODES = (*GREY_MODES, "P", "PA")  # of pictures whose values are labels, not colours


def resize_labels(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize (h, w) -> grid; source index = floor(i · in / out), as in the published code."""
    rows = torch.arange(grid[0]) * labels.shape[0] // grid[0]
    columns = torch.arange(grid[1]) * labels.shape[1] // grid[1]
    return labels[rows][:, columns]


def flat_labels(labels: Tensor, tokens: int) -> Tensor:
    """Labels (h, w) on the grid of a layer with that many tokens, flat; layers halve the latent grid, rounding up.

    Raises:
        ValueError: no halving of the grid has that many tokens.
    """
    height, width = labels.shape
    while height * width > tokens:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != tokens:
        raise ValueError(f"a layer of {tokens} tokens does not fit the latent grid {tuple(labels.shape)}")
    return resize_labels(labels, (height, width)).flatten()


def region_count(labels: Tensor) -> int:
    """R: the largest label."""
    return int(labels.max())


def without_gaps(labels: Tensor) -> Tensor:
    """A label map (h, w) with the labels above 0 renumbered to 1..R in ascending order; 0 stays 0."""
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


def mask_on_grid(path: Path, sizes: Sequence[tuple[int, int]], grid: tuple[int, int]) -> Tensor:
    """The label map of a mask file on the latent grid (h, w), by nearest neighbour.

    `sizes` are the (height, width) of the picture the mask belongs to, as it was and as the model sees it: the mask
    has the aspect of one of them, at any size.

    Raises:
        InputError: as `named_regions`, another aspect, or a region that covers no cell of the grid.
    """
    labels, names = named_regions(path)
    height, width = labels.shape
    if not any(abs(width - height * w / h) <= max(1, 0.02 * width) for h, w in sizes):
        h, w = sizes[0]
        raise InputError(
            f"mask {path} has {width}x{height} pixels and its picture {w}x{h}; a mask may have another size but not "
            "another aspect, check that it belongs to this picture"
        )
    on_grid = resize_labels(labels, grid).long()
    vanished = [name for number, name in enumerate(names, 1) if not (on_grid == number).any()]
    if vanished:
        raise InputError(
            f"{', '.join(vanished)} of mask {path} covers no cell of the {grid[1]}x{grid[0]} latent grid, where a cell "
            f"is {width / grid[1]:.3g}x{height / grid[0]:.3g} mask pixels; paint it larger or remove it"
        )
    return on_grid


def named_regions(path: Path) -> tuple[Tensor, list[str]]:
    """Label map (H, W) uint8 of a mask file of any size, 0 for background, and what regions 1, 2, ... are called in it.

    Grey and palette pictures (labelme's label.png) hold indices, 0 is background; in colour pictures black is
    background and every other colour is a region, numbered in the order of first appearance, row by row. What is more
    transparent than opaque is background. A labelme .json has one region per distinct label, in alphabetical order as
    labelme's own export numbers them.

    Raises:
        InputError: unreadable, nothing but background, or more than 64 regions (an antialiased or JPEG picture).
    """
    name: Callable[[int], str]
    if path.suffix.lower() == ".json":
        values, labels = labelme_values(path)
        by_appearance, name = False, lambda value: f"label {labels[value - 1]}"
    else:
        image = open_image(path)
        values, by_appearance = mask_values(image, path), image.mode not in INDEX_MODES
        name = "colour #{:06x}".format if by_appearance else "index {}".format
    unique = [value for value in np.unique(values).tolist() if value > 0]
    if not unique:
        raise InputError(f"mask {path} is all background; paint at least one region with an index or colour above 0")
    require_few(path, len(unique))
    if by_appearance:
        unique.sort(key=lambda value: int((values == value).argmax()))
    label_map = np.zeros(values.shape, dtype=np.uint8)
    for number, value in enumerate(unique, 1):
        label_map[values == value] = number
    return torch.from_numpy(label_map), [name(value) for value in unique]


def require_few(path: Path, labels: int) -> None:
    """Raise InputError where a mask has more labels than a person paints."""
    if labels > MOST_LABELS:
        raise InputError(
            f"mask {path} has {labels} labels, more than {MOST_LABELS}; save it as PNG without antialiasing"
        )


def mask_values(image: Image.Image, path: Path) -> np.ndarray:
    """What a mask picture holds, whole numbers (H, W): indices, or in a colour picture the number 0xRRGGBB of the
    colour; 0 where it is more transparent than opaque.

    Raises:
        InputError: indices that are no whole numbers.
    """
    if image.mode in WIDE_MODES:
        values = wide_values(image)
        if image.mode == "F":
            if not (np.isfinite(values) & (values == np.floor(values))).all():
                raise InputError(f"mask {path} holds values that are no whole numbers; save it as an 8-bit PNG")
            values = values.astype(np.int64)
    elif image.mode in ("LA", "PA"):
        values = np.asarray(image)[..., 0]
    elif image.mode in INDEX_MODES:
        values = np.asarray(image)
    else:
        red, green, blue = (np.asarray(band, dtype=np.int32) for band in as_rgb(image).split())
        values = (red << 16) | (green << 8) | blue
    alpha = alpha_of(image)
    return values if alpha is None else np.where(np.asarray(alpha) < 128, 0, values)


def labelme_values(path: Path) -> tuple[np.ndarray, list[str]]:
    """The shapes of a labelme .json drawn in their order, uint8 (H, W), and the labels of the values 1, 2, ...

    Shapes labelled _background_ draw 0: holes.

    Raises:
        InputError: not such a file, a shape that is no polygon, rectangle or circle, or too many labels.
    """
    data = read_json(path, "labelme file")
    try:
        size = int(data["imageWidth"]), int(data["imageHeight"])
        if min(size) < 1 or size[0] * size[1] > LARGEST_AREA:
            raise ValueError(f"imageWidth and imageHeight are {size[0]} and {size[1]}")
        if len(data["shapes"]) > MOST_SHAPES:
            raise ValueError(f"{len(data['shapes'])} shapes, more than {MOST_SHAPES}")
        shapes = [
            (str(shape["label"]), str(shape.get("shape_type", "polygon")), np.array(shape["points"], dtype=float))
            for shape in data["shapes"]
        ]
        if not all(points.ndim == 2 and points.shape[1] == 2 and np.isfinite(points).all() for *_, points in shapes):
            raise ValueError("points are not pairs of numbers")
        if not all((abs(points) <= 2 * max(size)).all() for *_, points in shapes):  # Pillow would take hours to draw it
            raise ValueError("points are far outside the picture")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"mask {path} is not a labelme file ({reason}); export it again from labelme") from error
    labels = sorted({label for label, *_ in shapes} - {"_background_"})
    require_few(path, len(labels))
    canvas = Image.new("L", size)
    draw = ImageDraw.Draw(canvas)
    for label, kind, points in shapes:
        value = labels.index(label) + 1 if label in labels else 0
        corners = [tuple(point) for point in points.tolist()]
        if kind == "polygon" and len(corners) > 2:
            draw.polygon(corners, fill=value, outline=value)
        elif kind == "rectangle" and len(corners) == 2:
            draw.rectangle([tuple(points.min(0).tolist()), tuple(points.max(0).tolist())], fill=value)
        elif kind == "circle" and len(corners) == 2:
            radius = float(np.linalg.norm(points[1] - points[0]))
            draw.circle(corners[0], radius, fill=value)
        else:
            raise InputError(
                f"mask {path} has a {kind} of {len(corners)} points for {label}; draw regions as polygons, rectangles "
                "or circles"
            )
    return np.asarray(canvas), labels


def read_published_mask(path: Path) -> Tensor:
    """The published code's reading of a mask (its `convert_mask_to_array`): label map (64, 64) of 512 x 512 pixels.

    Every colour, black too, takes the next number where it first appears, row by row; then black becomes 0. So the
    number of black is a gap, and the numbers of colours that no sampled pixel has are gaps as well; all black is
    allowed. `named_regions` refuses that and leaves no gaps. The regions that `override` makes of a colour mask are the
    same, in the same order, because it closes the gaps.

    Raises:
        InputError: unreadable, or of another size.
    """
    image = as_rgb(open_image(path))
    if image.size != (512, 512):
        raise InputError(f"mask {path} has {image.width}x{image.height} pixels; the published code wants 512x512")
    unique, first, inverse = np.unique(mask_values(image, path), return_index=True, return_inverse=True)
    numbers = np.where(unique == 0, 0, np.argsort(np.argsort(first)) + 1)
    return resize_labels(torch.from_numpy(numbers[inverse].reshape(512, 512)), (64, 64))
