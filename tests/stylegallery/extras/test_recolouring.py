"""Recolouring: the colour map has a closed form, and regions keep to themselves."""

from typing import Literal

import pytest
import torch
from composing import configured

from stylegallery.colour_statistics import GREATEST_GAIN, transport
from stylegallery.contract import Match
from stylegallery.encoders import EfficientNetEncoder
from stylegallery.errors import InputError
from stylegallery.extras.recolouring import LEAST_CONTRAST, recolour
from stylegallery.extras.small_models import ExtrasConfig
from stylegallery.guidance import GuidanceConfig
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.pipeline import StyleGallery


def match(content_region: int, reference: int, reference_region: int) -> Match:
    return Match(content_region, reference, reference_region, 1.0, 1.0, 1.0, 1.0, pinned=False)


def random_colours(seed: int, mixing: list[list[float]], mean: list[float], count: int = 4096) -> torch.Tensor:
    noise = torch.randn(3, count, generator=torch.Generator().manual_seed(seed))
    return torch.tensor(mixing) @ noise + torch.tensor(mean)[:, None]


SOURCE = random_colours(0, [[0.1, 0.0, 0.0], [0.03, 0.12, 0.0], [0.0, 0.02, 0.09]], [0.4, 0.5, 0.6])
TARGET = random_colours(1, [[0.2, 0.0, 0.0], [-0.05, 0.08, 0.0], [0.01, 0.0, 0.11]], [0.7, 0.3, 0.2])


def test_transport_gives_the_targets_mean_and_covariance() -> None:
    moved = transport(SOURCE.reshape(1, 3, 64, 64), SOURCE, TARGET)[0].flatten(1)
    assert torch.allclose(moved.mean(1), TARGET.mean(1), atol=1e-5)
    assert torch.allclose(torch.cov(moved), torch.cov(TARGET), atol=2e-4)


def test_transport_to_the_same_colours_changes_nothing() -> None:
    image = SOURCE.reshape(1, 3, 64, 64)
    assert torch.allclose(transport(image, SOURCE, SOURCE), image, atol=1e-5)


def test_a_flat_source_does_not_turn_its_noise_into_texture() -> None:
    flat = 0.5 + 1e-3 * torch.randn(3, 4096, generator=torch.Generator().manual_seed(2))
    moved = transport(flat.reshape(1, 3, 64, 64), flat, TARGET)[0].flatten(1)
    assert (moved.std(1) <= GREATEST_GAIN * flat.std(1).max() * 1.001).all()


def test_a_flat_grey_match_keeps_most_of_the_contrast_and_none_of_the_colour() -> None:
    content = SOURCE.reshape(1, 3, 64, 64).clamp(0, 1)
    whole = torch.ones(8, 8, dtype=torch.long)
    flat = torch.full((1, 3, 64, 64), 0.5)
    result = recolour(content, whole, [flat], [whole], [match(1, 1, 1)], 1.0)
    kept = result.mean(1).std() / content.mean(1).std()
    assert abs(kept - LEAST_CONTRAST) < 0.01
    assert (result.amax(1) - result.amin(1)).max() < 0.01


def test_a_match_with_contrast_of_its_own_is_taken_as_it_is() -> None:
    content, reference = SOURCE.reshape(1, 3, 64, 64), TARGET.reshape(1, 3, 64, 64)
    whole = torch.ones(8, 8, dtype=torch.long)
    result = recolour(content, whole, [reference], [whole], [match(1, 1, 1)], 1.0)
    assert torch.allclose(result, transport(content, SOURCE, TARGET).clamp(0, 1), atol=1e-5)


