"""Stage 2: give every content region the best region of any reference (paper §3.2).

score = w_s · statistics + w_e · semantics + w_g · geometry, with 0.25, 1 and 0.125 in the paper; the user's vetoes
beat scores, and pins beat both.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegallery.constraints import require_known
from stylegallery.contract import Match, MatchConstraints
from stylegallery.errors import InputError, require
from stylegallery.regions import region_count, resize_labels
from stylegallery.settings import NotNegative, check_fields

BLOCK = 64  # pictures whose regions are scored together: few enough that their float64 copies fit in a CPU's caches
SCORING = ("statistics", "semantics", "geometry", "assignment")  # settings that decide matches alone, no descriptors


@dataclass(frozen=True)
class MatchingConfig:
    """Weights of the three terms (paper §3.2), and how a region is described: conf/method/stylegallery.yaml has the
    paper's ways, the others are what the published code computes (see docs/deviations.md)."""

    statistics: NotNegative
    semantics: NotNegative
    geometry: NotNegative
    aggregation: Literal["attention", "random_transformer", "none"]  # of a region before its statistics
    variance: Literal["region", "map"]  # map: over the whole zero-filled map, divided by the region's size
    encoder_view: Literal["whole", "centre"]  # centre: tokens of the central 7/8 are laid over the whole
    lone_token: Literal["kept", "dropped"]  # dropped: a region of one encoder token has no semantics
    circle: Literal["minimum", "centroid"]
    assignment: Literal["best", "random"]  # random ignores the scores: what matching buys

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class RegionDescriptors:
    """One row per region of an image: statistics (R, 2C'), semantics (R, D), circles (R, 3) as row, column, radius
    in fractions of the picture's sides. All lie on the CPU, where those of thousands of pictures have room."""

    statistics: Tensor
    semantics: Tensor
    circles: np.ndarray


def describe(
    labels: Tensor,
    features: Tensor,
    image: Tensor,
    encoder: Callable[[Tensor], Tensor],
    config: MatchingConfig,
    seed: int = 0,
) -> RegionDescriptors:
    """Descriptors of all regions of labels (h, w), from F_mix (C', h, w) and the image (1, 3, H, W).

    `seed` draws the random transformer, where the config asks for one.
    """
    size = (image.shape[-2], image.shape[-1])
    if config.encoder_view == "centre":
        side = round(min(size) * 7 / 8)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        image = image[..., top : top + side, left : left + side]
    return RegionDescriptors(
        region_statistics(labels, features, config, seed).cpu(),
        region_semantics(labels, encoder(image)[0], size, config.lone_token).cpu(),
        enclosing_circles(labels, config.circle),
    )


def region_statistics(labels: Tensor, features: Tensor, config: MatchingConfig, seed: int = 0) -> Tensor:
    """Mean and variance (R, 2C') of every region's tokens F (n, C'), aggregated inside the region first.

    `attention` is parameter-free: softmax(F Fᵀ / √C') F. `random_transformer` has random weights, as the
    published code's never was trained.
    """
    rows = []
    for label in range(1, region_count(labels) + 1):
        inside = labels == label
        tokens = features[:, inside].T
        if config.aggregation == "attention":
            tokens = F.scaled_dot_product_attention(tokens[None], tokens[None], tokens[None])[0]
        elif config.aggregation == "random_transformer":
            tokens = region_transformer(tokens.shape[1], seed).to(tokens.device)(tokens[None])[0]
        if config.variance == "region":
            rows.append(torch.cat([tokens.mean(0), tokens.var(0, correction=0)]))
        else:
            filled = tokens.new_zeros(labels.numel(), tokens.shape[1])
            filled[inside.flatten()] = tokens
            rows.append(torch.cat([filled.sum(0), filled.var(0)]) / (len(tokens) + 1e-8))
    return torch.stack(rows)


