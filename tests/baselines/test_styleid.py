"""StyleID: inversion, AdaIN, injection and whole runs of the published port, and what the original's mode must do."""

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from composing import compose_config, configured
from conftest import Pictures, normal
from diffusers import DDIMScheduler
from published_vectors import SHARED_VECTORS, VECTORS, needs_shared, shared_case
from safetensors.torch import load_file
from torch import Tensor

import baselines.styleid
from baselines.latent_adain import adain
from baselines.styleid import Injection, Inversion, StyleID
from harness.folder import LABEL
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.images import to_pixels
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.unet import Processor, UNetModel, record_self_attention, self_attention_layers

PUBLISHED = SHARED_VECTORS / "styleid"


def method(model: DiffusionModel, mode: str = "port", **settings: Any) -> StyleID:
    return configured(StyleID, model, **{"resolution": 64, "resizing": "square", "mode": mode, "steps": 4} | settings)


def injected(query: Tensor, key: Tensor, value: Tensor, share: float, temperature: float) -> Processor:
    """Attention with the query of a content and the key and value of a style, as a processor of a UNet's layer."""
    content, style = SelfAttention(query, query, query, query), SelfAttention(key, key, value, value)
    return Processor(Injection(content, style, share, temperature))


def velocity(model: DiffusionModel) -> DiffusionModel:
    """The same network read as predicting velocity."""
    scheduler = DDIMScheduler.from_config(model.scheduler.config, prediction_type="v_prediction")
    return UNetModel(model.unet, model.autoencoder, scheduler, model.null_prompt)


# --- against the published port ---


@needs_shared
def test_pictures_and_latents_as_published(shared_model: DiffusionModel) -> None:
    case = load_file(PUBLISHED / "case00_preprocess.safetensors")
    for name in ("content", "style"):
        picture = case[f"{name}_uint8"].permute(2, 0, 1)[None].float() / 255
        torch.testing.assert_close(shared_model.encode(picture), case[f"{name}_latent"], rtol=0, atol=5e-4)
    torch.testing.assert_close(shared_model.null_prompt, case["text_embeds"], rtol=0, atol=1e-5)


@needs_shared
@pytest.mark.slow
def test_inversion_as_published(shared_model: DiffusionModel) -> None:
    case = load_file(PUBLISHED / "case01_inversion.safetensors")
    styleid = method(shared_model, steps=6)
    for name in ("content", "style"):
        found = styleid.invert(case[f"{name}/latent0"])
        assert list(found.seen) == [1, 167, 333, 499, 665, 831]
        latents = torch.cat([*list(found.seen.values())[1:], found.last])
        torch.testing.assert_close(latents, case[f"{name}/latents"], rtol=0, atol=5e-4)
        last = method(velocity(shared_model), steps=6).invert(case[f"{name}/latent0"]).last
        torch.testing.assert_close(last, case[f"v_prediction/{name}_last"], rtol=0, atol=5e-4)


@needs_shared
def test_initial_latent_as_published(shared_model: DiffusionModel) -> None:
    case = load_file(PUBLISHED / "case02_initial_adain.safetensors")
    found = method(shared_model).initial_latent(case["c"], case["s"])
    torch.testing.assert_close(found, case["y"], rtol=0, atol=1e-5)


def test_adain_of_nearly_constant_channels_as_published() -> None:
    case = load_file(VECTORS / "styleid_case02b_adain_epsilon.safetensors")
    found = adain(case["c"], case["s"], 1e-4)
    torch.testing.assert_close(found[:, :3], case["y"][:, :3], rtol=1e-4, atol=1e-5)
    constant = case["s"][:, 3].mean((1, 2), keepdim=True).expand_as(found[:, 3])
    torch.testing.assert_close(found[:, 3], constant, rtol=0, atol=2e-3)


