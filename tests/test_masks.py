"""Masks from files: which label a painted pixel becomes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BROKEN
from PIL import Image
from torch import Tensor

from stylegallery.errors import InputError
from stylegallery.figures import write_indexed_png
from stylegallery.regions import override, read_mask, region_count, resize_labels

BARS = np.repeat(np.array([[0, 10, 10, 200]], dtype=np.uint8), 3, axis=0)  # three grey values, 3 x 4


def read(path: Path, image: Image.Image, **options: object) -> list[list[int]]:
    image.save(path, **options)
    return read_mask(path).tolist()


def test_grey_values_become_labels_in_ascending_order(tmp_path: Path) -> None:
    assert read(tmp_path / "a.png", Image.fromarray(BARS)) == [[0, 1, 1, 2]] * 3


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    assert read(tmp_path / "a.png", Image.fromarray(BARS.astype(np.uint16) * 256)) == [[0, 1, 1, 2]] * 3


def test_black_and_white(tmp_path: Path) -> None:
    assert read(tmp_path / "a.png", Image.fromarray(BARS > 100)) == [[0, 0, 0, 1]] * 3


def test_palette_indices_count_not_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 3, 1]], dtype=np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9, 0, 0, 0])  # 1 and 3 share a colour and it is black
    assert read(tmp_path / "a.png", image) == [[0, 2, 1]]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 2, 1]], dtype=np.uint8))
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert read(tmp_path / "a.png", image, transparency=0) == [[0, 2, 1]]


def test_colours_are_numbered_by_first_appearance(tmp_path: Path) -> None:
    red, blue, black = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    pixels = np.array([[black, red, red], [blue, black, red]], dtype=np.uint8)
    assert read(tmp_path / "a.png", Image.fromarray(pixels)) == [[0, 1, 1], [2, 0, 1]]
    assert read(tmp_path / "b.png", Image.fromarray(pixels[::-1].copy())) == [[1, 0, 2], [0, 2, 2]]


def test_colours_without_black_have_no_background(tmp_path: Path) -> None:
    pixels = np.array([[(255, 255, 255), (9, 9, 9)]], dtype=np.uint8)
    assert read(tmp_path / "a.png", Image.fromarray(pixels)) == [[1, 2]]


def test_one_pixel_mask_covers_everything(tmp_path: Path) -> None:
    mask = torch.tensor(read(tmp_path / "a.png", Image.new("L", (1, 1), 5)))
    assert resize_labels(mask, (3, 2)).tolist() == [[1, 1]] * 3


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    """A mask painted over a photo and saved with the photo's EXIF lies as the photo lies."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(tmp_path / "a.png", Image.fromarray(BARS), exif=exif) == [[0] * 3, [1] * 3, [1] * 3, [2] * 3]


def test_all_background(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "P", "1"):
        Image.new(mode, (40, 40)).save(tmp_path / "a.png")
        with pytest.raises(InputError, match=r"mask .*a\.png is all background; paint at least one region"):
            read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("colour", [False, True])
def test_sixty_four_labels_and_no_more(tmp_path: Path, colour: bool) -> None:
    values = np.arange(66, dtype=np.uint8)[None]
    for count in (64, 65):
        pixels = values[:, : count + 1]
        image = Image.fromarray(np.stack([pixels, pixels * 0, pixels], axis=-1) if colour else pixels)
        image.save(tmp_path / f"{count}.png")
    assert region_count(read_mask(tmp_path / "64.png")) == 64
    with pytest.raises(InputError, match=r"mask .*65\.png has 65 labels, more than 64; save it as PNG without antial"):
        read_mask(tmp_path / "65.png")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_mask_is_named(tmp_path: Path, kind: str) -> None:
    name, make, says = BROKEN[kind]
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_mask(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert (says if kind != "missing" else "pass the path of a picture") in str(caught.value)


def test_other_size_is_resized_to_the_nearest_cell(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8)).save(tmp_path / "a.png")
    enlarged = resize_labels(read_mask(tmp_path / "a.png"), (4, 5))
    assert enlarged.tolist() == [[0, 0, 0, 1, 1]] * 2 + [[2, 2, 2, 3, 3]] * 2
    large = np.repeat(np.repeat(enlarged.numpy(), 7, axis=0), 3, axis=1).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "b.png")
    assert torch.equal(resize_labels(read_mask(tmp_path / "b.png"), (4, 5)), enlarged)


def test_region_that_vanishes_on_the_grid_leaves_no_gap(tmp_path: Path) -> None:
    """Between two sampled pixels there is room for a label that no cell gets; the numbers above it close up."""
    pixels = np.zeros((16, 16), dtype=np.uint8)
    pixels[0, 1], pixels[8:, 8:] = 1, 2
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    assert region_count(mask) == 2
    automatic = torch.tensor([[1, 1], [2, 1]])
    assert override(automatic, resize_labels(mask, (2, 2))).tolist() == [[1, 1], [2, 3]]


def test_written_region_map_can_be_passed_as_mask(tmp_path: Path) -> None:
    labels: Tensor = torch.randint(1, 12, (5, 7), generator=torch.Generator().manual_seed(0))
    labels[0, :] = torch.arange(5, 12)
    labels[1, :] = torch.arange(7)
    write_indexed_png(tmp_path / "a.png", labels, (40, 56))
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("P", (56, 40))
        assert np.array_equal(np.asarray(image)[::8, ::8], labels.numpy())
    back = read_mask(tmp_path / "a.png")
    assert back.shape == (40, 56)
    assert torch.equal(resize_labels(back, (5, 7)), labels)
