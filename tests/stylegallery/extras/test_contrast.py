"""Contrast of the references in every octave: what changes, how far, and that colours do not."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.colour_statistics import luminance
from stylegallery.contract import Match
from stylegallery.extras.contrast import GAINS, OCTAVES, match_contrast, octaves_of


def matched_to(region: int, reference: int) -> Match:
    return Match(region, reference, 1, 1.0, 1.0, 1.0, 1.0, False)


LABELS = torch.ones(8, 8, dtype=torch.long)
ONE = [matched_to(1, 1)]


def noise(seed: int, spread: float = 0.05, side: int = 64) -> Tensor:
    """Around 0.5, so that nothing is clamped."""
    values = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed)) * spread
    return (values + 0.5).clamp(0.05, 0.95)


def detail(image: Tensor) -> Tensor:
    """What all octaves have together."""
    return octaves_of(image).sum(0)


def spreads(image: Tensor) -> list[float]:
    return [float(octave.std()) for octave in octaves_of(image)]


def test_octaves_and_what_they_leave_are_the_luminance_and_each_has_its_own_scale() -> None:
    image = noise(0)
    rest = luminance(image) - detail(image)
    assert float(rest.std()) < 0.1 * float(luminance(image).std())
    waves = torch.stack([torch.sin(torch.arange(64.0) * torch.pi / period).expand(64, 64) for period in (1.6, 12)])
    fine, coarse = (spreads(wave.expand(1, 3, 64, 64)) for wave in waves)
    assert fine.index(max(fine)) == 0 and coarse.index(max(coarse)) == OCTAVES - 1


def changed_by(image: Tensor, reference: Tensor, gain: float) -> float:
    """How far the change of an image is from all detail times gain - 1, as a share of that detail."""
    missed = match_contrast(image, LABELS, [reference], ONE, 1.0) - image - (gain - 1) * detail(image)
    return float((missed.square().mean() / detail(image).square().mean()).sqrt())


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.6])
def test_even_detail_gets_the_factor_that_the_reference_has_more(gain: float) -> None:
    image = noise(0, side=256)
    for picture in (image, image.flip(-1)):  # another of the same contrast
        assert changed_by(image, 0.5 + gain * (picture - 0.5), gain) < 0.05 * gain


def test_every_octave_has_the_spread_of_its_reference_and_weak_parts_gain_more() -> None:
    """Half as uneven as before: what is four times as strong in one half is twice as strong then."""
    image = noise(0, side=512)
    image[..., 256:] = 0.5 + (image[..., 256:] - 0.5) / 4
    reference = noise(1, 0.02, side=512) + 0.3 * F.avg_pool2d(noise(2, 0.2, side=512) - 0.5, 5, 1, 2)  # other spectrum
    result = match_contrast(image, LABELS, [reference], ONE, 1.0)
    assert spreads(result) == pytest.approx(spreads(reference), rel=0.02)
    strong, weak = (float(octaves_of(result)[0][:, part].std()) for part in (slice(0, 224), slice(288, None)))
    assert strong / weak == pytest.approx(2, rel=0.05)


def test_parts_of_unequal_contrast_have_that_of_their_own_references() -> None:
    image = torch.cat([noise(0, 0.02, 256), noise(1, 0.06, 256)], -1)
    labels = torch.ones(32, 64, dtype=torch.long)
    labels[:, 32:] = 2
    references = [noise(2, 0.03, 256), noise(3, 0.045, 256)]
    result = match_contrast(image, labels, references, [matched_to(1, 1), matched_to(2, 2)], 1.0)
    for part, reference in zip((result[..., :224], result[..., 288:]), references, strict=True):
        assert spreads(part) == pytest.approx(spreads(reference), rel=0.05)


def test_what_white_cuts_off_is_made_up_for() -> None:
    image, reference = noise(0, 0.03, 256) + 0.44, noise(1, 0.05, 256)
    result = match_contrast(image, LABELS, [reference], ONE, 1.0)
    assert spreads(result) == pytest.approx(spreads(reference), rel=0.02) and float(result.max()) == 1


def test_a_coarse_wave_keeps_its_shape() -> None:
    """What is near in a coarse octave is wider than its waves: else their slopes would gain more than their crests."""
    wave = (2 * torch.pi / 48 * torch.arange(192)).sin().expand(1, 3, 192, 192)
    result = match_contrast(0.5 + 0.1 * wave, LABELS, [0.5 + 0.14 * wave], ONE, 1.0)
    strengths = torch.fft.rfft(result[0, 0, 96, 48:144]).abs()  # two periods
    assert float(strengths[6] / strengths[2]) < 1e-3 and float(strengths[2]) > 1.3 * 0.1 * 48


def test_what_is_flat_gets_no_more_gain_than_what_is_almost_flat() -> None:
    image = noise(0, side=256)
    almost, flat = (0.5 + (half - 0.5) * part for half, part in zip(image.chunk(2, -1), (0.05, 0.01), strict=True))
    picture = torch.cat([almost, flat], -1)
    change = match_contrast(picture, LABELS, [noise(1, 0.0025, side=256)], ONE, 1.0) - picture
    gains = change / detail(picture)
    assert float(gains[..., 32:96].median()) == pytest.approx(float(gains[..., 160:224].median()), rel=0.05)


@pytest.mark.parametrize(
    ("reference", "gain"), [(torch.full((1, 3, 64, 64), 0.5), GAINS[0]), (noise(1, 0.4), GAINS[1])]
)
def test_gains_are_bounded(reference: Tensor, gain: float) -> None:
    image = noise(0)
    result = match_contrast(image, LABELS, [reference], ONE, 1.0)
    assert torch.allclose(result, image + (gain - 1) * detail(image), atol=1e-5)


def test_strength_fades_and_colours_stay() -> None:
    image, reference = noise(0), noise(1, 0.07)
    none, half, whole = (match_contrast(image, LABELS, [reference], ONE, strength) for strength in (0.0, 0.5, 1.0))
    assert torch.equal(none, image)
    assert torch.allclose(half, (image + whole) / 2, atol=1e-6)
    assert torch.allclose(whole - luminance(whole), image - luminance(image), atol=1e-6)
    assert (whole - image).abs().max() > 0.02


def test_each_region_has_the_contrast_of_its_own_reference_and_a_flat_picture_stays_flat() -> None:
    image = noise(0, side=128)
    labels = torch.ones(16, 16, dtype=torch.long)
    labels[:, 8:] = 2

    def matched(left: float, right: float, matches: Sequence[Match]) -> Tensor:
        references = [0.5 + gain * (image - 0.5) for gain in (left, right)]
        return match_contrast(image, labels, references, matches, 1.0) - image

    both = matched(1.4, 0.6, [matched_to(1, 1), matched_to(2, 2)])
    for half, gain in ((slice(0, 56), 1.4), (slice(72, None), 0.6)):
        expected = (gain - 1) * detail(image)[..., half]
        assert float((both[..., half] - expected).square().mean() / expected.square().mean()) < 0.1
    several = matched(1.4, 0.6, [matched_to(1, 1), matched_to(1, 2), matched_to(2, 2)])
    assert float(several[..., :56].square().mean()) < 0.05 * float(both[..., :56].square().mean())
    flat = torch.full((1, 3, 128, 128), 0.5)
    assert torch.allclose(match_contrast(flat, labels, [noise(1, 0.4)], [matched_to(1, 1)], 1.0), flat, atol=1e-6)
