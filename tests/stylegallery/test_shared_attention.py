"""Features kept between items: the same bytes, fewer calls, and no more memory than allowed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from composing import configured
from conftest import normal
from torch import Tensor

from stylegallery.contract import Match
from stylegallery.guidance import GuidanceConfig, optimise
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.segmentation import Segmentation
from stylegallery.shared_attention import SharedAttention, size

LAYERS = range(10, 16)


@contextmanager
def batches(model: DiffusionModel) -> Iterator[list[int]]:
    """Sizes of the batches that go through the network without gradients."""
    found: list[int] = []

    def note(_: object, inputs: tuple[Tensor, ...]) -> None:
        if not torch.is_grad_enabled():
            found.append(len(inputs[0]))

    hook = model.unet.register_forward_pre_hook(note)  # type: ignore[attr-defined]
    yield found
    hook.remove()


def picture(seed: int) -> Segmentation:
    labels = torch.ones(8, 8, dtype=torch.int64)
    return Segmentation(labels, normal(seed, 1, 4, 8, 8), normal(seed + 50, 1, 4, 8, 8))


def equal(first: Sequence[SelfAttention], second: Sequence[SelfAttention]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def mebibytes(model: DiffusionModel) -> float:
    """What a picture takes at a timestep."""
    with torch.no_grad():
        return size(model.self_attention(normal(0, 1, 4, 8, 8), 500, LAYERS)) / 2**20


@pytest.mark.slow
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("initial", ["inverted", "content"])
def test_items_that_share_a_content_are_the_same_to_the_byte(
    model: DiffusionModel, batched: bool, initial: str
) -> None:
    matches = [Match(1, 1, 1, 0.0, 0.0, 0.0, 0.0, False), Match(1, 2, 1, 0.0, 0.0, 0.0, 0.0, False)]
    config = configured(GuidanceConfig, steps=2, refresh=1, batched=batched)
    config = replace(config, extras=replace(config.extras, initial=initial))
    items = [(picture(0), [picture(one), picture(other)]) for one, other in ((1, 2), (2, 3), (1, 3))]
    alone = [optimise(model, content, references, matches, config) for content, references in items]
    shared = SharedAttention(model, 1000)
    with batches(model) as found:
        together = [
            optimise(model, content, references, matches, config, shared=shared) for content, references in items
        ]
    for (latent, energies), (expected, known) in zip(together, alone, strict=True):
        assert torch.equal(latent, expected) and energies == known
    # Timesteps times pictures, of which there are four; batches go through the network whole and every time.
    expected_calls = {
        (False, "inverted"): [1] * 8, (False, "content"): [1] * 8,
        (True, "inverted"): [3] * 6, (True, "content"): [1] * 2 + [2] * 6,
    }  # fmt: skip
    assert sorted(found) == expected_calls[batched, initial]


def test_what_was_used_least_recently_goes_first(model: DiffusionModel, mebibytes: float) -> None:
    shared = SharedAttention(model, 2.5 * mebibytes)
    first, second, third = (normal(seed, 1, 4, 8, 8) for seed in range(3))
    with torch.no_grad(), batches(model) as found:
        for latent, calls in ((first, 1), (second, 2), (first, 2), (third, 3), (first, 3), (third, 3), (second, 4)):
            shared.of(latent, 500, LAYERS)
            assert len(found) == calls
            assert shared.bytes == sum(map(size, shared.kept.values())) <= 2.5 * mebibytes * 2**20


def test_only_the_same_picture_timestep_and_layers_are_the_same(model: DiffusionModel, mebibytes: float) -> None:
    shared, latent = SharedAttention(model, 100 * mebibytes), normal(0, 1, 4, 8, 8)
    with torch.no_grad(), batches(model) as found:
        kept = shared.of(latent, 500, LAYERS)
        assert shared.of(latent.clone(), 500, LAYERS) is kept and len(found) == 1
        others = [(latent + 1e-6, 500, LAYERS), (latent, 501, LAYERS), (latent, 500, range(9, 15)),
                  (latent.reshape(1, 4, 4, 16), 500, LAYERS)]  # fmt: skip
        for other in others:
            assert equal(shared.of(*other), model.self_attention(*other))
        assert len(found) == 1 + 2 * len(others)


def test_nothing_is_kept_without_memory_for_it(model: DiffusionModel, mebibytes: float) -> None:
    latent = normal(0, 1, 4, 8, 8)
    with torch.no_grad(), batches(model) as found:
        for limit in (0, 0.5 * mebibytes):
            shared = SharedAttention(model, limit)
            for _ in range(2):
                (attention,) = shared.of_each([latent], 500, LAYERS, batched=False)
                assert equal(attention, model.self_attention(latent, 500, LAYERS))
            assert shared.bytes == 0 and not shared.kept
    assert len(found) == 8
