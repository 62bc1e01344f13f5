"""What figures show, apart from how: pages make these without the library that draws."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A point with its interval (not a number where there is none); whether it is one of the method under test, and
    whether it stands out."""

    name: str
    x: float
    y: float
    low: float
    high: float
    ours: bool
    front: bool = False


@dataclass(frozen=True)
class Panel:
    """What a panel is about, the score of its points, whether higher is better; photo: that of the untouched photo."""

    title: str
    score: str
    up: bool
    marks: Sequence[Mark]
    photo: float | None