class RegionBlock(nn.Module):
    """Pre-norm block of CLIP's kind: self-attention, then a GELU network of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, n, width) -> (B, n, width)."""
        normed = self.ln_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False)[0]
        return tokens + self.c_proj(F.gelu(self.c_fc(self.ln_2(tokens))))


@lru_cache(maxsize=1)
def region_transformer(width: int, seed: int) -> nn.Sequential:
    """The published code's eight blocks of four heads, never trained; here drawn by a seed of their own."""
    require(width % 4 == 0, "a random transformer needs features of a multiple of 4 channels", width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(*(RegionBlock(width, heads=4) for _ in range(8))).eval().requires_grad_(False)


def region_semantics(
    labels: Tensor, tokens: Tensor, size: tuple[int, int], lone_token: Literal["kept", "dropped"] = "kept"
) -> Tensor:
    """Mean encoder token (R, D) of every region; tokens (D, h', w') cover the whole picture of `size` pixels.

    A token belongs to the region when more than 10 of the token's pixels do (paper: regions need enough tokens).
    A region with fewer than two such tokens takes the token that holds most of it, or zeros where it is `dropped`.
    """
    flat, rows = tokens.flatten(1), []
    pixel_labels = resize_labels(labels, size)
    token_of_pixel = resize_labels(torch.arange(flat.shape[1]).reshape(tokens.shape[-2:]), size)
    for label in range(1, region_count(labels) + 1):
        pixels = torch.bincount(token_of_pixel[pixel_labels == label], minlength=flat.shape[1])
        if lone_token == "dropped" and (pixels > 10).sum() < 2:
            rows.append(torch.zeros_like(flat[:, 0]))
        else:
            rows.append(flat[:, pixels > min(10, int(pixels.max()) - 1)].mean(1))
    return torch.stack(rows)


def enclosing_circles(labels: Tensor, circle: Literal["minimum", "centroid"] = "minimum") -> np.ndarray:
    """Enclosing circle (row, column, radius) of every region's cells, (R, 3), on a grid of side 1.

    `minimum` is the smallest one; `centroid` has its centre at the mean of the cells. OpenCV gets cells and no
    fractions of the side: it takes triangles of less than about a unit for straight lines.
    """
    side = max(labels.shape)
    circles = []
    for label in range(1, region_count(labels) + 1):
        cells = torch.nonzero(labels == label).double() * (side / torch.tensor(labels.shape))
        if circle == "minimum":
            (row, column), radius = cv2.minEnclosingCircle(cells.float().numpy())
        else:
            row, column = cells.mean(0).tolist()
            radius = torch.linalg.vector_norm(cells - cells.mean(0), dim=1).max().item()
        circles.append((row / side, column / side, radius / side))
    return np.array(circles)


def circle_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of discs (..., 3) as row, column, radius, which broadcast; 0 where the union has no
    area."""
    distance = np.hypot(first[..., 0] - second[..., 0], first[..., 1] - second[..., 1])
    large, small = np.maximum(first[..., 2], second[..., 2]), np.minimum(first[..., 2], second[..., 2])
    with np.errstate(divide="ignore", invalid="ignore"):  # values of discs that do not cross; replaced below
        along_large = (distance**2 + large**2 - small**2) / (2 * distance)
        along_small = distance - along_large
        lens = (
            large**2 * np.arccos(np.clip(along_large / large, -1, 1))
            - along_large * np.sqrt(np.maximum(0, large**2 - along_large**2))
            + small**2 * np.arccos(np.clip(along_small / small, -1, 1))
            - along_small * np.sqrt(np.maximum(0, small**2 - along_small**2))
        )
        inside = np.where(distance <= large - small, math.pi * small**2, lens)
        intersection = np.where(distance >= large + small, 0, inside)
        union = math.pi * (large**2 + small**2) - intersection
        return np.where(union > 0, intersection / union, 0)


def cosines(first: Tensor, second: Tensor) -> np.ndarray:
    """Cosine similarities (R, S) of rows (R, D) and (S, D), as float32; 0 with a row of zeros.

    Summed in float64, so that the last bit of a pair does not depend on the other pairs, as it does in a product of
    float32 matrices: the same picture found twice ties with itself, and a score is the same whatever else is offered.
    """
    a, b = (rows.double().numpy() for rows in (first, second))
    lengths = [np.sqrt(np.einsum("id,id->i", rows, rows)).clip(1e-12) for rows in (a, b)]
    return (a @ b.T / np.outer(*lengths)).astype(np.float32)


def score_terms(content: RegionDescriptors, reference: RegionDescriptors) -> np.ndarray:
    """The three terms (R content, R reference, 3) of every pair: cosine, cosine, overlap."""
    statistics = cosines(content.statistics, reference.statistics)
    semantics = cosines(content.semantics, reference.semantics)
    geometry = circle_overlap(content.circles[:, None], reference.circles[None])
    return np.stack([statistics, semantics, geometry], axis=-1)


def joined(pictures: Sequence[RegionDescriptors]) -> RegionDescriptors:
    """The regions of several pictures, one picture after the other."""
    statistics, semantics = (
        torch.cat([getattr(picture, name) for picture in pictures]) for name in ("statistics", "semantics")
    )
    return RegionDescriptors(statistics, semantics, np.concatenate([picture.circles for picture in pictures]))


def best_matches(
    content: RegionDescriptors,
    references: Iterable[RegionDescriptors],
    config: MatchingConfig,
    constraints: MatchConstraints[int],
    seed: int = 0,
) -> list[Match]:
    """The best region of any reference for every content region, in order; several may share one. The first of equally
    good ones is taken.

    References are asked for a few at a time and not kept: what is held of them grows by 24 bytes per pair of regions.
    `seed` draws the regions where the assignment is random.

    Raises:
        InputError: a constraint names a region or reference that does not exist, or nothing is left to choose from.
    """
    blocks, counts, waiting = [], [], iter(references)
    while block := list(itertools.islice(waiting, BLOCK)):
        blocks.append(score_terms(content, joined(block)))
        counts += [len(reference.circles) for reference in block]
    terms = np.concatenate(blocks, axis=1)
    require_known(constraints, len(terms), counts)
    weights = (config.statistics, config.semantics, config.geometry)
    scores = sum((weight * terms[..., index] for index, weight in enumerate(weights)), np.zeros(terms.shape[:2]))
    first = np.concatenate([[0], np.cumsum(counts)])  # column of every reference's first region
    draw = np.random.default_rng(seed)
    matches = []
    for region, (row, allowed) in enumerate(zip(scores, choices(constraints, first, len(scores)), strict=True), 1):
        pinned = region in constraints.pins
        if not allowed.any():
            raise InputError(f"content region {region} has no region left to match; exclude or forbid less")
        if config.assignment == "random" and not pinned:
            best = draw.choice(np.flatnonzero(allowed))
        else:
            best = np.where(allowed, row, -np.inf).argmax()
        reference = int(np.searchsorted(first, best, side="right"))
        reference_region = int(best - first[reference - 1]) + 1
        statistics, semantics, geometry = terms[region - 1, best].tolist()
        score = float(row[best])
        matches.append(Match(region, reference, reference_region, score, statistics, semantics, geometry, pinned))
    return matches


def choices(constraints: MatchConstraints[int], first: np.ndarray, regions: int) -> np.ndarray:
    """Whether a content region may take a reference region, (R, M) bool; one that is pinned has its target alone.

    `first` (references + 1) has the column of every reference's first region, and M.
    """
    allowed = np.ones((regions, first[-1]), dtype=bool)
    for reference in constraints.excluded:
        allowed[:, first[reference - 1] : first[reference]] = False
    for region, reference, reference_region in constraints.forbidden:
        allowed[region - 1, first[reference - 1] + reference_region - 1] = False
    for region, (reference, reference_region) in constraints.pins.items():
        allowed[region - 1] = False
        allowed[region - 1, first[reference - 1] + reference_region - 1] = True
    return allowed
