"""Attention Distillation: its losses and its optimisation against the published code, and what masks must do."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import configured
from conftest import Pictures, normal
from PIL import Image
from published_vectors import SHARED_VECTORS, VECTORS, needs_shared, shared_case
from safetensors.torch import load_file
from torch import Tensor

from baselines.attention_distillation import (
    AttentionDistillation,
    ContentTerm,
    Masks,
    attention_target,
    content_loss,
    read_masks,
    style_loss,
)
from baselines.latent_adain import adain, pool
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.images import resize, to_pixels
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.regions import resize_labels

PUBLISHED = SHARED_VECTORS / "attention_distillation"

# (references, scale of the query, masks, loss) of the published code
LOSSES = {
    "S1_scale1": (1, 1.0, False, 0.658268631),
    "S1_scale1.5": (1, 1.5, False, 0.797005892),
    "S2_scale1": (2, 1.0, False, 0.583982825),
    "S2_scale1.5": (2, 1.5, False, 0.707007527),
    "S3_scale1": (3, 1.0, False, 0.554225326),
    "S1_masks": (1, 1.0, True, 0.770396173),
    "S1_masks_scale1.5": (1, 1.5, True, 0.914407134),
    "S2_masks": (2, 1.0, True, 0.671053171),
}


def method(model: DiffusionModel, **settings: Any) -> AttentionDistillation:
    return configured(AttentionDistillation, model, **{"resolution": 64, "resizing": "square", "steps": 2} | settings)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# --- losses against the published code ---


def published_layers(case: dict[str, Tensor], prefix: str = "") -> list[SelfAttention]:
    names = ("q", "k", "v", "out")
    return [SelfAttention(*(case[f"L{i}/{prefix}{name}"] for name in names)) for i in range(2)]


def published_styles(case: dict[str, Tensor], count: int) -> list[list[SelfAttention]]:
    return [
        [
            SelfAttention(key := case[f"L{i}/ks"][s : s + 1], key, value := case[f"L{i}/vs"][s : s + 1], value)
            for i in range(2)
        ]
        for s in range(count)
    ]


def published_masks(case: dict[str, Tensor], count: int) -> Masks:
    sources = [case["masks/source"][s, 0].long() for s in range(count)]
    return Masks(case["masks/target"][0, 0].long(), sources)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_targets_as_published(name: str) -> None:
    case = load_file(VECTORS / "ad_case01_loss.safetensors")
    count, scale, masked, loss = LOSSES[name]
    layers, styles = published_layers(case), published_styles(case, count)
    masks = published_masks(case, count) if masked else None
    torch.testing.assert_close(style_loss(layers, styles, scale, masks).item(), loss, rtol=1e-5, atol=0)
    for i, (layer, *found) in enumerate(zip(layers, *styles, strict=True)):
        target = attention_target(layer, found, scale, masks)
        torch.testing.assert_close(target, case[f"{name}/L{i}_target"], rtol=0, atol=1e-5)


def test_gradients_as_published() -> None:
    case = load_file(VECTORS / "ad_case01_loss.safetensors")
    leaves, layers = [], []
    for layer in published_layers(case):
        query, key, value = (tensor.clone().requires_grad_() for tensor in layer[:3])
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        output.retain_grad()
        leaves.append((query, key, value, output))
        layers.append(SelfAttention(query, key, value, output))
    style_loss(layers, published_styles(case, 2), 1.0, published_masks(case, 2)).backward()
    for i, (query, key, value, output) in enumerate(leaves):
        assert output.grad is not None
        differences = (output - case[f"S2_masks/L{i}_target"]).abs().detach()
        clear = differences > 1e-5
        sign = output.grad * output.numel()
        torch.testing.assert_close(sign[clear], case[f"S2_masks/L{i}_grad_out_sign"].float()[clear])
        for name, leaf in zip("qkv", (query, key, value), strict=True):
            assert leaf.grad is not None
            assert relative(leaf.grad, case[f"S2_masks/L{i}_chain_grad_{name}"]) < 1e-3


@needs_shared
def test_two_latents_share_the_references() -> None:
    case = load_file(PUBLISHED / "case01_ad_loss.safetensors")
    styles = published_styles(case, 2)
    for i in range(2):
        query = case[f"batch2/L{i}_q"]
        layer = SelfAttention(query, case[f"batch2/L{i}_k"], case[f"batch2/L{i}_v"], query)
        target = attention_target(layer, [style[i] for style in styles])
        torch.testing.assert_close(target, case[f"batch2/L{i}_target"], rtol=0, atol=1e-5)


@needs_shared
@pytest.mark.parametrize(
    ("term", "name", "value", "gradients"),
    [
        ("query", "q_loss", 2.29413271, "q"),
        ("attention_map", "qk_loss", 0.0343715437, "qk"),
        ("output", "qkv_loss", 0.332406044, "qk"),
    ],
)
def test_content_terms_as_published(term: ContentTerm, name: str, value: float, gradients: str) -> None:
    case = load_file(PUBLISHED / "case02_content_losses.safetensors")
    layers, contents = [], []
    for i in range(2):
        query, key = case[f"L{i}/q"].requires_grad_(), case[f"L{i}/k"].requires_grad_()
        layers.append(SelfAttention(query, key, key, key))
        contents.append(SelfAttention(*(case[f"L{i}/{part}"] for part in ("qc", "kc", "vc", "out_c"))))
    loss = content_loss(layers, contents, term)
    loss.backward()
    torch.testing.assert_close(loss.item(), value, rtol=1e-5, atol=0)
    for i, layer in enumerate(layers):
        for part, leaf in zip(gradients, layer, strict=False):
            expected = case[f"{name}/L{i}_grad_{part}"]
            assert leaf.grad is not None
            if term == "query":
                torch.testing.assert_close(leaf.grad, expected)
            else:
                assert relative(leaf.grad, expected) < 1e-3


# --- the optimisation against the published code ---


@needs_shared
def test_pictures_and_latents_as_published(shared_model: DiffusionModel) -> None:
    case = load_file(PUBLISHED / "case00_preprocess.safetensors")
    picture = case["load/image_uint8"].permute(2, 0, 1)[None].float() / 255
    loaded = case["load/resized_64x64"].float() / 255
    levels = to_pixels(resize(picture, 64, "square", 8)).astype(int) - to_pixels(loaded).astype(int)
    assert np.abs(levels).max() <= 1  # Pillow rounds between its two passes
    torch.testing.assert_close(shared_model.encode(loaded), case["vae/latent"], rtol=0, atol=3e-4)
    torch.testing.assert_close(shared_model.decode(case["vae/latent_in"]), case["vae/image_out"], rtol=0, atol=3e-4)
    torch.testing.assert_close(shared_model.null_prompt, case["text_embeds"], rtol=0, atol=1e-5)
    found = adain(case["adain/x"], pool([case["adain/style"]]), 1e-6)
    torch.testing.assert_close(found, case["adain/y"], rtol=0, atol=1e-5)


@needs_shared
@pytest.mark.parametrize("name", ["one256", "two256", "masked256", "one512", "texture256"])
@pytest.mark.slow
def test_runs_as_published(name: str, shared_model: DiffusionModel) -> None:
    case, scalars = shared_case("attention_distillation", f"case03_optimize_{name}")
    settings, sensitivity = scalars["settings"], scalars["sensitivity"]["max"]
    distillation = method(
        shared_model, steps=settings["num_inference_steps"], iterations=settings["iters"], layers=(10, 16),
        learning_rate=settings["lr"], content_weight=settings["weight"], attention_scale=settings["attn_scale"],
    )  # fmt: skip
    assert distillation.timesteps == scalars["timesteps"]
    assert settings["layers_half_open"] == [10, 16]
    content, styles = case.get("content_latent"), list(case["style_latents"].split(1))
    start = case["init_latent"] if content is None else content
    masks = None
    if settings["masks"]:
        grid = (start.shape[-2], start.shape[-1])
        target, source = (
            [resize_labels(mask[0].long(), grid) for mask in case[f"{side}_mask"]] for side in ("target", "source")
        )
        masks = Masks(target[0], source)

    count = 1 if name == "one512" else len(scalars["timesteps"])  # the second update of the large run takes 10 s
    updates = list(itertools.islice(distillation.optimise(start, content, styles, masks), count))
    rounding = 1e-3 * case["latents"].float().abs().mean() if case["latents"].dtype == torch.float16 else 0.0
    for step, (latent, (energy,)) in enumerate(updates):
        tolerance = 1e-5 if step == 0 else max(1e-4, 20 * sensitivity["loss_rel_per_step"][step])
        torch.testing.assert_close(energy.energy, scalars["loss_per_step"][step], rtol=tolerance, atol=0)
        torch.testing.assert_close(energy.style, scalars["ad_loss_per_step"][step], rtol=tolerance, atol=0)
        deviation = (latent - case["latents"][step].float()).abs().mean()
        assert deviation <= max(1e-5, 10 * sensitivity["latent_mean_abs_per_step"][step]) + rounding
    if name == "one512":
        return
    image = shared_model.decode(updates[-1][0])
    pixels = np.stack([to_pixels(picture) for picture in image]).astype(float)
    assert np.abs(pixels - case["image_uint8"].numpy()).mean() <= 0.5


@needs_shared
@pytest.mark.slow
def test_the_first_gradient_as_published(shared_model: DiffusionModel) -> None:
    case, _scalars = shared_case("attention_distillation", "case03_optimize_two256")
    latent = case["content_latent"].clone().requires_grad_()
    with torch.no_grad():
        styles = [shared_model.self_attention(style, 831, range(10, 16)) for style in case["style_latents"].split(1)]
        source = shared_model.self_attention(case["content_latent"], 831, range(10, 16))
    attention = shared_model.self_attention(latent, 831, range(10, 16))
    kept = content_loss(attention, source)
    (style_loss(attention, styles) + 0.25 * kept).backward()
    assert kept.item() == 0  # the same call shape gives the same bits
    assert latent.grad is not None
    assert relative(latent.grad, case["grad_first_step"]) < 1e-3


# --- what holds for any model ---


def test_no_energy_where_the_latent_is_the_style(model: DiffusionModel) -> None:
    latent = normal(0, 1, 4, 8, 8)
    _, (energy,) = next(method(model, content_weight=0).optimise(latent, None, [latent]))
    assert energy.energy < 1e-6
    _, (other,) = next(method(model, content_weight=0).optimise(latent, None, [normal(1, 1, 4, 8, 8)]))
    assert other.energy > 1e-3


def test_references_of_different_sizes_meet_in_one_softmax() -> None:
    layer = SelfAttention(*(normal(i, 1, 2, 6, 4) for i in range(4)))
    first, second = (SelfAttention(*(normal(10 * s + i, 1, 2, n, 4) for i in range(4))) for s, n in ((1, 5), (2, 9)))
    key, value = torch.cat([first.key, second.key], 2), torch.cat([first.value, second.value], 2)
    expected = (1.3 * layer.query @ key.mT / 2).softmax(-1) @ value
    torch.testing.assert_close(attention_target(layer, [first, second], 1.3), expected)
    torch.testing.assert_close(attention_target(layer, [second, first], 1.3), expected)


def test_a_repeated_reference_changes_nothing(model: DiffusionModel) -> None:
    content, style = normal(0, 1, 4, 8, 8), normal(1, 1, 4, 8, 8)
    _, (once,) = next(method(model).optimise(content, content, [style]))
    _, (twice,) = next(method(model).optimise(content, content, [style, style]))
    assert once.energy == pytest.approx(twice.energy, rel=1e-5)


def test_masks_that_part_both_sides_equal_each_side_alone() -> None:
    layer = SelfAttention(*(normal(i, 1, 2, 16, 4) for i in range(4)))
    style = SelfAttention(*(normal(10 + i, 1, 2, 16, 4) for i in range(4)))
    left = torch.zeros(4, 4, dtype=torch.int64)
    left[:, :2] = 7
    inside = (left == 7).flatten()
    target = attention_target(layer, [style], 1.0, Masks(left, [left]))
    for part in (inside, ~inside):
        alone = attention_target(
            SelfAttention(*(tensor[:, :, part] for tensor in layer)),
            [SelfAttention(*(tensor[:, :, part] for tensor in style))],
        )
        torch.testing.assert_close(target[:, :, part], alone)


def test_one_label_everywhere_is_no_mask() -> None:
    layer = SelfAttention(*(normal(i, 1, 2, 16, 4) for i in range(4)))
    ones = torch.ones(4, 4, dtype=torch.int64)
    torch.testing.assert_close(
        attention_target(layer, [layer], 1.0, Masks(ones, [ones])), attention_target(layer, [layer])
    )


def test_a_label_without_keys_on_a_layer_pulls_nothing() -> None:
    layer = SelfAttention(*(normal(i, 1, 2, 16, 4) for i in range(4)))
    labels = torch.ones(4, 4, dtype=torch.int64)
    labels[0] = 2
    target = attention_target(layer, [layer], 1.0, Masks(labels, [torch.ones_like(labels)]))
    torch.testing.assert_close(target[:, :, :4], layer.output[:, :, :4], rtol=0, atol=0)
    assert not torch.allclose(target[:, :, 4:], layer.output[:, :, 4:])


# --- masks of items ---


def stripes(path: Path, values: list[int] | list[tuple[int, int, int]]) -> Path:
    """Vertical stripes, each 32 pixels wide, of indices or colours."""
    columns = np.repeat(np.array(values, dtype=np.uint8), 32, axis=0)
    Image.fromarray(np.tile(columns, (64, 1, 1) if columns.ndim == 2 else (64, 1))).save(path)
    return path


def read(content: Path | None, *references: Path | None) -> Masks | None:
    """Read masks that are the pictures as well; a picture whose mask is missing is the content's mask."""
    pictures = [path or content or references[0] for path in (content, *references)]
    assert all(pictures)
    item = Item("x", pictures[0], tuple(pictures[1:]), content, references)  # type: ignore[arg-type]
    images = [torch.zeros(1, 3, *Image.open(path).size[::-1]) for path in pictures]  # type: ignore[arg-type]
    return read_masks(item, images, [torch.zeros(1, 4, image.shape[2] // 32, image.shape[3] // 32) for image in images])


def test_labels_mean_the_same_in_all_pictures(tmp_path: Path) -> None:
    masks = read(stripes(tmp_path / "c.png", [3, 1]), stripes(tmp_path / "r.png", [1, 2, 3]))
    assert masks is not None
    (three, one), (other_one, two, other_three) = masks.content[0].tolist(), masks.references[0][0].tolist()
    assert (three, one) == (other_three, other_one)
    assert len({one, two, three}) == 3
    red, blue, black = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    masks = read(stripes(tmp_path / "c.png", [red, blue, black]), stripes(tmp_path / "r.png", [black, blue, red]))
    assert masks is not None
    assert masks.content[0].tolist() == masks.references[0].flip(1)[0].tolist()
    assert masks.content[0, 2] == 0


def test_a_reference_without_mask_is_background(tmp_path: Path) -> None:
    masks = read(stripes(tmp_path / "c.png", [0, 3]), stripes(tmp_path / "r.png", [3, 3]), None)
    assert masks is not None
    assert masks.content[0].tolist() == [0, 1]
    assert masks.references[0].unique().tolist() == [1]
    assert masks.references[1].unique().tolist() == [0]


def test_masks_on_one_side_have_no_effect(tmp_path: Path) -> None:
    mask = stripes(tmp_path / "m.png", [1, 2])
    assert read(mask, None) is None
    assert read(None, mask) is None


def test_a_label_no_reference_has_is_named(tmp_path: Path) -> None:
    content, reference = stripes(tmp_path / "c.png", [1, 3]), stripes(tmp_path / "r.png", [1, 2])
    with pytest.raises(InputError, match=r"index 3 of the mask .*c\.png"):
        read(content, reference)
    with pytest.raises(InputError, match="background of the mask"):
        read(stripes(tmp_path / "c.png", [0, 1]), reference)
    with pytest.raises(InputError, match="colour #ff0001"):
        read(stripes(tmp_path / "c.png", [(0, 0, 0), (255, 0, 1)]), reference, None)


@pytest.mark.slow
def test_masks_change_the_picture(model: DiffusionModel, pictures: Pictures, tmp_path: Path) -> None:
    mask, other = stripes(tmp_path / "m.png", [1, 2]), stripes(tmp_path / "o.png", [2, 1])
    item = Item("x", pictures.first, (pictures.first,))
    masked = Item("x", pictures.first, (pictures.first,), mask, (other,))
    images = [method(model).stylize(which, torch.Generator()).image for which in (item, masked)]
    assert not torch.equal(*images)


# --- settings ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layers": (10, 17)}, "layers is"),
        ({"layers": (12, 12)}, "layers is"),
        ({"steps": 0}, "steps is"),
        ({"content_weight": -1}, "content_weight"),
        ({"content_term": "key"}, "content_term"),
        ({"highest_timestep": 0}, "highest_timestep"),
        ({"resizing": "crop"}, "resizing"),
        ({"resolution": 16}, "resolution"),
    ],
)
def test_settings_out_of_range(model: DiffusionModel, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        method(model, **settings)


def test_an_infinite_latent_names_the_timestep(model: DiffusionModel) -> None:
    latent = normal(0, 1, 4, 8, 8)
    with pytest.raises(FloatingPointError, match="timestep 501"):
        list(method(model).optimise(latent * torch.inf, None, [latent]))
