"""The single item of the command line: one content picture of the user with references, masks and match constraints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.benchmark import listed, safe_name
from stylegallery.contract import Item, MatchConstraints, Region
from stylegallery.errors import InputError
from stylegallery.picture_files import list_images


def custom_item(
    content: str,
    references: str | Sequence[str],
    mask: str | None = None,
    reference_masks: str | Sequence[str | None] = (),
    pins: Mapping[Any, Sequence[Any]] | None = None,
    excluded: Sequence[int] = (),
    forbidden: Sequence[Sequence[Any]] = (),
) -> Item:
    """The single item of the command line, from what a user passes; references are files, folders or glob patterns.

    Raises:
        InputError: no references, more masks than references, a pin that is not region:[reference, region], or a
            point outside a picture.
    """
    for name, path in (("content", content), ("mask", "" if mask is None else mask)):
        if not isinstance(path, str):
            raise InputError(f"{name} is {path!r}; pass the path of a picture")
    if not isinstance(excluded, list | tuple) or not all(type(number) is int and number > 0 for number in excluded):
        raise InputError(f"excluded is {excluded!r}; pass a list of reference numbers, from 1")
    paths = tuple(path for source in listed("references", references) for path in list_images(source))
    masks = listed("reference_masks", reference_masks, str | None)
    if not paths:
        raise InputError("references is empty; pass at least one picture, folder or pattern")
    if len(masks) > len(paths):
        raise InputError(f"{len(masks)} reference_masks for {len(paths)} references; pass at most one each")
    try:
        given = {} if pins is None else pins
        parsed_pins = {parse_region(i): (parse_number(r), parse_region(j)) for i, (r, j) in given.items()}
        parsed_forbidden = tuple((parse_region(i), parse_number(r), parse_region(j)) for i, r, j in forbidden)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "pins are written {content region: [reference, region]} and forbidden pairs "
            "[[content region, reference, region]], all numbers from 1, or for a region a point in it such as '0.4,0.7'"
        ) from error
    chosen = [("pin", reference) for reference, _ in parsed_pins.values()]
    chosen += [("forbidden pair", reference) for _, reference, _ in parsed_forbidden]
    for name, reference in [*chosen, *(("excluded", number) for number in excluded)]:
        if reference > len(paths):
            raise InputError(f"{name} names reference {reference}, but there are {len(paths)} references")
    return Item(
        id=safe_name(Path(content).stem),
        content=Path(content),
        references=paths,
        mask=Path(mask) if mask else None,
        reference_masks=tuple(Path(m) if m else None for m in masks),
        constraints=MatchConstraints(parsed_pins, tuple(excluded), parsed_forbidden),
    )


def parse_number(value: Any) -> int:
    """A whole number from 1. Raises ValueError or TypeError for anything else."""
    if isinstance(value, bool | float):
        raise TypeError(value)
    if int(value) < 1:
        raise ValueError(value)
    return int(value)


def parse_region(value: Any) -> Region:
    """A region's number, or the point of `x,y`. Raises ValueError or TypeError for anything else."""
    if not isinstance(value, str) or "," not in value:
        return parse_number(value)
    x, y = (float(part) for part in value.split(","))
    return x, y
