"""A second family of models, a toy transformer on patch tokens, comes in as one class: methods do not notice."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from composing import configured
from conftest import Pictures
from diffusers import DDIMScheduler
from torch import Tensor, nn

from baselines.attention_distillation import AttentionDistillation
from baselines.img2img import Img2Img
from baselines.styleid import StyleID
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.guidance import GuidanceConfig
from stylegallery.models import factory
from stylegallery.models.attention import Attend
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.factory import from_directory
from stylegallery.models.unet import UNetModel
from stylegallery.pipeline import StyleGallery
from stylegallery.segmentation import SegmentationConfig

CHANNELS, STRIDE, PATCH, WIDTH, HEADS, LAYERS = 3, 8, 2, 16, 2, 3


class Shrink(nn.Module):
    """An autoencoder without weights: the picture's cells, averaged."""

    config: ClassVar = {"scaling_factor": 1.0}

    def encode(self, images: Tensor) -> Any:
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: F.avg_pool2d(images, STRIDE)))

    def decode(self, latents: Tensor) -> Any:
        return SimpleNamespace(sample=F.interpolate(latents, scale_factor=STRIDE))


class ToyDiT(DiffusionModel):
    """Patches of 2 x 2 cells are tokens; each layer adds self-attention to them; the last tokens are the noise."""

    def __init__(self) -> None:
        generator, size = torch.Generator().manual_seed(0), CHANNELS * PATCH**2

        def draw(inputs: int, outputs: int) -> Tensor:
            return torch.randn(inputs, outputs, generator=generator) / inputs**0.5

        self.enter, self.leave = draw(size, WIDTH), draw(WIDTH, size)
        self.projections = [draw(WIDTH, 3 * WIDTH) for _ in range(LAYERS)]
        self.attends: list[Attend] = [F.scaled_dot_product_attention] * LAYERS
        scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
        device, dtype = torch.device("cpu"), torch.float32
        super().__init__(Shrink(), scheduler, scheduler, device, dtype, LAYERS, multiple=PATCH * STRIDE)

    @classmethod
    def load(cls, files: Any, *settings: Any) -> "ToyDiT":
        return cls()

    def predict(self, latents: Tensor, timestep: int) -> Tensor:
        return self.predict_with_features(latents, timestep)[0]

    def predict_with_features(self, latents: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
        grid = [side // PATCH for side in latents.shape[-2:]]
        tokens = F.unfold(latents, PATCH, stride=PATCH).mT @ self.enter + timestep / 1000
        for projection, attend in zip(self.projections, self.attends, strict=True):
            parts = (tokens @ projection).chunk(3, dim=-1)
            output = attend(*(part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts))
            tokens = tokens + output.transpose(1, 2).flatten(2)
        noise = F.fold((tokens @ self.leave).mT, latents.shape[-2:], PATCH, stride=PATCH)
        return noise, tokens.mT.unflatten(2, grid)

    @contextmanager
    def replaced_self_attention(self, layers: Sequence[int], attends: Sequence[Attend]) -> Iterator[None]:
        before = list(self.attends)
        try:
            for layer, attend in zip(layers, attends, strict=True):
                self.attends[layer] = attend
            yield
        finally:
            self.attends = before


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiffusionModel:
    monkeypatch.setitem(factory.FAMILIES, "transformer", ToyDiT.load)
    index = {"_class_name": "ToyPipeline", "transformer": ["diffusers", "ToyTransformer"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    return configured(from_directory, str(tmp_path), device="cpu")


def test_the_index_chooses_the_family(toy: DiffusionModel, tiny_model: Path, tmp_path: Path) -> None:
    assert isinstance(toy, ToyDiT) and (toy.stride, toy.multiple, toy.layer_count) == (STRIDE, 2 * STRIDE, LAYERS)
    assert toy.paints_from_noise
    assert isinstance(configured(from_directory, str(tiny_model), device="cpu"), UNetModel)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "OtherPipeline", "prior": ["a", "b"]}))
    with pytest.raises(
        InputError, match="is a OtherPipeline, which has no unet or transformer; pass a model of Stable"
    ):
        configured(from_directory, str(tmp_path), device="cpu")


def test_the_index_says_that_a_model_is_too_small_to_paint_from_noise(toy: DiffusionModel, tmp_path: Path) -> None:
    path = tmp_path / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"paints_from_noise": False}))
    assert not configured(from_directory, str(tmp_path), device="cpu").paints_from_noise


def test_stylegallery_analyses_matches_and_renders(toy: DiffusionModel, pictures: Pictures) -> None:
    def encoder(images: Tensor) -> Tensor:
        return F.avg_pool2d(images, STRIDE)

    segmentation = configured(
        SegmentationConfig, inversion_steps=3, clusters=(2, 3), smallest_component=1, merge_distance=0.01
    )
    guidance = configured(GuidanceConfig, steps=3, layers=2)
    method = configured(StyleGallery, toy, encoder, segmentation, guidance=guidance, resolution=100, resizing="keep")
    result = method.stylize(
        Item("x", pictures.content, (pictures.first, pictures.second)), torch.Generator().manual_seed(0)
    )
    assert all(side % toy.multiple == 0 for side in result.image.shape[-2:])
    assert result.content_labels is not None and result.content_labels.max() >= 2
    assert {match.content_region for match in result.matches} == set(result.content_labels.unique().tolist())
    assert len(result.energies) == 3 and all(energy.style > 0 for energy in result.energies)
    assert toy.attends == [F.scaled_dot_product_attention] * LAYERS  # type: ignore[attr-defined]


def test_a_picture_has_four_patches_a_side(toy: DiffusionModel) -> None:
    guidance = configured(GuidanceConfig, layers=2)
    with pytest.raises(InputError, match="resolution is at least 64, not 63"):
        configured(StyleGallery, toy, lambda images: images, guidance=guidance, resolution=63, resizing="keep")


@pytest.mark.parametrize(
    "build",
    [
        lambda model: configured(StyleID, model, 72, "square", "port", steps=3, layers=(1, 3)),
        lambda model: configured(AttentionDistillation, model, 72, "square", steps=2, layers=(1, 3)),
        lambda model: Img2Img(model, 72, "square", steps=4, strength=0.5),
    ],
    ids=["styleid", "attention_distillation", "img2img"],
)
def test_baselines_use_the_same_door(build: Any, toy: DiffusionModel, pictures: Pictures) -> None:
    """Their pictures have sides of whole patches."""
    item = Item("x", pictures.content, (pictures.first,))
    result = build(toy).stylize(item, torch.Generator().manual_seed(0))
    assert result.image.shape == (1, 3, 64, 64) and result.image.std() > 0