def test_regions_of_one_match_are_recoloured_as_if_they_were_one() -> None:
    """A thing and a strip of the wall beside it are no region of their own palette: the wall has one colour."""
    content, reference = SOURCE.reshape(1, 3, 64, 64).clone(), TARGET.reshape(1, 3, 64, 64)
    content[..., 24:] = torch.tensor([0.9, 0.85, 0.8]).view(1, 3, 1, 1)  # the thing ends, the wall begins
    whole, halves = torch.ones(8, 8, dtype=torch.long), torch.ones(8, 8, dtype=torch.long)
    halves[:, 4:] = 2  # of the wall columns 24 to 31 are in the thing's region
    one = recolour(content, whole, [reference], [whole], [match(1, 1, 1)], 1.0)
    two = recolour(content, halves, [reference], [whole], [match(1, 1, 1), match(2, 1, 1)], 1.0)
    assert torch.allclose(one, two, atol=1e-5)
    apart = recolour(content, halves, [reference] * 2, [whole] * 2, [match(1, 1, 1), match(2, 2, 1)], 1.0)
    assert (apart - one).abs().max() > 0.1


def red_and_green_halves(edge: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A content that turns light at column `edge`, its halves recoloured red and green; and the references."""
    content = torch.zeros(1, 3, 64, 64)
    content[..., edge:] = 0.9
    labels = torch.ones(8, 8, dtype=torch.long)
    labels[:, 4:] = 2
    red, green = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    red[:, 0], green[:, 1] = 0.8, 0.6
    whole = torch.ones(8, 8, dtype=torch.long)
    result = recolour(content, labels, [red, green], [whole, whole], [match(1, 1, 1), match(2, 2, 1)], 1.0)
    return result, red, green


def test_two_halves_take_two_palettes_and_meet_at_the_edge() -> None:
    result, red, green = red_and_green_halves(edge=32)
    assert torch.allclose(result[..., :31], red[..., :31], atol=0.02)
    assert torch.allclose(result[..., 33:], green[..., 33:], atol=0.02)


@pytest.mark.parametrize("edge", [35, 46])
def test_an_edge_some_cells_off_is_followed_to_the_pixel(edge: int) -> None:
    """The label border lies at column 32, and half of a region of 32 columns is its core."""
    result, _, _ = red_and_green_halves(edge)
    assert (result[0, 0, :, edge - 2] > 2 * result[0, 1, :, edge - 2]).all()


def test_a_region_with_two_matches_takes_the_mean_of_both() -> None:
    """As without regions, where all of the content is matched to every reference."""
    content = SOURCE.reshape(1, 3, 64, 64).clamp(0, 1)
    whole = torch.ones(8, 8, dtype=torch.long)
    light, dark = torch.full((1, 3, 64, 64), 0.7), torch.full((1, 3, 64, 64), 0.3)
    both = recolour(content, whole, [light, dark], [whole, whole], [match(1, 1, 1), match(1, 2, 1)], 1.0)
    assert torch.allclose(both.mean((2, 3)), torch.full((1, 3), 0.5), atol=0.01)


def test_strength_fades_between_content_and_recoloured() -> None:
    content = SOURCE.reshape(1, 3, 64, 64).clamp(0, 1)
    reference = TARGET.reshape(1, 3, 64, 64).clamp(0, 1)
    whole = torch.ones(8, 8, dtype=torch.long)
    none, half, full = (
        recolour(content, whole, [reference], [whole], [match(1, 1, 1)], strength) for strength in (0.0, 0.5, 1.0)
    )
    assert torch.equal(none, content)
    assert torch.allclose(half, (content + full) / 2, atol=1e-6)
    assert (full - content).abs().mean() > 0.1


@pytest.mark.slow
def test_colours_that_the_optimisation_would_not_start_from_are_refused(model: DiffusionModel) -> None:
    def build(initial: Literal["inverted", "content"]) -> StyleGallery:
        guidance = configured(GuidanceConfig, extras=configured(ExtrasConfig, initial=initial))
        given = {"encoder": configured(EfficientNetEncoder), "guidance": guidance, "recolouring": 0.5}
        return configured(StyleGallery, model, resolution=64, resizing="square", **given)

    with pytest.raises(InputError, match=r"recolouring needs guidance\.extras\.initial=content"):
        build("inverted")
    assert build("content").recolouring == 0.5
