"""Random draws depend on the seed of the run and the pixels of pictures, never on a name, a path or an order."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from stylegallery.contract import Item
from stylegallery.images import Picture, read_image


class ItemGenerator(torch.Generator):
    """The generator of all draws of an item; `seed_of_run` is what the draws of its single pictures start from."""

    seed_of_run: int


def item_generator(seed: int, item: Item) -> ItemGenerator:
    """The generator of an item: from the run's seed and its pictures, content, then references in their order."""
    return generator_of(seed, (item.content, *item.references))


def generator_of(seed: int, pictures: Iterable[Picture]) -> ItemGenerator:
    """`item_generator` of the item that has these pictures."""
    generator = ItemGenerator()
    generator.manual_seed(derived(seed, *map(read_image, pictures)))
    generator.seed_of_run = seed
    return generator


def seed_of_run(generator: torch.Generator) -> int:
    """The seed of the run that a generator belongs to; a plain generator's is its own."""
    return generator.seed_of_run if isinstance(generator, ItemGenerator) else generator.initial_seed()


def derived(seed: int, *pictures: Tensor) -> int:
    """A seed below 2**31 from another one and pictures (1, 3, H, W): the same for the same pixels in any file."""
    digest = hashlib.sha256(str(seed).encode())
    for picture in pictures:
        digest.update(str(tuple(picture.shape)).encode())
        digest.update(picture.flatten().numpy().data)
    return int.from_bytes(digest.digest()[:4], "big") >> 1
