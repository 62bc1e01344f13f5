"""Random draws depend on the seed of the run and the pixels of pictures, never on a name, a path or an order."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from stylegallery.contract import Item, Method
from stylegallery.decoding import Picture
from stylegallery.images import read_image


class ItemGenerator(torch.Generator):
    """The generator of all draws of an item; `seed_of_run` is what the draws of its single pictures start from."""

    seed_of_run: int


def item_generator(seed: int, item: Item) -> ItemGenerator:
    """The generator of an item: from the run's seed and its pictures, content, then references in their order."""
    return generator_of(seed, (item.content, *item.references))


def generator_of(seed: int, pictures: Iterable[Picture]) -> ItemGenerator:
    """`item_generator` of the item that has these pictures."""
    generator = ItemGenerator()
    generator.manual_seed(derived(seed, *pictures))
    generator.seed_of_run = seed
    return generator


def generator_for(method: Method, seed: int, item: Item) -> torch.Generator:
    """What a method is given for an item: `item_generator`, or a plain one where `draws_for_items` of the method is
    False, which draws for single pictures alone: thousands of references are not decoded for a seed that it leaves."""
    if getattr(method, "draws_for_items", True):
        return item_generator(seed, item)
    return torch.Generator().manual_seed(seed)


def seed_of_run(generator: torch.Generator) -> int:
    """The seed of the run that a generator belongs to; a plain generator's is its own."""
    return generator.seed_of_run if isinstance(generator, ItemGenerator) else generator.initial_seed()


def derived(seed: int, *pictures: Picture | Tensor) -> int:
    """A seed below 2**31 from another one and pictures, of a user or (1, 3, H, W): the same for the same pixels in any
    file. One picture is in memory at a time."""
    digest = hashlib.sha256(str(seed).encode())
    for picture in pictures:
        image = picture if isinstance(picture, Tensor) else read_image(picture)
        digest.update(str(tuple(image.shape)).encode())
        digest.update(image.flatten().numpy().data)
    return int.from_bytes(digest.digest()[:4], "big") >> 1
