"""Draws: by seed and pixels alone, with one picture in memory at a time."""

import weakref
from pathlib import Path

import pytest
import torch
from conftest import paint
from torch import Tensor

from stylegallery import draws
from stylegallery.contract import Item
from stylegallery.draws import derived, generator_for, item_generator, seed_of_run
from stylegallery.images import read_image


def test_a_seed_is_that_of_the_pixels_in_their_order(tmp_path: Path) -> None:
    paths = [paint(tmp_path / f"{number}.png", number) for number in range(3)]
    pictures = [read_image(path) for path in paths]
    assert derived(5, *paths) == derived(5, *pictures) == derived(5, paths[0], *pictures[1:])
    assert len({derived(5, *paths), derived(6, *paths), derived(5, *paths[::-1]), derived(5, *paths[:2])}) == 4


def test_pictures_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[weakref.ref[Tensor]] = []
    most = 0

    def watched(path: Path) -> Tensor:
        nonlocal most
        image = read_image(path)
        read.append(weakref.ref(image))
        most = max(most, sum(one() is not None for one in read))
        return image

    paths = [paint(tmp_path / f"{number}.png", number) for number in range(6)]
    monkeypatch.setattr(draws, "read_image", watched)
    item_generator(0, Item("item", paths[0], tuple(paths[1:])))
    assert len(read) == 6 and most <= 2


def test_a_method_that_draws_for_no_item_reads_none_of_its_pictures() -> None:
    class Own:
        draws_for_items = False

    nowhere = Item("item", Path("missing.png"), (Path("missing too.png"),))
    generator = generator_for(Own(), 7, nowhere)  # type: ignore[arg-type]
    assert seed_of_run(generator) == 7
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(7).get_state())