@needs_shared
@pytest.mark.parametrize(("layer", "index"), [("L8", 12), ("L9", 13)])
def test_injected_attention_as_published(layer: str, index: int, shared_model: DiffusionModel) -> None:
    case = load_file(PUBLISHED / "case03_attention.safetensors")
    module = shared_model.unet.get_submodule(self_attention_layers(shared_model.unet)[index])
    features = [case[f"{layer}/{name}"][None] for name in ("q_content", "k_style", "v_style")]
    for gamma, temperature in ((0.75, 1.5), (1, 1.5), (0, 1.5), (0.75, 1), (0.3, 1.5)):
        found = injected(*features, gamma, temperature)(module, case[f"{layer}/hidden"])
        expected = case[f"{layer}/out_gamma{gamma:g}_T{temperature:g}"]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(module(case[f"{layer}/hidden"]), case[f"{layer}/out_no_injection"], rtol=0, atol=2e-5)


RUNS: dict[str, dict[str, Any]] = {
    "default": {},
    "gamma1": {"gamma": 1},
    "gamma0": {"gamma": 0},
    "gamma0.3_T1": {"gamma": 0.3, "temperature": 1},
    "no_init_adain": {"initial_adain": False},
    "no_attn_injection": {"injection": False},
    "layers6_11": {"layers": (10, 16)},
    "v_prediction": {},
}


@pytest.fixture(scope="module")
def inversions(shared_model: DiffusionModel) -> Callable[[DiffusionModel], list[Inversion]]:
    """Of content and style by either reading of the network: those of all runs with the same one."""
    case = load_file(PUBLISHED / "case04_end_to_end.safetensors")

    @cache
    def invert(prediction_type: str) -> list[Inversion]:
        model = velocity(shared_model) if prediction_type == "v_prediction" else shared_model
        return [method(model, steps=6).invert(case[f"{side}_latent"]) for side in ("content", "style")]

    return lambda model: invert(model.scheduler.config["prediction_type"])


@needs_shared
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.slow
def test_runs_as_published(
    name: str, shared_model: DiffusionModel, inversions: Callable[[DiffusionModel], list[Inversion]]
) -> None:
    case, scalars = shared_case("styleid", "case04_end_to_end")
    sensitivity = scalars["default"]["sensitivity"]["max"]
    model = velocity(shared_model) if name == "v_prediction" else shared_model
    styleid = method(model, steps=6, **RUNS[name])
    assert styleid.inversion_passes() == method(model, steps=6).inversion_passes()  # whatever the other settings
    content, style = inversions(model)
    start = styleid.initial_latent(content.last, style.last)
    tolerance = max(5e-4, 10 * sensitivity["initial_latent_max_abs"])
    torch.testing.assert_close(start, case[f"{name}/initial_latent"], rtol=0, atol=tolerance)
    steps = list(styleid.sample(content, style))
    tolerances = [max(5e-4, 10 * deviation) for deviation in sensitivity["x_max_abs_per_step"]]
    if name == "default":
        for step, latent, clean, tolerance in zip(
            steps, case["default/x"], case["default/pred_x0"], tolerances, strict=True
        ):
            torch.testing.assert_close(step.latents[0], latent, rtol=0, atol=tolerance)
            torch.testing.assert_close(step.clean[0], clean, rtol=0, atol=tolerance)
    else:
        torch.testing.assert_close(steps[0].latents, case[f"{name}/x_first"], rtol=0, atol=tolerances[0])
        last = case[f"{name}/pred_x0_last"]
        torch.testing.assert_close(steps[-1].clean, last, rtol=0, atol=10 * sensitivity["final_x0_max_abs"])
    if f"{name}/image_uint8" in case:
        levels = to_pixels(model.decode(steps[-1].clean)).astype(float) - case[f"{name}/image_uint8"].numpy()
        assert np.abs(levels).mean() <= 0.5
        assert (np.abs(levels) <= 1).mean() >= 0.999


@needs_shared
@pytest.mark.slow
def test_inversion_at_512_as_published(shared_model: DiffusionModel) -> None:
    case = load_file(PUBLISHED / "case05_end_to_end_512.safetensors")
    last = method(shared_model, steps=3).invert(case["content_latent"]).last
    torch.testing.assert_close(last, case["content_inverted_last"], rtol=0, atol=5e-4)


