"""Borders of regions lie on the picture's edges, and nowhere else does anything change."""

import pytest
import torch
from composing import configured
from torch import Tensor

from stylegallery.errors import InputError
from stylegallery.extras.borders import follow_edges, soft_masks
from stylegallery.segmentation import SegmentationConfig


def two_colours(edge: int) -> tuple[Tensor, Tensor]:
    """A picture of 128 x 192 pixels, noisy red left of column `edge` and noisy green right of it; and labels of 8 px
    cells that change at column 96."""
    image = 0.1 * torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    image[:, 0, :, :edge] += 0.6
    image[:, 1, :, edge:] += 0.6
    labels = torch.ones(16, 24, dtype=torch.long)
    labels[:, 12:] = 2
    return image, labels


@pytest.mark.parametrize("edge", [88, 96, 104])
def test_a_border_that_lies_a_cell_off_moves_onto_the_edge(edge: int) -> None:
    image, labels = two_colours(edge)
    found = follow_edges(labels, image, margin=1.5)
    assert found.dtype == labels.dtype
    assert torch.equal(found, torch.where(torch.arange(24) < edge // 8, 1, 2).expand(16, 24))


def test_a_border_further_off_than_the_margin_moves_no_further() -> None:
    image, labels = two_colours(edge=136)  # five cells off
    moved = follow_edges(labels, image, margin=1.5) != labels
    assert not moved[:, :11].any() and not moved[:, 13:].any()


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_margin_below_a_cell_moves_nothing(margin: float) -> None:
    image, labels = two_colours(edge=88)
    assert torch.equal(follow_edges(labels, image, margin), labels)


@pytest.mark.parametrize("margin", [-1.0, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(
        InputError, match=r"border_margin is .*; it should be (greater than or equal to 0|a finite number)"
    ):
        configured(SegmentationConfig, border_margin=margin)


def test_every_part_of_a_region_keeps_its_core_whatever_the_picture() -> None:
    draw = torch.Generator().manual_seed(1)
    labels = torch.ones(20, 20, dtype=torch.long)
    labels[7:] = 2
    labels[12:14, 4:16] = 1  # a bar of region 1, much thinner than its main part
    labels[3, 3], labels[:, 19] = 3, 4  # a single cell, a column at the rim
    for _ in range(10):
        found = follow_edges(labels, torch.rand(1, 3, 160, 160, generator=draw), margin=1.5)
        assert torch.unique(found).tolist() == [1, 2, 3, 4]
        assert (found[12:14, 4:16] == 1).any()


def test_a_thin_part_that_the_picture_shows_stays_whole() -> None:
    labels = torch.full((20, 20), 2)
    labels[:7] = 1
    labels[12:14, 4:16] = 1
    for contrast in (0.05, 0.2, 0.8):
        image = (contrast * (labels == 1).float()).repeat_interleave(8, 0).repeat_interleave(8, 1).expand(1, 3, -1, -1)
        assert torch.equal(follow_edges(labels, image, margin=1.5), labels)


def test_turned_pictures_have_turned_regions() -> None:
    image, labels = two_colours(edge=88)
    labels[:4] = 3
    straight = follow_edges(labels, image, margin=1.5)
    assert torch.equal(follow_edges(labels.mT, image.mT, margin=1.5), straight.mT)


def test_shares_of_a_pixel_add_up_and_the_inside_of_a_region_is_its_own() -> None:
    labels = torch.ones(48, 48, dtype=torch.long)
    labels[:, 16:32], labels[30:, 32:] = 2, 3
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    shares = soft_masks(image, labels, margin=4)
    assert torch.allclose(shares.sum(0), torch.ones(1, 1, 48, 48), atol=1e-5)
    assert (
        (shares[0][..., :11] > 0.999).all()
        and (shares[1][..., 21:27] > 0.999).all()
        and (shares[2][..., 36:, 38:] > 0.999).all()
    )


def test_a_border_follows_a_coloured_edge_of_even_lightness() -> None:
    """Red and green of one lightness: a grey guide would see no edge, four pixels off the border of the labels."""
    image = torch.zeros(1, 3, 48, 48)
    image[:, 0, :, :28], image[:, 1, :, 28:] = 0.6, 0.6
    labels = torch.ones(48, 48, dtype=torch.long)
    labels[:, 24:] = 2
    shares = soft_masks(image, labels, margin=8)
    assert (shares[0][..., 27] > 0.9).all() and (shares[1][..., 28] > 0.9).all()


def test_walks_that_cross_an_edge_leave_no_halo() -> None:
    """The border of the labels is 16 pixels beside the edge, in a picture of little contrast and some noise."""
    image = 0.1 * torch.rand(1, 3, 96, 192, generator=torch.Generator().manual_seed(0))
    image[:, 0, :, :84] += 0.25
    image[:, 1, :, 84:] += 0.25
    labels = torch.ones(96, 192, dtype=torch.long)
    labels[:, 100:] = 2
    shares = soft_masks(image, labels, margin=24)
    assert (shares[0][..., :84] > 0.999).all() and (shares[0][..., 84:] < 0.001).all()


def test_a_region_of_a_single_cell_and_a_single_region_have_masks() -> None:
    labels = torch.ones(16, 16, dtype=torch.long)
    assert torch.equal(soft_masks(torch.rand(1, 3, 16, 16), labels, margin=12), torch.ones(1, 1, 1, 16, 16))
    labels[8:, 8:] = 2
    flat = soft_masks(torch.full((1, 3, 16, 16), 0.5), labels, margin=12)[:, 0, 0]
    assert torch.equal(flat, torch.stack([labels == 1, labels == 2]).float())  # no edges: as the labels say


def test_a_single_region_has_no_border(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegallery.extras.borders.random_walker", None)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert torch.equal(soft_masks(image, torch.ones(64, 96, dtype=torch.long), 12), torch.ones(1, 1, 1, 64, 96))
