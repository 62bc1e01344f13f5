"""Regions changed by hand: joined, cut, drawn, and written as masks that the command line reads."""

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegallery.errors import InputError
from stylegallery.regions import MOST_LABELS, region_count, without_gaps
from stylegallery.studio.limits import MOST_POINTS

FINE = 8  # pixels of a cell while strokes are drawn
Fraction = Annotated[float, Field(ge=-0.5, le=1.5)]


class Stroke(BaseModel):
    """A line of the brush: its radius as a fraction of the picture's longer side, its points as fractions of both."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    radius: Annotated[float, Field(gt=0, le=0.5)]
    points: Annotated[list[tuple[Fraction, Fraction]], Field(min_length=1, max_length=MOST_POINTS)]


def brushed(strokes: Sequence[Stroke], grid: Sequence[int]) -> Tensor:
    """The cells (h, w) of a grid that strokes cover at least half of, bool.

    Raises:
        InputError: they cover none, or have too many points.
    """
    if sum(len(stroke.points) for stroke in strokes) > MOST_POINTS:
        raise InputError(f"the strokes have more than {MOST_POINTS} points; brush a part at a time")
    height, width = grid[0] * FINE, grid[1] * FINE
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes:
        radius = stroke.radius * max(width, height)
        corners = [(x * width, y * height) for x, y in stroke.points]
        draw.line(corners, fill=1, width=max(1, round(2 * radius)), joint="curve")
        for corner in (corners[0], corners[-1]):
            draw.circle(corner, radius, fill=1)
    covered = np.asarray(canvas).reshape(grid[0], FINE, grid[1], FINE).mean((1, 3)) >= 0.5
    if not covered.any():
        raise InputError("the brush covered nothing; paint over a larger part")
    return torch.from_numpy(covered)


def joined(labels: Tensor, first: int, second: int) -> Tensor:
    """Two regions as one, under the smaller number."""
    require_region(labels, first)
    require_region(labels, second)
    if first == second:
        raise InputError("these are the same region; choose two")
    return without_gaps(torch.where(labels == max(first, second), min(first, second), labels))


def cut(labels: Tensor, cells: Tensor) -> Tensor:
    """The brushed part of the region that most of the brush lies in, as a region of its own."""
    region = int(torch.bincount(labels[cells]).argmax())
    inside = cells & (labels == region)
    if bool((inside == (labels == region)).all()):
        raise InputError(f"the brush covers all of region {region}; leave a part of it")
    return with_new(labels, inside)


def drawn(labels: Tensor, cells: Tensor) -> Tensor:
    """The brushed cells as a region of their own, whatever was there."""
    return with_new(labels, cells)


def with_new(labels: Tensor, cells: Tensor) -> Tensor:
    if region_count(labels) >= MOST_LABELS:
        raise InputError(f"a picture has {MOST_LABELS} regions at most; join some first")
    return without_gaps(torch.where(cells, region_count(labels) + 1, labels))


def require_region(labels: Tensor, region: int) -> None:
    """Raises InputError where a picture has no such region."""
    if not 1 <= region <= region_count(labels):
        raise InputError(f"there is no region {region}; choose one of 1..{region_count(labels)}")


def enlarged(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """A region map (h, w) at a larger size (H, W), such that `resize_labels` gives it back exactly: a cell begins at
    the pixel that is looked at there, which is not where an enlarged cell begins."""
    rows, columns = (
        torch.searchsorted(torch.arange(cells) * pixels // cells, torch.arange(pixels), right=True) - 1
        for cells, pixels in zip(labels.shape, size, strict=True)
    )
    return labels[rows][:, columns]


def labelme(labels: Tensor, size: tuple[int, int], name: str) -> bytes:
    """A region map as a labelme file of a picture of `size` (H, W): a polygon of every part of a region, the outer
    ones first, so that what lies in their holes is drawn over them."""
    large, shapes = enlarged(labels, size).numpy().astype(np.uint8), []
    for region in range(1, region_count(labels) + 1):
        inside = (large == region).astype(np.uint8)
        outlines, tree = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        outer = [outline for outline, (*_, parent) in zip(outlines, tree[0], strict=True) if parent < 0]  # no holes
        for outline in outer:
            points = outline[:, 0].tolist()
            points += points[-1:] * max(0, 3 - len(points))  # a polygon has three corners at least
            shapes.append((cv2.contourArea(outline), math.inf, f"region {region:03d}", points))
    shapes.sort(key=lambda shape: shape[:2], reverse=True)
    content: dict[str, Any] = {
        "version": "5.0.0",
        "flags": {},
        "shapes": [
            {"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}
            for *_, label, points in shapes
        ],
        "imagePath": name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    return json.dumps(content).encode()
