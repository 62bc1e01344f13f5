"""Stage 2: give every content region the best region of any reference (paper §3.2).

score = 0.25 · statistics + 1 · semantics + 0.125 · geometry; the user's pins and vetoes beat scores.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.errors import InputError
from stylegallery.regions import region_count


@dataclass(frozen=True)
class MatchingConfig:
    """Weights of the three terms (paper §3.2)."""

    statistics: float = 0.25
    semantics: float = 1.0
    geometry: float = 0.125


@dataclass(frozen=True)
class Wishes:
    """What the user decided: numbers of regions and references start at 1, as in the written region maps.

    pins: content region -> (reference, region); excluded: references no region may use;
    forbidden: (content region, reference, region) triples.
    """

    pins: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    excluded: Sequence[int] = ()
    forbidden: Sequence[tuple[int, int, int]] = ()


@dataclass(frozen=True)
class Match:
    """Content region -> region of a reference (numbers from 1), with its score and the three terms."""

    content_region: int
    reference: int
    reference_region: int
    score: float
    statistics: float
    semantics: float
    geometry: float
    pinned: bool


@dataclass(frozen=True)
class RegionDescriptors:
    """One row per region of an image: statistics (R, 2C'), semantics (R, D), circles (R, 3) as row, column, radius
    in fractions of the picture's sides."""

    statistics: Tensor
    semantics: Tensor
    circles: np.ndarray


def describe(labels: Tensor, features: Tensor, image: Tensor, encoder: Callable[[Tensor], Tensor]) -> RegionDescriptors:
    """Descriptors of all regions of labels (h, w), from F_mix (C', h, w) and the image (1, 3, H, W)."""
    return RegionDescriptors(
        region_statistics(labels, features),
        region_semantics(labels, encoder(image)[0], (image.shape[-2], image.shape[-1])),
        enclosing_circles(labels),
    )


def region_statistics(labels: Tensor, features: Tensor) -> Tensor:
    """Mean and variance (R, 2C') of every region after parameter-free self-attention inside it.

    A = softmax(F Fᵀ / √C') F over the region's tokens F (n, C').
    """
    rows = []
    for label in range(1, region_count(labels) + 1):
        tokens = features[:, labels == label].T
        aggregated = F.scaled_dot_product_attention(tokens[None], tokens[None], tokens[None])[0]
        rows.append(torch.cat([aggregated.mean(0), aggregated.var(0, correction=0)]))
    return torch.stack(rows)


def region_semantics(labels: Tensor, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean encoder token (R, D) of every region; tokens (D, h', w') cover the whole picture of `size` pixels.

    A token belongs to the region when more than 10 of the token's pixels do (paper: regions need enough tokens);
    a region too small for that takes the token that holds most of it.
    """
    height, width = size
    grid = tokens.shape[-2:]
    pixel_labels = labels[torch.arange(height) * labels.shape[0] // height][
        :, torch.arange(width) * labels.shape[1] // width
    ]
    token_of_pixel = (torch.arange(height) * grid[0] // height)[:, None] * grid[1] + torch.arange(width) * grid[
        1
    ] // width
    flat, rows = tokens.flatten(1), []
    for label in range(1, region_count(labels) + 1):
        pixels = torch.bincount(token_of_pixel[pixel_labels == label], minlength=flat.shape[1])
        rows.append(flat[:, pixels > min(10, int(pixels.max()) - 1)].mean(1))
    return torch.stack(rows)


def enclosing_circles(labels: Tensor) -> np.ndarray:
    """Minimum enclosing circle (row, column, radius) of every region's cells, (R, 3), on a grid of side 1.

    OpenCV gets cell units: it takes triangles that are small in absolute terms for straight lines.
    """
    side = max(labels.shape)
    circles = []
    for label in range(1, region_count(labels) + 1):
        cells = torch.nonzero(labels == label).float() * (side / torch.tensor(labels.shape))
        (row, column), radius = cv2.minEnclosingCircle(cells.numpy())
        circles.append((row / side, column / side, radius / side))
    return np.array(circles)


def circle_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two discs (row, column, radius); 0 where the union has no area."""
    distance = math.hypot(first[0] - second[0], first[1] - second[1])
    large, small = max(first[2], second[2]), min(first[2], second[2])
    if distance >= large + small:
        intersection = 0.0
    elif distance <= large - small:
        intersection = math.pi * small**2
    else:
        along_large = (distance**2 + large**2 - small**2) / (2 * distance)
        along_small = distance - along_large
        intersection = (
            large**2 * math.acos(along_large / large)
            - along_large * math.sqrt(max(0.0, large**2 - along_large**2))
            + small**2 * math.acos(max(-1.0, min(1.0, along_small / small)))
            - along_small * math.sqrt(max(0.0, small**2 - along_small**2))
        )
    union = math.pi * (large**2 + small**2) - intersection
    return intersection / union if union > 0 else 0.0


def score_terms(content: RegionDescriptors, reference: RegionDescriptors) -> np.ndarray:
    """The three terms (R content, R reference, 3) of every pair: cosine, cosine, overlap."""
    statistics = F.normalize(content.statistics, dim=1) @ F.normalize(reference.statistics, dim=1).T
    semantics = F.normalize(content.semantics, dim=1) @ F.normalize(reference.semantics, dim=1).T
    geometry = [[circle_overlap(a, b) for b in reference.circles] for a in content.circles]
    return np.stack([statistics.cpu().double(), semantics.cpu().double(), np.array(geometry)], axis=-1)


def match(
    content: RegionDescriptors, references: Sequence[RegionDescriptors], config: MatchingConfig, wishes: Wishes
) -> list[Match]:
    """The best region of any reference for every content region, in order; several may share one.

    Raises:
        InputError: a wish names a region or reference that does not exist, or nothing is left to choose from.
    """
    terms = np.concatenate([score_terms(content, reference) for reference in references], axis=1)
    columns = [(i, j) for i, r in enumerate(references, 1) for j in range(1, len(r.circles) + 1)]
    check_wishes(wishes, len(terms), [len(reference.circles) for reference in references])
    scores = terms @ np.array([config.statistics, config.semantics, config.geometry])
    matches = []
    for region in range(1, len(terms) + 1):
        if region in wishes.pins:
            best = columns.index(wishes.pins[region])
        else:
            allowed = [
                index
                for index, (reference, reference_region) in enumerate(columns)
                if reference not in wishes.excluded and (region, reference, reference_region) not in wishes.forbidden
            ]
            if not allowed:
                raise InputError(f"content region {region} has no region left to match; exclude or forbid less")
            best = max(allowed, key=lambda index: scores[region - 1, index])
        reference, reference_region = columns[best]
        statistics, semantics, geometry = terms[region - 1, best].tolist()
        score, pinned = float(scores[region - 1, best]), region in wishes.pins
        matches.append(Match(region, reference, reference_region, score, statistics, semantics, geometry, pinned))
    return matches


def check_wishes(wishes: Wishes, content_regions: int, reference_regions: list[int]) -> None:
    """Raise InputError where a pin, an exclusion or a veto names something that does not exist."""
    targets = [("pin", region, *target) for region, target in wishes.pins.items()]
    targets += [("forbidden pair", *triple) for triple in wishes.forbidden]
    for kind, region, reference, reference_region in targets:
        if not 1 <= region <= content_regions:
            raise InputError(f"{kind} names content region {region}, but the content has regions 1..{content_regions}")
        if not 1 <= reference <= len(reference_regions):
            raise InputError(f"{kind} names reference {reference}, but there are {len(reference_regions)} references")
        if not 1 <= reference_region <= reference_regions[reference - 1]:
            raise InputError(
                f"{kind} names region {reference_region} of reference {reference}, which has regions "
                f"1..{reference_regions[reference - 1]}"
            )
    for reference in wishes.excluded:
        if not 1 <= reference <= len(reference_regions):
            raise InputError(f"excluded reference {reference} does not exist; there are {len(reference_regions)}")
