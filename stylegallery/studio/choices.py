"""What a visitor decided, and how it changes; regions are named by points in them, so that it holds at any size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from stylegallery.contract import MatchConstraints, Region
from stylegallery.region_pictures import deepest_point

Point = tuple[float, float]  # (x, y) in fractions of the picture from its top left
Pair = tuple[Point, int, Point]  # content region, reference from 1, its region
At = Callable[[int, Point], int]  # picture (0: the content) and point -> number of the region there


def point_in(labels: Tensor, region: int) -> Point:
    """The middle of a region's widest part, in as many digits as a command line shows."""
    x, y = deepest_point(labels, region, (1, 1))
    return round(x, 4), round(y, 4)


@dataclass(frozen=True)
class Choices:
    """Pins and vetoes as pairs, references left out, and by picture the file of its mask where its regions are the
    visitor's."""

    pins: tuple[Pair, ...] = ()
    forbidden: tuple[Pair, ...] = ()
    excluded: tuple[int, ...] = ()
    masks: Mapping[int, Path] = field(default_factory=dict)

    def pinned(self, pair: Pair, at: At) -> "Choices":
        """With a pin, in place of that of the same content region, and without the vetoes it overrules."""
        region = at(0, pair[0])
        others = tuple(pin for pin in self.pins if at(0, pin[0]) != region)
        free = tuple(veto for veto in self.forbidden if named(veto, at) != named(pair, at))
        return replace(self, pins=(*others, pair), forbidden=free)

    def unpinned(self, region: int, at: At) -> "Choices":
        return replace(self, pins=tuple(pin for pin in self.pins if at(0, pin[0]) != region))

    def vetoed(self, pair: Pair, at: At) -> "Choices":
        """With a veto, and without the pin that it overrules; a second time takes the veto back."""
        free = tuple(veto for veto in self.forbidden if named(veto, at) != named(pair, at))
        pins = tuple(pin for pin in self.pins if named(pin, at) != named(pair, at))
        more = (pair,) if len(free) == len(self.forbidden) else ()
        return replace(self, pins=pins, forbidden=(*free, *more))

    def leaving(self, reference: int, out: bool) -> "Choices":
        """With a reference left out, or used again."""
        others = set(self.excluded) - {reference}
        return replace(self, excluded=tuple(sorted(others | {reference} if out else others)))

    def with_mask(self, picture: int, mask: Path | None) -> "Choices":
        masks = {number: path for number, path in self.masks.items() if number != picture}
        return replace(self, masks=masks | ({picture: mask} if mask else {}))

    def settled(self, at: At) -> "Choices":
        """Without earlier pins that now lie in one region with later ones: regions were joined."""
        last = {at(0, pin[0]): pin for pin in self.pins}
        return replace(self, pins=tuple(pin for pin in self.pins if last[at(0, pin[0])] == pin))

    def without(self, reference: int) -> "Choices":
        """What stays when a reference is taken away, and those after it move up."""

        def number(old: int) -> int:
            return old - (old > reference)

        def pairs(old: tuple[Pair, ...]) -> tuple[Pair, ...]:
            return tuple((i, number(r), j) for i, r, j in old if r != reference)

        masks = {number(picture): path for picture, path in self.masks.items() if picture != reference}
        excluded = tuple(number(other) for other in self.excluded if other != reference)
        return Choices(pairs(self.pins), pairs(self.forbidden), excluded, masks)

    def constraints(self) -> MatchConstraints[Region]:
        """As `match` takes them."""
        return MatchConstraints({i: (r, j) for i, r, j in self.pins}, self.excluded, self.forbidden)


def named(pair: Pair, at: At) -> tuple[int, int, int]:
    """A pair by the numbers of its regions."""
    return at(0, pair[0]), pair[1], at(pair[1], pair[2])
