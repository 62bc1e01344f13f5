"""Texture is what patches are like, at every scale and whatever their palette."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.metric import STYLEGALLERY, Annotation, Sample
from evaluation.metrics.texture import LEVELS, RegionalTexture, Texture, laplacian_pyramid
from stylegallery.contract import Match


def picture(seed: int, side: int = 96, grain: int = 1) -> Tensor:
    """Noise of one grain (1, 3, side, side) in [0, 1]."""
    noise = torch.rand(1, 3, side // grain, side // grain, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (side, side), mode="nearest")


def sample(image: Tensor, content: Tensor, *references: Tensor, annotation: Annotation | None = None) -> Sample:
    return Sample("item", content, list(references), image, annotation)


def halves(side: int = 12) -> Tensor:
    labels = torch.ones(side, side, dtype=torch.int64)
    labels[:, side // 2 :] = 2
    return labels


def annotation(*targets: int) -> Annotation:
    """Region i of the content takes from region targets[i - 1] of the one reference."""
    matches = [Match(i, 1, target, 0.0, 0.0, 0.0, 0.0, False) for i, target in enumerate(targets, 1)]
    return Annotation(halves(), [halves()], matches)


def test_the_pyramid_adds_up_and_separates_octaves() -> None:
    wave = torch.cos(torch.arange(128) * torch.pi)[None, None, None].expand(1, 3, 128, 128) * 0.2 + 0.5
    strengths = [level[..., 8:-8, 8:-8].abs().mean().item() for level in laplacian_pyramid(wave)]
    assert strengths[0] == pytest.approx(0.2, rel=1e-3) and max(strengths[1:]) < 1e-4
    slow = torch.cos(torch.arange(128) * torch.pi / 8)[None, None, None].expand(1, 3, 128, 128) * 0.2 + 0.5
    strengths = [level[..., 4:-4, 4:-4].abs().mean().item() for level in laplacian_pyramid(slow)]
    assert strengths[2] == max(strengths) and strengths[0] < 0.02


def test_a_constant_shift_of_all_patches_is_their_distance_along_the_directions() -> None:
    """Two stripes of one frequency and twice the strength: every projection is twice as far from 0."""
    stripes = torch.cos(torch.arange(96) * torch.pi)[None, None, None].expand(1, 3, 96, 96)
    weak, strong = (0.5 + gain * stripes for gain in (0.1, 0.2))
    flat = torch.full_like(weak, 0.5)
    near, far = (Texture(1)([sample(image, flat, flat)])[0] for image in (weak, strong))
    assert far == pytest.approx(2 * near, rel=1e-3) and near > 1


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, 1, 2, 3, 4])
def test_copies_are_0_and_a_palette_of_equal_luminance_changes_nothing(level: int | None) -> None:
    metric, reference, other = Texture(level), picture(0, grain=2), picture(1, grain=4)
    assert metric.name == ("texture" if level is None else f"texture_{level}")
    assert metric([sample(reference, other, other, reference)]) == [0.0]
    shift = torch.tensor([0.587, -0.299, 0.0]).view(1, 3, 1, 1) * 0.1  # red up, green down, luminance kept
    (plain,) = metric([sample(other, other, reference)])
    (tinted,) = metric([sample(other + shift, other, reference)])
    assert tinted == pytest.approx(plain, rel=1e-4)
    (lighter,) = metric([sample(other + 0.1, other, reference)])
    assert lighter == pytest.approx(plain, rel=1e-4)
    assert plain > 1


@pytest.mark.slow
def test_other_patches_of_the_same_texture_are_near_and_blur_is_far() -> None:
    first, second = picture(0, 160), picture(1, 160)
    (floor,) = Texture()([sample(first, first, second)])
    blurred = F.avg_pool2d(second, 3, 1, 1)
    (soft,) = Texture()([sample(first, first, blurred)])
    (finest,), (coarsest,) = (Texture(level)([sample(first, first, blurred)]) for level in (1, 4))
    assert floor < 0.2 < 2 < soft
    assert finest > 5 * coarsest
    levels = [Texture(level)([sample(first, first, blurred)])[0] for level in range(1, LEVELS + 1)]
    assert soft == pytest.approx(sum(levels) / LEVELS)


@pytest.mark.slow
def test_regional_texture_counts_the_way_that_is_left() -> None:
    content, rough, fine = picture(0, grain=8), picture(1, grain=4), picture(2, grain=2)
    reference = torch.cat([rough[..., :48], fine[..., 48:]], dim=-1)
    metric = RegionalTexture(STYLEGALLERY)
    assert (metric.name, RegionalTexture("independent").name) == ("regional_texture", "regional_texture_independent")
    wanted = annotation(1, 2)
    assert metric([sample(content, content, reference, annotation=wanted)]) == [1.0]
    assert metric([sample(reference, content, reference, annotation=wanted)]) == [0.0]
    swapped = torch.cat([reference[..., 48:], reference[..., :48]], dim=-1)
    (wrong,) = metric([sample(swapped, content, reference, annotation=wanted)])
    (right,) = metric([sample(swapped, content, reference, annotation=annotation(2, 1))])
    assert right < 0.1 < wrong
    half = torch.cat([reference[..., :48], content[..., 48:]], dim=-1)
    (left,) = metric([sample(half, content, reference, annotation=wanted)])
    assert 0.2 < left < 0.8
    (worse,) = metric([sample(torch.full_like(content, 0.5), reference, content, annotation=wanted)])
    assert worse > 0.5


@pytest.mark.slow
def test_regional_texture_weighs_regions_by_their_pixels() -> None:
    """Two thirds have the texture of their match in the second reference, the rest is the untouched photo."""
    content, reference = picture(0, 288, grain=8), picture(1, 288, grain=2)
    labels = torch.ones(12, 12, dtype=torch.int64)
    labels[:, 4:] = 2
    matches = [Match(1, 2, 2, 0.0, 0.0, 0.0, 0.0, False), Match(2, 2, 1, 0.0, 0.0, 0.0, 0.0, False)]
    wanted = Annotation(labels, [torch.ones_like(labels), halves()], matches)
    painted = torch.cat([content[..., :96], reference[..., 96:]], dim=-1)
    (left,) = RegionalTexture(STYLEGALLERY)([sample(painted, content, content, reference, annotation=wanted)])
    assert left == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.slow
def test_values_are_those_of_version_1() -> None:
    """Other patches, directions, quantiles or another mean of levels make other values, and are another version."""
    first, second = picture(0, 160), picture(1, 160, grain=2)  # more patches than are drawn on the finest level
    values = [Texture(level)([sample(first, first, second)])[0] for level in (None, 1, 2, 3, 4)]
    assert values == pytest.approx([1.66832, 2.17524, 2.45532, 1.36829, 0.67444], rel=1e-4)

    def halved(seed: int, left: int, right: int) -> Tensor:
        return torch.cat([picture(seed, grain=left)[..., :48], picture(seed + 1, grain=right)[..., 48:]], dim=-1)

    content, reference, made = halved(2, 8, 4), halved(4, 2, 1), halved(6, 4, 2)
    (left,) = RegionalTexture(STYLEGALLERY)([sample(made, content, reference, annotation=annotation(2, 1))])
    assert left == pytest.approx(0.850863, rel=1e-4)
    assert (Texture().version, RegionalTexture(STYLEGALLERY).version) == (1, 2)


def test_regional_texture_asks_no_region_of_a_few_patches() -> None:
    """A corner of 12 pixels has 36 patches: nothing of its own, on no level."""
    content, reference = picture(0, grain=8), picture(1, grain=2)
    labels = torch.ones(8, 8, dtype=torch.int64)
    labels[0, 0] = 2
    matches = [Match(region, 1, 1, 0.0, 0.0, 0.0, 0.0, False) for region in (1, 2)]
    painted = reference.clone()
    painted[..., :12, :12] = content[..., :12, :12]
    wanted = Annotation(labels, [torch.ones_like(labels)], matches)
    (left,) = RegionalTexture(STYLEGALLERY)([sample(painted, content, reference, annotation=wanted)])
    alone = Annotation(labels, [torch.ones_like(labels)], matches[:1])
    assert [left] == RegionalTexture(STYLEGALLERY)([sample(painted, content, reference, annotation=alone)])


@pytest.mark.slow
def test_regional_texture_of_pictures_together_is_that_of_each_alone() -> None:
    """They share the content, the references and the annotation, or have regions of their own in the same pictures."""
    content, reference, others = picture(0), picture(1), [picture(seed, grain=2) for seed in (2, 3)]
    shared, own = annotation(1, 2), annotation(2, 1)
    own.content_labels[:] = own.content_labels.flip(1).T
    asked = [(image, one) for one in (shared, own) for image in others]
    samples = [sample(image, content, reference, annotation=one) for image, one in asked]
    metric = RegionalTexture(STYLEGALLERY)
    together = metric(samples)
    assert together == [value for one in samples for value in metric([one])]
    assert len(set(together)) == 4


def test_regional_texture_refuses_what_it_cannot_tell() -> None:
    content, reference = picture(0), picture(1)
    with pytest.raises(ValueError, match="no annotation"):
        RegionalTexture(STYLEGALLERY)([sample(content, content, reference)])
    labels, match = torch.arange(1, 9217).view(96, 96), Match(1, 1, 1, 0.0, 0.0, 0.0, 0.0, False)
    with pytest.raises(ValueError, match="no region is large enough"):
        RegionalTexture(STYLEGALLERY)(
            [sample(content, content, reference, annotation=Annotation(labels, [labels], [match]))]
        )


def test_a_photo_like_its_matches_counts_as_one_that_is_a_floor_away() -> None:
    """Else the rest of an output would be divided by nothing, and one such item would rule the mean of a table."""
    content, output = picture(0), picture(1)
    ask = RegionalTexture(STYLEGALLERY)
    (left,) = ask([sample(output, content, content, annotation=annotation(1, 2))])
    (nearly,) = ask([sample(output, (content + 1e-6).clamp(0, 1), content, annotation=annotation(1, 2))])
    (far,) = ask([sample(output, picture(2, grain=4), content, annotation=annotation(1, 2))])
    assert ask([sample(content, content, content, annotation=annotation(1, 2))]) == [0.0]
    assert 0 < far < left < 10 and nearly == pytest.approx(left, rel=1e-3)


def test_pictures_without_a_fourth_octave_are_refused() -> None:
    small = picture(0, 32)
    with pytest.raises(ValueError, match="32x32 px are too small for texture"):
        Texture()([sample(small, small, small)])
    assert Texture(1)([sample(small, small, small)]) == [0.0]
    with pytest.raises(ValueError, match="16x16 px is too small for texture"):
        Texture(1)([sample(*[picture(0, 16)] * 3)])
    enough = picture(0, 49)  # its fourth octave has 7 pixels, as a patch
    assert Texture()([sample(enough, enough, enough)]) == [0.0]
