"""Label maps: clean-up, overrides, renumbering and resizing, against the published code's vectors and by properties."""

import pytest
import torch
from published_vectors import SCALARS, VECTORS
from safetensors.torch import load_file
from torch import Tensor

from stylegallery.regions import absorb_small_components, override, region_count, resize_labels, without_gaps

SMALL_COMPONENTS = SCALARS["case03d_remove_small_regions"]["scenarios"]


def vector(case: str, name: str) -> Tensor:
    return load_file(VECTORS / f"{case}.safetensors")[name].long()


# --- small components ---


@pytest.mark.parametrize("scenario", SMALL_COMPONENTS)
def test_small_components_are_absorbed_as_published(scenario: str) -> None:
    case, settings = "case03d_remove_small_regions", SMALL_COMPONENTS[scenario]
    labels = vector(case, f"{scenario}/labels")
    cleaned = absorb_small_components(labels, settings["min_size"])
    assert torch.equal(cleaned, vector(case, f"{scenario}/out"))
    assert int((cleaned != labels).sum()) == settings["changed_pixels"]


def test_absorbing_leaves_its_input_alone() -> None:
    labels = vector("case03d_remove_small_regions", "blobs/labels")
    before = labels.clone()
    absorb_small_components(labels, 20)
    assert torch.equal(labels, before)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_absorbing_turns_with_the_map(turns: int) -> None:
    labels = vector("case03d_remove_small_regions", "blobs/labels")
    turned = absorb_small_components(torch.rot90(labels, turns), 20)
    assert torch.equal(turned, torch.rot90(absorb_small_components(labels, 20), turns))


def test_a_map_of_one_region_stays_however_large_the_minimum() -> None:
    labels = torch.full((5, 7), 3)
    assert torch.equal(absorb_small_components(labels, 1000), labels)


# --- user masks ---


@pytest.mark.parametrize("scenario", ["partial", "empty", "full", "gaps"])
def test_override_as_published(scenario: str) -> None:
    # The published labels start at 0 and ours at 1, so both sides of the comparison are shifted by one.
    case = "case03c_update_clusters_with_mask"
    labels, mask = vector(case, f"{scenario}/labels") + 1, vector(case, f"{scenario}/mask")
    assert torch.equal(override(labels, mask), vector(case, f"{scenario}/out") + 1)


def test_override_keeps_the_rest_and_puts_user_regions_last() -> None:
    labels = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 3]])
    mask = torch.tensor([[0, 0, 0, 0], [0, 9, 9, 0], [0, 0, 0, 4]])
    expected = torch.tensor([[1, 1, 2, 2], [1, 5, 5, 2], [3, 3, 3, 4]])
    assert torch.equal(override(labels, mask), expected)


# --- numbering and resizing ---


def test_without_gaps_renumbers_in_ascending_order_and_keeps_nothing() -> None:
    labels = torch.tensor([[0, 7, 7], [3, 0, 12], [12, 3, 7]])
    assert torch.equal(without_gaps(labels), torch.tensor([[0, 2, 2], [1, 0, 3], [3, 1, 2]]))


def test_without_gaps_is_idempotent_and_counts_the_labels() -> None:
    labels = torch.randint(0, 40, (9, 11), generator=torch.Generator().manual_seed(3)) * 5
    once = without_gaps(labels)
    assert torch.equal(without_gaps(once), once)
    assert region_count(once) == len(torch.unique(labels[labels > 0]))
    assert torch.equal(torch.unique(once[once > 0]), torch.arange(1, region_count(once) + 1))


@pytest.mark.parametrize(
    "source,target", [((8, 8), (3, 5)), ((7, 9), (4, 5)), ((3, 5), (8, 8)), ((512, 300), (64, 37))]
)
def test_resize_takes_the_floor_of_the_scaled_index(source: tuple[int, int], target: tuple[int, int]) -> None:
    labels = torch.arange(source[0] * source[1]).reshape(source)
    resized = resize_labels(labels, target)
    expected = [
        [int(labels[i * source[0] // target[0], j * source[1] // target[1]]) for j in range(target[1])]
        for i in range(target[0])
    ]
    assert resized.tolist() == expected


def test_resize_to_the_same_grid_and_up_and_down_again_is_the_identity() -> None:
    labels = torch.arange(35).reshape(5, 7)
    assert torch.equal(resize_labels(labels, (5, 7)), labels)
    assert torch.equal(resize_labels(resize_labels(labels, (15, 28)), (5, 7)), labels)
