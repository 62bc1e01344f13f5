"""What the user decided about matches, by the numbers of regions that stage 1 found."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from stylegallery.contract import MatchConstraints, Region
from stylegallery.errors import InputError


class Labelled(Protocol):
    """What has a region map (h, w), perhaps on disk: it is asked for where a point names a region."""

    @property
    def labels(self) -> Tensor: ...


def numbered(constraints: MatchConstraints[Region], pictures: Sequence[Labelled]) -> MatchConstraints[int]:
    """Constraints that name regions by numbers alone; the pictures are the content and the references.

    Raises:
        InputError: two pins name one content region and want different targets.
    """

    def target_at(region: Region, reference: int) -> int:
        known = (
            reference if 1 <= reference < len(pictures) else 0
        )  # `require_known` names a reference that is not there
        return region_at(region, pictures[known])

    pins: dict[int, tuple[int, int]] = {}
    for region, (reference, target) in constraints.pins.items():
        number, pair = region_at(region, pictures[0]), (reference, target_at(target, reference))
        if pins.setdefault(number, pair) != pair:
            raise InputError(
                f"two pins are in content region {number} and ask for region {pins[number][1]} of reference "
                f"{pins[number][0]} and region {pair[1]} of reference {pair[0]}; leave one of them out"
            )
    forbidden = [(region_at(i, pictures[0]), r, target_at(j, r)) for i, r, j in constraints.forbidden]
    return MatchConstraints(pins, constraints.excluded, forbidden)


def region_at(region: Region, picture: Labelled) -> int:
    """The number of a region of a picture that is given by its number or by a point (x, y) in it."""
    if isinstance(region, int):
        return region
    labels = picture.labels
    row, column = (min(int(part * side), side - 1) for part, side in zip(region[::-1], labels.shape, strict=True))
    return int(labels[row, column])


def require_known(constraints: MatchConstraints[int], content_regions: int, reference_regions: list[int]) -> None:
    """Raise InputError where a pin, an exclusion or a veto names something that does not exist."""
    targets = [("pin", region, *target) for region, target in constraints.pins.items()]
    targets += [("forbidden pair", *triple) for triple in constraints.forbidden]
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
    for reference in constraints.excluded:
        if not 1 <= reference <= len(reference_regions):
            raise InputError(f"excluded names reference {reference}, but there are {len(reference_regions)} references")
