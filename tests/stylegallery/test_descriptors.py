"""Descriptors of many pictures kept together: what is read is what each picture's own entry says, whatever happens to a
file."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylegallery.analysis import Analysis
from stylegallery.descriptors import DESCRIPTORS, blocks, described, join, names_of, read
from stylegallery.matching import RegionDescriptors
from stylegallery.store import Entries, digest

KEYS = [digest(str(number)) for number in range(60)]


def of(number: int) -> RegionDescriptors:
    """Descriptors of one to four regions."""
    draw, regions = torch.Generator().manual_seed(number), 1 + number % 4
    circles = torch.rand(regions, 3, generator=draw, dtype=torch.float64).numpy()
    return RegionDescriptors(torch.randn(regions, 5, generator=draw), torch.randn(regions, 3, generator=draw), circles)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegallery.descriptors.BLOCK", 8)


@pytest.fixture
def store(tmp_path: Path) -> Entries:
    """An entry of every picture."""
    kept = Entries(tmp_path / "store", 1e9)
    for number, key in enumerate(KEYS):
        kept.put(key, {name: torch.as_tensor(value) for name, value in vars(of(number)).items()})
    return kept


def offered(store: Entries, keys: Sequence[str]) -> list[Analysis]:
    nothing: Any = None

    def own(key: str) -> RegionDescriptors:
        found = read(store, key)
        assert found
        return found

    return [Analysis("", 0, partial(own, key), nothing, nothing, key) for key in keys]


def expected(store: Entries, keys: Sequence[str]) -> bool:
    """Whether the descriptors that are read are those of the pictures."""
    found = list(described(offered(store, keys), store))
    pairs = zip(found, (of(KEYS.index(key)) for key in keys), strict=True)
    return all(
        np.array_equal(a, b) for pair in pairs for a, b in zip(*(vars(one).values() for one in pair), strict=True)
    )


def asked(store: Entries, keys: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pictures' own entries are read."""
    read: list[str] = []
    whole = Entries.get
    with monkeypatch.context() as patch:
        patch.setattr(
            Entries,
            "get",
            lambda self, key, forms, **how: (
                (forms is DESCRIPTORS and read.append(key)) or whole(self, key, forms, **how)
            ),
        )
        assert expected(store, keys)
    return len(read)


def test_blocks_are_read_in_place_of_entries(store: Entries, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(store, KEYS, monkeypatch) == len(KEYS)
    join(store, KEYS)
    assert asked(store, KEYS, monkeypatch) == 0
    assert asked(store, KEYS[::-1], monkeypatch) > len(KEYS) / 2  # those of another order are others
    assert asked(store, KEYS[5:9], monkeypatch) == 4
    mixed = offered(store, KEYS)
    mixed[7] = Analysis("", 0, lambda: of(7), *(None,) * 2, key="")  # type: ignore[arg-type]
    found = list(described(mixed, store))  # one that the store does not have
    assert len(found) == len(KEYS) and np.array_equal(found[7].circles, of(7).circles)
    assert len(list(described(mixed, None))) == len(KEYS)


def test_pictures_that_changed_places_in_a_block_are_told_apart(store: Entries) -> None:
    join(store, KEYS)
    place = next(part.start for part in blocks(KEYS) if part.stop - part.start > 2)
    swapped = [*KEYS[:place], KEYS[place + 1], KEYS[place], *KEYS[place + 2 :]]
    assert list(blocks(swapped)) == list(blocks(KEYS)) and expected(store, swapped)


def test_a_picture_more_or_less_changes_one_block(store: Entries) -> None:
    parts = [KEYS[part] for part in blocks(KEYS)]
    assert len(parts) > 3 and [key for part in parts for key in part] == KEYS
    for place in (0, len(KEYS) // 2, len(KEYS)):
        more = [*KEYS[:place], digest("new"), *KEYS[place:]]
        less = KEYS[: max(0, place - 1)] + KEYS[place:]
        for others in (more, less):
            kept = set(names_of(KEYS)) & set(names_of(others))
            assert len(parts) - 2 <= len(kept) < len(parts) or others == KEYS


@pytest.mark.parametrize("damage", ["gone", "cut", "bit", "empty", "other"])
def test_a_damaged_block_is_not_believed_and_redone(
    store: Entries, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(store, KEYS)
    path, other = (store.path(name) for name in names_of(KEYS)[:2])
    data = path.read_bytes()
    changed = {"cut": data[:-9], "bit": data[:-9] + bytes([data[-9] ^ 4]) + data[-8:], "empty": b""}
    path.unlink()
    if damage != "gone":
        path.write_bytes(changed.get(damage, other.read_bytes()))
    size = next(iter(blocks(KEYS))).stop
    assert asked(store, KEYS, monkeypatch) == size
    join(store, KEYS)
    assert asked(store, KEYS, monkeypatch) == 0


def test_a_block_is_made_of_whole_entries_alone(store: Entries) -> None:
    path = store.path(KEYS[0])
    path.write_bytes(path.read_bytes()[:-1])
    join(store, KEYS)
    first, *others = names_of(KEYS)
    assert not store.has(first) and all(map(store.has, others))


def test_what_is_read_in_a_block_is_used(store: Entries) -> None:
    """So that the entries of a gallery do not make room for those of others."""
    join(store, KEYS)
    for key in KEYS:
        os.utime(store.path(key), (1, 1))
    assert expected(store, KEYS)
    assert all(store.path(key).stat().st_mtime > 1 for key in KEYS)


def test_several_may_join_at_once(store: Entries) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: join(Entries(store.folder, store.limit), KEYS), range(4)))
    assert {path.stem for path in store.folder.iterdir()} == {*KEYS, *names_of(KEYS)}
    assert expected(store, KEYS)
