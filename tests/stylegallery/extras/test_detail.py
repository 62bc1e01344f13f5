"""Results as large as the photo: what is put back, and that nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Pictures, RunInside
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

import run
from stylegallery.colour_statistics import luminance
from stylegallery.errors import InputError
from stylegallery.extras.detail import enlarge
from stylegallery.images import read_image


def noise(seed: int, height: int, width: int, grey: bool = False) -> Tensor:
    """In [0.3, 0.7], so that sums of such pictures stay in [0, 1]."""
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3
    return image.mean(1, keepdim=True).expand(-1, 3, -1, -1) if grey else image


def smaller(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size, mode="bicubic", antialias=True)


def test_a_method_that_paints_what_it_was_given_returns_the_photo() -> None:
    photo = noise(0, 96, 120, grey=True)
    carried = smaller(photo, (32, 40)) * 0.9 + 0.02  # an autoencoder that is not exact
    assert torch.allclose(enlarge(carried, photo, carried, 1.0), photo, atol=1e-6)


def test_colours_are_the_result_s_and_luminance_is_the_photo_s() -> None:
    photo, carried = noise(0, 96, 120), noise(1, 32, 40)
    large = enlarge(carried, photo, carried, 1.0)
    assert torch.allclose(luminance(large), luminance(photo), atol=1e-6)
    plain = enlarge(carried, photo, carried, 0.0)
    assert torch.allclose(large - luminance(large), plain - luminance(plain), atol=1e-6)


def test_weight_is_linear_from_the_plain_enlargement() -> None:
    result, photo, carried = noise(0, 32, 40), noise(1, 96, 120), noise(2, 32, 40)
    none, half, whole = (enlarge(result, photo, carried, weight) for weight in (0.0, 0.5, 1.0))
    assert torch.equal(none, F.interpolate(result, (96, 120), mode="bicubic", antialias=True).clamp(0, 1))
    inside = (whole > 0) & (whole < 1)
    assert inside.double().mean() > 0.9
    assert torch.allclose(half[inside], ((none + whole) / 2)[inside], atol=1e-6)
    assert (whole - none).abs().max() > 0.05


def test_what_the_model_carries_is_not_put_back_twice() -> None:
    carried = noise(0, 32, 40)
    photo = F.interpolate(carried, (96, 120), mode="bicubic", antialias=True).clamp(0, 1)
    result = noise(1, 32, 40)
    assert torch.allclose(enlarge(result, photo, carried, 1.0), enlarge(result, photo, carried, 0.0), atol=1e-6)


@pytest.mark.parametrize("size", [(32, 40), (20, 33), (200, 64)])  # as the model's, smaller, another aspect
def test_any_size_and_aspect(size: tuple[int, int]) -> None:
    large = enlarge(noise(0, 32, 40), noise(1, *size), noise(2, 32, 40), 0.75)
    assert large.shape == (1, 3, *size)
    assert large.min() >= 0 and large.max() <= 1


@pytest.mark.slow
def test_output_size(run_inside: RunInside, pictures: Pictures, tmp_path: Path) -> None:
    for name, options in (("plain", ["method.detail=0"]), ("sharp", ["method.detail=1"])):
        run_inside(*pictures.overrides(), "output_size=content", *options, f"out={tmp_path / name}")
    run_inside(*pictures.overrides(), f"out={tmp_path / 'model'}")
    plain, sharp, model = (read_image(tmp_path / name / "stylised.png") for name in ("plain", "sharp", "model"))
    assert plain.shape == sharp.shape == read_image(pictures.content).shape
    enlarged = F.interpolate(model, plain.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
    assert (plain - enlarged).abs().max() <= 1.51 / 255  # written as 8 bits, twice
    assert (sharp - plain).abs().mean() > 0.02  # the tiny model's autoencoder carries almost nothing
    record = json.loads((tmp_path / "sharp" / "record.json").read_text())
    assert record["size"] == [plain.shape[-1], plain.shape[-2]]
    assert record["config"]["output_size"] == "content" and record["config"]["detail"] == 1
    assert "detail" in record["seconds"]


def test_methods_without_it_refuse_it(fake_config: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match=r"this method paints at the model's size alone; leave out output_size="):
        run.run(fake_config("output_size=content"), Console())


def test_it_is_off_by_default(composed: Callable[..., DictConfig]) -> None:
    assert composed().method.output_size == "model"
