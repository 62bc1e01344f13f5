"""How the baselines read an item: the pictures as every method sees them."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stylegallery.contract import Item
from stylegallery.errors import InputError, require
from stylegallery.images import read_image, resize
from stylegallery.settings import Resolution, check_fields


@dataclass(frozen=True)
class PictureReader:
    """Reads and resizes as StyleGallery does; sides become multiples of `multiple` pixels."""

    resolution: Resolution
    resizing: Literal["square", "keep"]
    multiple: int = 8

    def __post_init__(self) -> None:
        check_fields(self)
        smallest = 4 * self.multiple
        require(self.resolution >= smallest, f"resolution is at least {smallest}", self.resolution)

    def __call__(self, item: Item) -> tuple[Tensor, list[Tensor]]:
        """Content and references, (1, 3, H, W) float32 in [0, 1]."""
        content, *references = (
            resize(read_image(path), self.resolution, self.resizing, self.multiple)
            for path in (item.content, *item.references)
        )
        return content, references


def require_reference(item: Item, number: int) -> None:
    """Raises InputError if the item has no reference `number`, counted from 1."""
    if number > len(item.references):
        raise InputError(
            f"item {item.id} has {len(item.references)} references, not {number}; pass a smaller method.reference"
        )
