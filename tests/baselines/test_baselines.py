"""Every baseline that runs without downloads, through the composed config, and the numbers that define each."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import build_method
from conftest import SHARED, Pictures
from PIL import Image
from torch import Tensor

from baselines.color_transfer import lab_statistics, to_lab
from baselines.gatys import gram, mean_grams, relative, total_variation
from baselines.latent_adain import adain, pool
from stylegallery.colour_statistics import monge_kantorovich
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.images import read_image, resize, to_pixels, write_png
from stylegallery.models.unet import self_attention_layers
from stylegallery.provenance import weights_digest
from stylegallery.weights import table

SMALL: dict[str, tuple[str, ...]] = {
    "attention_distillation": ("method.steps=2",),
    "styleid": ("method.steps=3",),
    "latent_adain": (),
    "global_style": ("method.guidance.steps=2", "method.segmentation.inversion_steps=2"),
    "color_transfer": (),
    "gatys": ("method.steps=2",),
    "img2img": ("method.steps=4",),
    "identity": (),
    "reference_copy": (),
}
WITH_MODEL = ("attention_distillation", "styleid", "latent_adain", "global_style", "img2img")


def small(name: str, tiny_model: Path, *overrides: str) -> Any:
    common = ("model=sd15", f"model.path={tiny_model}", "resolution=64", *SMALL[name], *overrides)
    return build_method(name, *common)


@pytest.fixture
def item(pictures: Pictures) -> Item:
    return Item("x", pictures.content, (pictures.first, pictures.second))


def stylised(method: Any, item: Item, seed: int = 0) -> Tensor:
    return method.stylize(item, torch.Generator().manual_seed(seed)).image


def swatch(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (64, 64), colour).save(path)
    return path


# --- what holds for all ---


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_method_answers_with_a_picture_of_the_contents_size(name: str, tiny_model: Path, item: Item) -> None:
    method = small(name, tiny_model)
    state = torch.get_rng_state()
    result = method.stylize(item, torch.Generator().manual_seed(0))
    assert result.image.shape == result.content.shape
    assert result.image.shape[-1] > result.image.shape[-2]  # as the content's
    assert result.image.dtype == torch.float32
    assert result.image.isfinite().all()
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    content = resize(read_image(item.content), 64, "keep", 8)
    torch.testing.assert_close(result.content, content, rtol=0, atol=0)
    assert len(result.references) in (1, 2)
    assert torch.equal(torch.get_rng_state(), state)  # every draw is the generator's


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_square_pictures_where_asked(name: str, tiny_model: Path, item: Item) -> None:
    assert stylised(small(name, tiny_model, "resizing=square"), item).shape == (1, 3, 64, 64)


@pytest.mark.slow
def test_methods_in_turn_leave_no_trace_on_the_model(tiny_model: Path, item: Item) -> None:
    """A, B, A on one model: the same bytes, and the processors the model came with."""
    methods = {name: small(name, tiny_model) for name in WITH_MODEL}
    model = methods["styleid"].model
    for method in methods.values():
        method.model = model
    modules = [model.unet.get_submodule(name) for name in self_attention_layers(model.unet)]
    before = [module.processor for module in modules]
    alone = {name: to_pixels(stylised(method, item)).tobytes() for name, method in methods.items()}
    for first, second in itertools.combinations(WITH_MODEL, 2):
        stylised(methods[first], item, 1)
        for name, before_it in ((second, first), (first, second)):
            assert to_pixels(stylised(methods[name], item)).tobytes() == alone[name], f"{name} after {before_it}"
    assert all(module.processor is processor for module, processor in zip(modules, before, strict=True))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.unet.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("attention_distillation", "method.recolouring=2"),
        ("latent_adain", "method.strength=2"),
        ("color_transfer", "method.mode=hsv"),
        ("gatys", "method.features=resnet"),
        ("gatys", "method.steps=0"),
        ("img2img", "method.strength=0"),
        ("img2img", "method.steps=0"),
        ("global_style", "method.resizing=crop"),
        ("global_style", "method.guidance.layers=99"),
        ("global_style", "method.guidance.extras.highest_timestep=0"),
        ("reference_copy", "method.reference=0"),
        ("identity", "method.resizing=crop"),
        ("styleid", "method.resolution=8"),
    ],
)
def test_settings_out_of_range(name: str, override: str, tiny_model: Path) -> None:
    with pytest.raises(InputError):
        small(name, tiny_model, override)


# --- latent AdaIN ---


def test_adain_gives_the_statistics_of_the_style() -> None:
    generator = torch.Generator().manual_seed(0)
    latent, style = torch.randn(2, 4, 8, 6, generator=generator), 3 * torch.rand(1, 4, 5, 9, generator=generator) - 7
    found = adain(latent, style)
    for statistic in (torch.mean, torch.std):
        expected = statistic(style.flatten(2), dim=2).expand(2, -1)
        torch.testing.assert_close(statistic(found.flatten(2), dim=2), expected)
    torch.testing.assert_close(adain(latent, latent), latent)
    torch.testing.assert_close(adain(2 * latent - 1, style), found, rtol=1e-4, atol=1e-4)


def test_adain_pools_references_of_any_size(tiny_model: Path, item: Item) -> None:
    method = small("latent_adain", tiny_model)
    content, references = method.read(item)
    latents = [method.model.encode(reference) for reference in references]
    assert pool(latents).shape == (1, 4, sum(latent[0, 0].numel() for latent in latents))
    expected = method.model.decode(adain(method.model.encode(content), pool(latents)))
    torch.testing.assert_close(stylised(method, item), expected, rtol=0, atol=0)


def test_adain_fades_to_the_reconstruction(tiny_model: Path, item: Item) -> None:
    method = small("latent_adain", tiny_model, "method.strength=0")
    content, _references = method.read(item)
    assert torch.equal(stylised(method, item), method.model.decode(method.model.encode(content)))


# --- colour transfer ---


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(seed)) * 0.3 + 0.3


def test_lab_statistics_are_the_references() -> None:
    content, references = noise(0, 20, 30), [noise(1, 16, 16) * 0.5 + 0.2, noise(2, 9, 40)]
    found = to_lab(lab_statistics(content, references)).reshape(-1, 3)
    pooled = torch.cat([torch.from_numpy(to_lab(reference)).reshape(-1, 3) for reference in references])
    torch.testing.assert_close(torch.from_numpy(found.mean(0)), pooled.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(torch.from_numpy(found.std(0)), pooled.std(0, correction=0), rtol=0, atol=0.1)


def test_a_flat_content_takes_the_mean_colour() -> None:
    found = lab_statistics(torch.full((1, 3, 8, 8), 0.5), [noise(1, 16, 16)])
    assert found.isfinite().all()
    assert found.flatten(2).std(2).max() < 1e-5


def test_monge_kantorovich_gives_mean_and_covariance() -> None:
    content, references = noise(0, 20, 30), [noise(1, 16, 16) * 0.5 + 0.2, noise(2, 9, 40)]
    found = monge_kantorovich(content, references)[0].flatten(1)
    pooled = torch.cat([reference[0].flatten(1) for reference in references], dim=1)
    torch.testing.assert_close(found.mean(1), pooled.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.cov(found, correction=0), torch.cov(pooled, correction=0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ["lab", "monge_kantorovich"])
def test_a_picture_keeps_its_own_colours(mode: str, tiny_model: Path, pictures: Pictures) -> None:
    method = small("color_transfer", tiny_model, f"method.mode={mode}")
    itself = Item("x", pictures.content, (pictures.content,))
    result = method.stylize(itself, torch.Generator())
    torch.testing.assert_close(result.image, result.content, rtol=0, atol=5e-3)  # OpenCV's Lab has that grain


# --- Gatys ---


def test_gram_matrix_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])
    assert gram(features).tolist() == [[2.5, 0.5], [0.5, 5.0]]
    assert torch.equal(gram(features), gram(features.flip(-1)))  # where things are does not matter


def test_gatys_mean_gram_and_losses() -> None:
    one, two = noise(0, 6, 6), noise(1, 4, 9)
    (mean,) = mean_grams([[one], [two]])
    torch.testing.assert_close(mean, (gram(one) + gram(two)) / 2)
    assert relative(one, one) == 0
    torch.testing.assert_close(relative(torch.zeros(3), torch.ones(3) * 7), torch.tensor(1.0))
    assert total_variation(torch.full((1, 3, 5, 5), 0.2)) == 0
    ramp = torch.arange(5.0).expand(1, 3, 5, 5)
    assert total_variation(ramp) == 1


@pytest.mark.slow
def test_gatys_names_its_file_where_that_is_damaged(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / table()["vgg19"].files[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=rf"^{path} is damaged \(.*\); delete it and run: .* fetch vgg19$"):
        small("gatys", tiny_model, "method.features=vgg19")


@pytest.mark.slow
def test_gatys_lowers_the_distance_to_the_style(tiny_model: Path, item: Item) -> None:
    method = small("gatys", tiny_model, "method.steps=20", "method.content_weight=0", "method.smoothness=0")
    content, references = method.read(item)
    target = mean_grams([method.features(reference)[0] for reference in references])

    def distance(image: Tensor) -> float:
        styles = method.features(image)[0]
        return float(torch.stack([relative(gram(f), g) for f, g in zip(styles, target, strict=True)]).mean())

    assert distance(stylised(method, item)) < 0.7 * distance(monge_kantorovich(content, references).clamp(0, 1))


# --- SDEdit ---


@pytest.mark.slow
def test_img2img_draws_from_the_generator_and_ignores_references(
    tiny_model: Path, item: Item, pictures: Pictures
) -> None:
    method = small("img2img", tiny_model)
    other = Item("x", pictures.content, (pictures.content,))
    assert torch.equal(stylised(method, item), stylised(method, other))
    assert not torch.equal(stylised(method, item, 0), stylised(method, item, 1))


def test_img2img_with_an_exact_model_returns_the_content(tiny_model: Path, item: Item) -> None:
    """A network that knows the noise denoises to the very latent it was added to."""
    method = small("img2img", tiny_model, "method.strength=0.5")
    content, _references = method.read(item)
    latent = method.model.encode(content)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method.model, "predict_noise", lambda *_: noise)
        found = stylised(method, item, 0)
    torch.testing.assert_close(found, method.model.decode(latent), rtol=0, atol=1e-4)


# --- global style ---


@pytest.mark.slow
@pytest.mark.parametrize("normalise", ["tokens", "regions"])
def test_global_style_takes_all_references(normalise: str, tiny_model: Path, item: Item, pictures: Pictures) -> None:
    method = small("global_style", tiny_model, f"method.guidance.extras.normalise={normalise}")
    repeated = Item("x", pictures.content, (pictures.first, pictures.first))
    alone = Item("x", pictures.content, (pictures.first,))
    torch.testing.assert_close(stylised(method, repeated), stylised(method, alone), rtol=0, atol=2e-2)
    first, second = (method.stylize(one, torch.Generator()).energies[0].energy for one in (repeated, alone))
    assert first == pytest.approx(second, rel=1e-4)  # their mean, not their sum or a part of it
    assert not torch.allclose(stylised(method, item), stylised(method, alone), rtol=0, atol=2e-2)
    assert len(method.stylize(item, torch.Generator()).energies) == 2


@pytest.mark.slow
def test_global_style_weighs_references_by_item_in_a_batch_too(
    tiny_model: Path, item: Item, pictures: Pictures
) -> None:
    method = small("global_style", tiny_model, "batch=2")
    items = [item, Item("x", pictures.content, (pictures.first,))]
    together = method.stylize_together(items, [torch.Generator(), torch.Generator()])
    for one, result in zip(items, together, strict=True):
        alone = method.stylize(one, torch.Generator())
        assert torch.equal(result.image, alone.image) and result.energies == alone.energies
        assert not result.matches and result.content_labels is None


# --- the floors and the ceiling ---


def test_identity_and_copy_are_what_they_say(tiny_model: Path, item: Item) -> None:
    result = small("identity", tiny_model).stylize(item, torch.Generator())
    assert torch.equal(result.image, result.content)
    result = small("reference_copy", tiny_model, "resizing=square").stylize(item, torch.Generator())
    assert torch.equal(result.image, resize(read_image(item.references[0]), 64, "square", 8))
    second = small("reference_copy", tiny_model, "resizing=square", "method.reference=2")
    assert torch.equal(stylised(second, item), resize(read_image(item.references[1]), 64, "square", 8))


# --- finished pictures ---


def published(folder: Path, pattern: str, *overrides: str) -> Any:
    paths = f"method.path={folder}", f"method.pattern={pattern!r}"
    return build_method("published", "resolution=64", *paths, *overrides)


def test_finished_pictures_are_found_by_names(tmp_path: Path, item: Item) -> None:
    finished = read_image(item.content)
    for name in ("x.png", "res_content_first_second.png"):
        write_png(tmp_path / name, to_pixels(finished))
    for pattern in ("{item}.png", "res_{content}_{references}.png"):
        found = stylised(published(tmp_path, pattern), item)
        torch.testing.assert_close(found, resize(finished, 64, "keep", 8), rtol=0, atol=1e-2)


def test_other_finished_pictures_are_another_result(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.zeros((8, 8, 3), dtype=np.uint8))
    before = weights_digest(str(tmp_path))
    weights_digest.cache_clear()
    assert weights_digest(str(tmp_path)) == before
    weights_digest.cache_clear()
    write_png(tmp_path / "x.png", np.full((8, 8, 3), 9, dtype=np.uint8))
    assert weights_digest(str(tmp_path)) != before


def test_a_missing_finished_picture_is_named(tmp_path: Path, item: Item) -> None:
    with pytest.raises(InputError, match=r"res_content_first_second\.png"):
        stylised(published(tmp_path, "res_{content}_{references}.png"), item)
    with pytest.raises(InputError, match="pattern"):
        published(tmp_path, "{style}.png")
    with pytest.raises(InputError, match="path"):
        published(tmp_path / "nowhere", "{item}.png")


@pytest.mark.skipif(not (SHARED / "data" / "published_outputs").exists(), reason="needs the shared data")
def test_the_authors_results_are_read() -> None:
    folder = SHARED / "data" / "published_outputs"
    item = Item("x", folder / "content" / "c1.png", (folder / "style" / "s1.png", folder / "style" / "s3.png"))
    method = published(folder / "result", "res_{content}_{references}.png", "resizing=square")
    expected = resize(read_image(folder / "result" / "res_c1_s1_s3.png"), 64, "square", 8)
    assert torch.equal(stylised(method, item), expected)