# --- the injection, on any model ---


def attention_module(model: DiffusionModel, index: int) -> Any:
    return model.unet.get_submodule(self_attention_layers(model.unet)[index])


def by_hand(module: Any, query: Tensor, key: Tensor, value: Tensor, temperature: float) -> Tensor:
    logits = query @ key.mT / math.sqrt(query.shape[-1])
    return module.to_out[0](((temperature * logits).softmax(-1) @ value).transpose(1, 2).flatten(2))


@pytest.fixture(scope="module")
def injection(model: DiffusionModel) -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
    """A module, hidden states, and features whose style has other tokens than the content."""
    module = attention_module(model, 12)
    width = module.to_q.out_features // module.heads
    query, key, value = (normal(seed, 1, module.heads, n, width) for seed, n in ((1, 9), (2, 14), (3, 14)))
    return module, normal(0, 1, 9, module.to_q.in_features), query, key, value


def test_gamma_one_takes_the_stored_query(injection: tuple[Any, Tensor, Tensor, Tensor, Tensor]) -> None:
    module, hidden, query, key, value = injection
    processor = injected(query, key, value, 1.0, 1.5)
    found = processor(module, hidden)
    torch.testing.assert_close(found, by_hand(module, query, key, value, 1.5))
    torch.testing.assert_close(processor(module, 2 * hidden - 1), found, rtol=0, atol=0)


def test_gamma_zero_takes_the_current_query(injection: tuple[Any, Tensor, Tensor, Tensor, Tensor]) -> None:
    module, hidden, query, key, value = injection
    current = module.to_q(hidden).unflatten(-1, (module.heads, -1)).transpose(1, 2)
    found = injected(query, key, value, 0.0, 1.5)(module, hidden)
    torch.testing.assert_close(found, by_hand(module, current, key, value, 1.5))
    torch.testing.assert_close(injected(-query, key, value, 0.0, 1.5)(module, hidden), found)


def test_the_temperature_multiplies_the_logits(injection: tuple[Any, Tensor, Tensor, Tensor, Tensor]) -> None:
    module, hidden, query, key, value = injection
    for temperature in (0.5, 1.0, 3.0):
        found = injected(query, key, value, 1.0, temperature)(module, hidden)
        torch.testing.assert_close(found, by_hand(module, query, key, value, temperature))
        scaled = injected(temperature * query, key, value, 1.0, 1.0)(module, hidden)
        torch.testing.assert_close(found, scaled)


def test_only_the_listed_layers_are_replaced_and_they_come_back(model: DiffusionModel) -> None:
    modules = [attention_module(model, index) for index in range(model.layer_count)]
    before = [module.processor for module in modules]
    attends: list[Any] = [object() for _ in range(5)]
    with pytest.raises(KeyError), model.replaced_self_attention(range(11, 16), attends):
        assert [module.processor for module in modules[:11]] == before[:11]
        assert [module.processor.attend for module in modules[11:]] == attends
        raise KeyError
    assert all(module.processor is processor for module, processor in zip(modules, before, strict=True))


# --- the whole method, on any model ---


def test_the_original_leaves_out_the_first_step(model: DiffusionModel) -> None:
    paper = method(model, "paper", steps=50)
    passes = paper.inversion_passes()
    assert len(passes) == 50
    assert [tuple(found) for found in passes[:2]] == [(1, 1, 21), (21, 21, 41)]
    assert tuple(passes[-1]) == (981, 981, 999)
    assert paper.sampling_timesteps() == list(range(961, 0, -20))
    assert list(paper.layers) == [10, 11, 12, 13, 14, 15]
    port = method(model, "port", steps=20)
    assert tuple(port.inversion_passes()[0]) == (1, 0, 1)
    assert tuple(port.inversion_passes()[-1]) == (951, 901, 951)
    assert port.sampling_timesteps() == list(range(951, 0, -50))
    assert list(port.layers) == [11, 12, 13, 14, 15]


