"""Descriptors of pictures in the store: of each in its own entry, and of many together.

A file that is opened and checked for every picture takes longer than matching it. So a gallery has blocks beside the
entries of its pictures, of about `BLOCK` that follow each other. The name of a block is the digest of their names, so
that it is never about other pictures than it says; where there is none, descriptors are read from their own entries.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from stylegallery.matching import RegionDescriptors, joined
from stylegallery.store import Entries, digest

BLOCK = 64  # pictures
DESCRIPTORS = {"statistics": "float R S", "semantics": "float R D", "circles": "float64 R 3"}  # see `store.have_forms`
BLOCKS = DESCRIPTORS | {"counts": "int64 P"}  # of regions, one for each picture


class Known(Protocol):
    """Of a picture's analysis what is needed here; key is empty where the store has no entry of it."""

    @property
    def key(self) -> str: ...
    @property
    def descriptors(self) -> RegionDescriptors: ...


def read(entries: Entries, key: str) -> RegionDescriptors | None:
    """The descriptors of a picture from its own entry; None where that is gone or damaged."""
    if found := entries.get(key, DESCRIPTORS):
        return RegionDescriptors(found["statistics"], found["semantics"], found["circles"].numpy())
    return None


def described(analyses: Sequence[Known], entries: Entries | None) -> Iterator[RegionDescriptors]:
    """The descriptors of every picture, in order, from blocks where there are some."""
    keys = [analysis.key for analysis in analyses]
    for part in blocks(keys):
        found = entries.get(name_of(keys[part]), BLOCKS, copied=False) if entries and all(keys[part]) else None
        if entries is None or found is None:
            yield from (analysis.descriptors for analysis in analyses[part])
            continue
        for key in keys[part]:  # what is matched to nothing is used too
            entries.touch(key)
        counts = found["counts"].tolist()
        for statistics, semantics, circles in zip(*(found[name].split(counts) for name in DESCRIPTORS), strict=True):
            yield RegionDescriptors(statistics, semantics, circles.numpy())


def join(entries: Entries, keys: Sequence[str]) -> None:
    """Keep the blocks of pictures in this order that are missing or damaged, where all their pictures have entries."""
    for part in blocks(keys):
        name = name_of(keys[part])
        if entries.get(name, BLOCKS) is None:
            found = [descriptors for key in keys[part] if (descriptors := read(entries, key))]
            if len(found) == len(keys[part]):
                tensors = {name: torch.as_tensor(values) for name, values in vars(joined(found)).items()}
                entries.put(name, tensors | {"counts": torch.tensor([len(one.circles) for one in found])})


def names_of(keys: Sequence[str]) -> list[str]:
    """Of the blocks of pictures in this order."""
    return [name_of(keys[part]) for part in blocks(keys)]


def blocks(keys: Sequence[str]) -> Iterator[slice]:
    """Where the blocks of pictures begin and end. One picture in `BLOCK` ends one, by its name and not by its place, so
    that a picture more or less changes one block and leaves the others."""
    first = 0
    for last, key in enumerate(keys, 1):
        if last == len(keys) or (key and int(key[-4:], 16) % BLOCK == 0):
            yield slice(first, last)
            first = last


def name_of(keys: Sequence[str]) -> str:
    """Of the block of pictures with these keys."""
    return digest("descriptors", *keys)
