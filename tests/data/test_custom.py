"""The single item of the command line; `tests/data/test_benchmark.py` passes what no setting of it takes."""

from pathlib import Path

from data.custom import custom_item


def test_one_reference_mask_is_a_list_of_one() -> None:
    item = custom_item("a.png", ["b.png", "c.png"], reference_masks="mask.png")
    assert item.masks() == [None, Path("mask.png"), None]
