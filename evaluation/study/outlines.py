"""Regions as outlines over a picture: vector paths, so that what is inside is seen as it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stylegallery.contract import Match
from stylegallery.region_pictures import deepest_point

SCALE = 1000  # both sides of the box that the paths are drawn in
FINEST = 250  # details of an outline below a picture's side / FINEST are straightened


def outline(inside: np.ndarray) -> str:
    """SVG path around a region, (h, w) bool, holes included: to be filled by the rule evenodd."""
    from skimage.measure import approximate_polygon, find_contours  # takes a second to import

    tolerance = max(0.3, max(inside.shape) / FINEST)
    lines = (approximate_polygon(line, tolerance) for line in find_contours(np.pad(inside, 1).astype(float), 0.5))
    closed = [(line - 0.5) * SCALE / np.array(inside.shape) for line in lines if len(line) > 3]
    return "".join("M" + " ".join(f"{x:.0f} {y:.0f}" for y, x in line[:-1]) + "Z" for line in closed)


def region(labels: np.ndarray, label: int) -> dict[str, Any]:
    """The outline of a region and where its number goes."""
    at = [round(value) for value in deepest_point(labels, label, (SCALE, SCALE))]
    return {"path": outline(labels == label), "at": at}


def regions_of(content: np.ndarray, references: Sequence[np.ndarray], matches: Sequence[Match]) -> dict[str, Any]:
    """Regions 1, 2, ... of the content; the references that any takes its style from, by number, those that give most
    of the picture first; and their regions, each with the content regions that take it."""
    shares: dict[int, int] = {}
    takers: dict[tuple[int, int], list[int]] = {}
    for match in sorted(matches, key=lambda match: match.content_region):
        size = int((content == match.content_region).sum())
        shares[match.reference] = shares.get(match.reference, 0) + size
        takers.setdefault((match.reference, match.reference_region), []).append(match.content_region)
    shown = sorted(shares, key=lambda number: (-shares[number], number))
    return {
        "content": [region(content, label) for label in range(1, int(content.max()) + 1)],
        "references": shown,
        "parts": [
            region(references[number - 1], label) | {"reference": shown.index(number), "takers": labels}
            for (number, label), labels in takers.items()
        ],
    }
