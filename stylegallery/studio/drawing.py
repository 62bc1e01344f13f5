"""How regions, matches and energies look on the page: outlines on the picture's own edges, and plain words."""

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.filters import sobel
from skimage.segmentation import watershed
from torch import Tensor

from stylegallery.contract import Match
from stylegallery.region_pictures import colours, deepest_point
from stylegallery.regions import region_count, resize_labels

LONGEST = 1024  # pixels of a picture on the page
OUTLINED = 512**2  # pixels of a picture whose edges outlines follow
FINER = 1.0  # pixels that an outline may be off, so that it has few points


@dataclass(frozen=True)
class Outlined:
    """The regions of a picture for the page: width and height of their coordinates, and of each region its share of the
    picture, where its number stands and the path of its outline, as SVG writes it."""

    width: int
    height: int
    regions: list[dict[str, Any]]


def on_edges(labels: Tensor, pixels: np.ndarray) -> np.ndarray:
    """A region map (h, w) at the size of a picture, uint8 (H, W, 3); between cells of different regions the border
    follows the picture's strongest edge. What is painted goes by the cells; this is for the eye."""
    size = pixels.shape[:2]
    large = resize_labels(labels, size).numpy()
    known = np.zeros_like(large)
    for label in range(1, region_count(labels) + 1):
        cells = (labels == label).numpy().astype(np.uint8)
        inner = cv2.erode(cells, np.ones((3, 3), np.uint8), borderValue=1)
        certain = inner if inner.any() else cells
        known[resize_labels(torch.from_numpy(certain), size).numpy() > 0] = label
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
    found = watershed(sobel(grey.astype(np.float32) / 255), known)
    return cv2.medianBlur(found.astype(np.uint8), 9)  # without the teeth of single pixels


def outlined(pixels: np.ndarray, labels: Tensor) -> Outlined:
    """The regions, labels (h, w), of a picture, uint8 (H, W, 3)."""
    scale = math.sqrt(OUTLINED / (pixels.shape[0] * pixels.shape[1]))
    height, width = (max(16, round(scale * side)) for side in pixels.shape[:2])
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    large, regions = on_edges(labels, pixels), []
    for label in range(1, region_count(labels) + 1):
        inside = np.pad((large == label).astype(np.uint8), 1)
        doubled = cv2.resize(inside, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)  # so that neighbours meet
        outlines, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        path = ""
        for outline in outlines:
            points = (cv2.approxPolyDP(outline, 2 * FINER, True)[:, 0] - 2) / 2
            if len(points) > 2:
                path += "M" + "L".join(f"{x:g} {y:g}" for x, y in points.clip(0, (width, height))) + "Z"
        x, y = deepest_point(labels, label, (height, width))
        share = float((labels == label).float().mean())
        regions.append({"region": label, "share": share, "x": round(x, 1), "y": round(y, 1), "path": path})
    return Outlined(width, height, regions)


def palette(count: int) -> list[str]:
    """Colours of content regions, as CSS writes them."""
    return ["#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in row)) for row in colours(count).tolist()]


def shrunk(pixels: np.ndarray, longest: int) -> np.ndarray:
    """A picture, uint8 (H, W, 3), no side longer than `longest`."""
    shown = Image.fromarray(pixels)
    shown.thumbnail((longest, longest))
    return np.asarray(shown)


def as_jpeg(pixels: np.ndarray, longest: int = LONGEST) -> str:
    """A picture, uint8 (H, W, 3), as an address that a page can show, no side longer than `longest`."""
    stream = io.BytesIO()
    Image.fromarray(shrunk(pixels, longest)).save(stream, "jpeg", quality=88)
    return as_address(stream.getvalue(), "image/jpeg")


def as_address(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def in_words(match: Match) -> str:
    """Why a region got its match."""
    if match.pinned:
        return "you chose this"
    terms = (
        ("what it shows", match.semantics),
        ("how it is textured", match.statistics),
        ("its place", match.geometry),
    )
    return "alike in " + ", ".join(f"{name} {max(0.0, value):.0%}" for name, value in terms)
