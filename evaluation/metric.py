"""The contract of a metric: one file in `evaluation/metrics/`, one config in `conf/metric/`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard

from stylegallery.contract import Match
from stylegallery.errors import InputError
from stylegallery.weights import FETCH

if TYPE_CHECKING:  # it takes seconds to import, which tables need not wait for
    from torch import Tensor

Direction = Literal["up", "down"]  # which way is better
BATCH = 8  # pictures in one pass of a network
STYLEGALLERY, INDEPENDENT = ANNOTATORS = "stylegallery", "independent"  # who annotates items


@dataclass(frozen=True)
class Annotation:
    """The regions and matches of an item that regional scores ask about, the same for all methods: made once by one of
    `ANNOTATORS`.

    content_labels (h, w) and reference_labels, one (h, w) per reference, are int64 label maps 1..R on a grid
    of the annotator's; matches say which reference region each content region should take its style from.
    """

    content_labels: Tensor
    reference_labels: list[Tensor]
    matches: list[Match]


@dataclass(frozen=True)
class Sample:
    """One finished item as metrics see it; images are (1, 3, H, W) float32 in [0, 1], all at one resolution.

    `features` is scratch space of the backbones, so that several metrics share one forward pass per image.
    """

    item: str
    content: Tensor
    references: list[Tensor]
    image: Tensor
    annotation: Annotation | None = None
    features: dict[object, object] = field(default_factory=dict, compare=False, repr=False)


class MissingWeights(InputError):
    """A network is not on this machine; the message is `missing: <the command that gets it>`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"missing: {FETCH} {name}")


class Metric(Protocol):
    """A score of single items.

    name: what computed it, as in `lpips_alex`; version: raised whenever values change; direction: which way is
    better; bounds: smallest and largest possible value; kind: what it measures, which decides how its calibration
    rows must lie (`structure`: identity best; `style`: reference_copy best; `regional`: no fixed order).
    """

    name: str
    version: int
    direction: Direction
    bounds: tuple[float, float]
    kind: Literal["structure", "style", "regional"]

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One value per sample, in order; in batches of the metric's own. Raises ValueError where a sample
        lacks what the metric needs."""
        ...


# (N,) bool, which of N items count -> their score. Parts of a set show how far its score varies.
ScoreOfPart = Callable[["Tensor"], float]


class SetMetric(Protocol):
    """A score of a whole set of items, such as FID; kind: what it measures, `set` for a summary of several things."""

    of_sets: Literal[True]
    kind: Literal["style", "set"]
    name: str
    version: int
    direction: Direction
    bounds: tuple[float, float]

    def __call__(self, samples: Sequence[Sample]) -> ScoreOfPart:
        """Sees every item once; `samples` may read items when they are indexed, so few should be held at a time.

        Raises ValueError where the set is too small.
        """
        ...


def is_of_sets(metric: Metric | SetMetric) -> TypeGuard[SetMetric]:
    """Whether a metric scores whole sets of items and not items one by one."""
    return getattr(metric, "of_sets", False)


def clamped(value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A value cut at bounds that rounding may leave it outside of. A value that is not finite stays, as `min` and `max`
    would turn it into a bound."""
    return min(max(value, low), high) if math.isfinite(value) else value
