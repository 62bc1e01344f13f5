"""Items: what a method is asked to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylegallery.errors import InputError
from stylegallery.images import list_images


@dataclass(frozen=True)
class Item:
    """One content picture, its ordered references, and what the user decided about regions.

    Regions and references are numbered from 1. pins: content region -> (reference, region); excluded: references
    no region may use; forbidden: (content region, reference, region) triples.
    """

    id: str
    content: Path
    references: tuple[Path, ...]
    mask: Path | None = None
    reference_masks: tuple[Path | None, ...] = ()
    pins: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    excluded: tuple[int, ...] = ()
    forbidden: tuple[tuple[int, int, int], ...] = ()

    def masks(self) -> list[Path | None]:
        """The masks of content and references, one entry per picture."""
        return [self.mask, *self.reference_masks, *[None] * (len(self.references) - len(self.reference_masks))]

    def files(self) -> dict[str, Path]:
        """Every file the item reads, by its role."""
        roles = ["content", *(f"reference {number}" for number in range(1, len(self.references) + 1))]
        masks = {f"mask of {role}": path for role, path in zip(roles, self.masks(), strict=True) if path}
        return dict(zip(roles, [self.content, *self.references], strict=True)) | masks


def custom_item(
    content: str,
    references: str | Sequence[str],
    mask: str | None = None,
    reference_masks: Sequence[str | None] = (),
    pins: Mapping[Any, Sequence[int]] | None = None,
    excluded: Sequence[int] = (),
    forbidden: Sequence[Sequence[int]] = (),
) -> Item:
    """An item from what a user passes; references are files, folders or glob patterns.

    Raises:
        InputError: no references, more masks than references, or a pin that is not region:[reference, region].
    """
    if not isinstance(content, str):
        raise InputError(f"content is {content!r}; pass the path of a picture")
    if not isinstance(references, str) and not (
        isinstance(references, Sequence) and all(isinstance(source, str) for source in references)
    ):
        raise InputError(f"references is {references!r}; pass a path or a list of paths")
    if not isinstance(excluded, Sequence) or not all(isinstance(number, int) for number in excluded):
        raise InputError(f"excluded is {excluded!r}; pass a list of reference numbers")
    sources = [references] if isinstance(references, str) else references
    paths = tuple(path for source in sources for path in list_images(source))
    if not paths:
        raise InputError("references is empty; pass at least one picture, folder or pattern")
    if len(reference_masks) > len(paths):
        raise InputError(f"{len(reference_masks)} reference_masks for {len(paths)} references; pass at most one each")
    try:
        parsed_pins = {int(region): (int(r), int(j)) for region, (r, j) in (pins or {}).items()}
        parsed_forbidden = tuple((int(i), int(r), int(j)) for i, r, j in forbidden)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "pins are written {content region: [reference, region]} and forbidden pairs "
            "[[content region, reference, region]], all numbers from 1"
        ) from error
    return Item(
        id=Path(content).stem,
        content=Path(content),
        references=paths,
        mask=Path(mask) if mask else None,
        reference_masks=tuple(Path(m) if m else None for m in reference_masks),
        pins=parsed_pins,
        excluded=tuple(excluded),
        forbidden=parsed_forbidden,
    )