@pytest.mark.slow
def test_features_are_those_of_the_inversion(model: DiffusionModel) -> None:
    """Recomputed features equal those a recording of the inversion itself would have stored."""
    for mode in ("paper", "port"):
        styleid = method(model, mode)
        with record_self_attention(model.unet, styleid.layers) as records:
            inversion = styleid.invert(normal(0, 1, 4, 8, 8))
        for number, (timestep, latent) in enumerate(inversion.seen.items()):
            stored = records[number * len(styleid.layers) : (number + 1) * len(styleid.layers)]
            injections = styleid.injections(latent, latent, timestep)
            for injection, record in zip(injections, stored, strict=True):
                torch.testing.assert_close(injection.content.query, record.query, rtol=0, atol=0)
                torch.testing.assert_close(injection.style.key, record.key, rtol=0, atol=0)
                torch.testing.assert_close(injection.style.value, record.value, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["paper", "port"])
def test_inverting_and_denoising_an_exact_model_returns_the_latent(mode: str, model: DiffusionModel) -> None:
    """Where the noise does not depend on the latent or the timestep, DDIM has no error in either direction."""
    styleid = method(model, mode, injection=False, initial_adain=False)
    constant = normal(1, 1, 4, 8, 8)
    latent = normal(0, 1, 4, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "predict_noise", lambda *_: constant)
        inversion = styleid.invert(latent)
        *_, last = styleid.sample(inversion, inversion)
    level, noise = (1 - model.alpha_bar(0)).sqrt(), model.alpha_bar(0).sqrt()
    if mode == "port":
        torch.testing.assert_close(last.clean, (latent - level * constant) / noise, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(last.latents, latent, rtol=1e-3, atol=1e-3)
    else:  # taken for a latent of a lower level, it does not come back
        assert (last.latents - latent).abs().max() > 0.01


def test_the_initial_latent_has_the_statistics_of_the_style(model: DiffusionModel) -> None:
    content, style = normal(0, 1, 4, 8, 8), 3 * normal(1, 1, 4, 6, 10) + 2
    found = method(model, "paper").initial_latent(content, style)
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(statistic(found.flatten(2), dim=2), statistic(style.flatten(2), dim=2))


@pytest.fixture
def item(pictures: Pictures) -> Item:
    return Item("x", pictures.content, (pictures.first, pictures.second))


def styled(styleid: StyleID, item: Item, seed: int = 0) -> Tensor:
    return styleid.stylize(item, torch.Generator().manual_seed(seed)).image


@pytest.mark.slow
def test_only_the_original_draws(model: DiffusionModel, item: Item) -> None:
    paper, port = method(model, "paper"), method(model, "port")
    assert torch.equal(styled(paper, item, 1), styled(paper, item, 1))
    assert not torch.equal(styled(paper, item, 1), styled(paper, item, 2))
    assert torch.equal(styled(port, item, 1), styled(port, item, 2))


def test_the_labels_of_the_documented_command() -> None:
    """What a shell passes on, of which hydra and the rule for labels must both approve."""
    found = re.search(r"'(label=.*)' -m", baselines.styleid.__doc__ or "")
    assert found is not None
    label = compose_config("styleid", "method.reference=2", found[1]).label
    assert label == "styleid@reference=2" and re.fullmatch(LABEL, label)


@pytest.mark.slow
def test_one_reference_is_used_and_chosen_by_number(model: DiffusionModel, item: Item, pictures: Pictures) -> None:
    alone = Item("x", pictures.content, (pictures.second,))
    assert torch.equal(styled(method(model, reference=2), item), styled(method(model), alone))
    assert not torch.equal(styled(method(model), item), styled(method(model), alone))
    with pytest.raises(InputError, match="has 2 references, not 3"):
        styled(method(model, reference=3), item)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "original"}, {"steps": 1}, {"gamma": 1.5}, {"temperature": 0}, {"layers": (10, 17)}, {"reference": 0},
        {"resolution": 8}, {"resizing": "crop"},
    ],
)  # fmt: skip
def test_settings_out_of_range(model: DiffusionModel, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        method(model, **settings)
