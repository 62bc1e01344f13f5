"""IP-Adapter, InstantStyle and StyleAligned on tiny random directories of the published layout."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from composing import build_method, configured
from conftest import Pictures
from diffusers_parts import cross_attention_shapes, save_adapter, save_controlnet, save_xl, shake
from torch import Tensor
from transformers import AutoImageProcessor, DPTConfig, DPTForDepthEstimation, DPTImageProcessor

from baselines.captions import Captions
from baselines.conditions import Canny, Depth
from baselines.controlnet import load_controlnet, load_pipeline
from baselines.style_aligned import SharedAttention, align, encode, of_reference
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.images import read_image, to_pixels
from stylegallery.models.pretrained import processor_of
from stylegallery.models.unet import Processor

SMALL = ("resizing=square", "method.resolution=64", "method.steps=2")
ALIGNED = (
    "resizing=square",
    "method.resolution=128",
    "method.steps=2",
    "method.offset=0",
    "condition@method.condition=canny",
    "method.condition.low=1",  # the pictures are smooth
    "method.condition.high=2",
)


def stylised(method: Any, item: Item, seed: int = 0) -> Tensor:
    return method.stylize(item, torch.Generator().manual_seed(seed)).image


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    folders = {"sd": tiny_model, "xl": save_xl(tiny_model, root / "xl")}
    folders["sd_controlnet"] = save_controlnet(tiny_model, root / "sd_controlnet")
    folders["xl_controlnet"] = save_controlnet(folders["xl"], root / "xl_controlnet")
    folders["sd_adapter"] = save_adapter(tiny_model, root / "sd_adapter", "models/ip-adapter_sd15.safetensors")
    folders["xl_adapter"] = save_adapter(folders["xl"], root / "xl_adapter", "sdxl_models/ip-adapter_sdxl.safetensors")
    return folders


def paths(folders: dict[str, Path], kind: str, adapter: bool = True) -> list[str]:
    overrides = [f"method.base={folders[kind]}", f"method.controlnet={folders[kind + '_controlnet']}"]
    return [*overrides, f"method.adapter={folders[kind + '_adapter']}"] if adapter else overrides


@pytest.fixture(scope="module")
def ip_adapter(folders: dict[str, Path]) -> Any:
    return build_method("ip_adapter", *SMALL, *paths(folders, "sd"))


@pytest.fixture(scope="module")
def instantstyle(folders: dict[str, Path]) -> Any:
    return build_method("instantstyle", *SMALL, *paths(folders, "xl"))


@pytest.fixture(scope="module")
def aligned(folders: dict[str, Path]) -> Any:
    overrides = [*paths(folders, "sd", adapter=False), *ALIGNED]
    return build_method("style_aligned", *overrides)


# --- all three ---


def test_numbering_of_the_adapters_of_stable_diffusion_15() -> None:
    """Sixteen cross-attentions numbered 1, 3 ... 31, up blocks before the middle, as the published files have them."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, block_out_channels=(320, 640, 1280, 1280))
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    assert [list(unet.attn_processors).index(name) for name in names] == list(range(1, 32, 2))
    assert names[6].startswith("up_blocks.1.attentions.0") and names[15].startswith("mid_block")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ip_adapter", "instantstyle", "aligned"])
def test_runs_and_repeats(name: str, request: pytest.FixtureRequest, pictures: Pictures) -> None:
    """End to end from files; A, B, A gives the same bytes; reference, content and seed each decide the picture."""
    method = request.getfixturevalue(name)
    a = Item("a", pictures.content, (pictures.first, pictures.second))
    first = stylised(method, a)
    other_reference = stylised(method, Item("b", pictures.content, (pictures.second,)))
    other_content = stylised(method, Item("c", pictures.second, (pictures.first, pictures.second)))
    assert torch.equal(stylised(method, a), first)
    side = method.read.resolution
    assert first.shape == (1, 3, side, side) and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 1 and first.std() > 0.01
    for other in (other_reference, other_content, stylised(method, a, seed=1)):
        assert not torch.equal(other, first)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ip_adapter", "instantstyle"])
def test_every_reference_counts(name: str, request: pytest.FixtureRequest, pictures: Pictures) -> None:
    """Tokens of all references are attended to: adding one changes the picture, their order does not."""
    method = request.getfixturevalue(name)
    both = stylised(method, Item("a", pictures.content, (pictures.first, pictures.second)))
    swapped = stylised(method, Item("a", pictures.content, (pictures.second, pictures.first)))
    torch.testing.assert_close(swapped, both, atol=1e-3, rtol=0)
    assert (stylised(method, Item("a", pictures.content, (pictures.first,))) - both).abs().max() > 2e-3


@pytest.mark.slow
def test_one_reference_of_style_aligned(aligned: Any, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first by default; `reference` takes another."""
    both = stylised(aligned, Item("a", pictures.content, (pictures.first, pictures.second)))
    assert torch.equal(stylised(aligned, Item("a", pictures.content, (pictures.first,))), both)
    only_second = stylised(aligned, Item("a", pictures.content, (pictures.second,)))
    monkeypatch.setattr(aligned, "reference", 2)
    assert torch.equal(stylised(aligned, Item("a", pictures.content, (pictures.first, pictures.second))), only_second)
    with pytest.raises(InputError, match="item a has 1 references, not 2"):
        stylised(aligned, Item("a", pictures.content, (pictures.first,)))


@pytest.mark.parametrize("name", ["ip_adapter", "instantstyle", "style_aligned"])
def test_missing_weights(name: str) -> None:
    with pytest.raises(InputError, match=r"hf download|stylegallery.weights fetch"):
        build_method(name, *SMALL, "method.resolution=128")


@pytest.mark.slow
def test_adapter_of_another_model(folders: dict[str, Path]) -> None:
    overrides = [*paths(folders, "sd")[:2], f"method.adapter={folders['xl_adapter']}"]
    with pytest.raises(InputError, match=r"sdxl.safetensors is not a readable IP-Adapter of this model"):
        build_method("ip_adapter", *SMALL, *overrides, "method.weights=sdxl_models/ip-adapter_sdxl.safetensors")
    with pytest.raises(InputError, match=r"none.bin is not a readable IP-Adapter"):
        build_method("ip_adapter", *SMALL, *paths(folders, "sd"), "method.weights=models/none.bin")


@pytest.mark.slow
def test_parts_nobody_needs(folders: dict[str, Path], tmp_path: Path, pictures: Pictures, ip_adapter: Any) -> None:
    """The published index lists a safety checker and its preprocessor: the run needs neither."""
    for part in folders["sd"].iterdir():
        if part.is_dir():
            (tmp_path / part.name).symlink_to(part)
    index = json.loads((folders["sd"] / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"requires_safety_checker": True}))
    method = build_method("ip_adapter", *SMALL, *paths(folders, "sd"), f"method.base={tmp_path}")
    item = Item("a", pictures.content, (pictures.first,))
    assert method.pipeline.safety_checker is None
    assert torch.equal(stylised(method, item), stylised(ip_adapter, item))


def test_broken_directories(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a readable ControlNet"):
        build_method("ip_adapter", *SMALL, *paths(folders, "sd"), f"method.controlnet={tmp_path}")
    with pytest.raises(InputError, match="is not a readable diffusers model"):
        build_method("ip_adapter", *SMALL, *paths(folders, "sd"), f"method.base={tmp_path}")


# --- InstantStyle ---


def scales(method: Any) -> dict[str, float]:
    processors = method.pipeline.unet.attn_processors
    return {name: processor.scale[0] for name, processor in processors.items() if name.endswith("attn2.processor")}


@pytest.mark.slow
def test_instantstyle_blocks_of_sdxl(instantstyle: Any, folders: dict[str, Path]) -> None:
    """Only up_blocks.0.attentions.1; with layout also down_blocks.2.attentions.1."""
    style = {name for name, scale in scales(instantstyle).items() if scale}
    assert style and all(name.startswith("up_blocks.0.attentions.1.") for name in style)
    layout = build_method("instantstyle", *SMALL, *paths(folders, "xl"), "method.layout=true")
    added = {name for name, scale in scales(layout).items() if scale} - style
    assert added and all(name.startswith("down_blocks.2.attentions.1.") for name in added)
    assert set(scales(layout).values()) == {0.0, 1.0}


@pytest.mark.slow
def test_instantstyle_blocks_of_stable_diffusion_15(folders: dict[str, Path], ip_adapter: Any) -> None:
    """up_blocks.1; with layout also down_blocks.2 and the middle. IP-Adapter itself: every block."""
    weights = "method.weights=models/ip-adapter_sd15.safetensors"
    for layout, blocks in (("false", {"up_blocks.1"}), ("true", {"up_blocks.1", "down_blocks.2", "mid_block"})):
        method = build_method("instantstyle", *SMALL, *paths(folders, "sd"), weights, f"method.layout={layout}")
        for name, scale in scales(method).items():
            assert scale == any(name.startswith(block + ".") for block in blocks)
    assert set(scales(ip_adapter).values()) == {1.0}
    assert len(scales(ip_adapter)) == len(cross_attention_shapes(folders["sd"])) == 16


# --- StyleAligned ---


class Linear:
    """The projections of an attention layer as matrices, two heads."""

    heads = 2

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.to_q, self.to_k, self.to_v, out = (
            torch.nn.Linear(8, 8, bias=False).requires_grad_(False) for _ in range(4)
        )
        for module in (self.to_q, self.to_k, self.to_v, out):
            module.weight.copy_(torch.randn(8, 8, generator=generator))
        self.to_out = [out]


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (math.log(2), 1.0), (0.0, 0.5), (0.3, 1.5)])
def test_shared_attention_against_the_formula(shift: float, scale: float) -> None:
    """softmax([Q̂ K̂ᵀ, s Q̂ K_refᵀ + shift]) [V; V_ref] of item 1, head by head, with Q̂ and K̂ brought to the reference's
    mean and deviation."""
    layer, tokens = Linear(), torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))
    result = Processor(SharedAttention(shift, scale))(layer, tokens)  # type: ignore[arg-type]

    def adain(x: Tensor, y: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt() * (y.var(0) + 1e-5).sqrt() + y.mean(0)

    for reference, item in ((0, 1), (2, 3)):
        heads = []
        for columns in (slice(0, 4), slice(4, 8)):
            query, key, value = (
                (tokens @ project.weight.T)[..., columns] for project in (layer.to_q, layer.to_k, layer.to_v)
            )
            aligned_query, own = adain(query[item], query[reference]), adain(key[item], key[reference])
            logits = torch.cat([aligned_query @ own.T, scale * aligned_query @ key[reference].T + shift * 2], 1) / 2
            heads.append(logits.softmax(1) @ torch.cat([value[item], value[reference]]))
        expected = torch.cat(heads, 1) @ layer.to_out[0].weight.T
        torch.testing.assert_close(result[item], expected, atol=1e-4, rtol=1e-4)


def test_reference_is_left_as_it_is() -> None:
    """Without shift, sharing doubles the reference's own keys: its output is ordinary attention."""
    layer, tokens = Linear(), torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))
    result = Processor(SharedAttention(math.log(2), 0.5))(layer, tokens)  # type: ignore[arg-type]
    query, key, value = (
        project(tokens).unflatten(-1, (2, -1)).transpose(1, 2) for project in (layer.to_q, layer.to_k, layer.to_v)
    )
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(result[[0, 2]], layer.to_out[0](plain)[[0, 2]], atol=1e-4, rtol=1e-4)


def test_aligned_statistics_are_the_references() -> None:
    features = torch.randn(6, 2, 50, 4, generator=torch.Generator().manual_seed(2)) * 3 + 1
    aligned = align(features)
    for first, half in ((0, aligned[:3]), (3, aligned[3:])):
        torch.testing.assert_close(half.mean(2), features[[first] * 3].mean(2), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(half.std(2), features[[first] * 3].std(2), atol=1e-3, rtol=1e-3)
    assert torch.equal(of_reference(features)[:3], features[[0, 0, 0]])
    assert torch.equal(of_reference(features)[3:], features[[3, 3, 3]])


def test_inversion_against_ddim_written_out(aligned: Any, pictures: Pictures) -> None:
    """Every step z' = √ᾱ' (z − √(1−ᾱ) ε) / √ᾱ + √(1−ᾱ') ε, ε at the later timestep; last is the clean latent."""
    reference = read_image(pictures.first)
    latents = aligned.invert(reference, "", lambda: None)
    pipeline = aligned.pipeline
    start = pipeline.vae.encode(reference * 2 - 1).latent_dist.mode() * pipeline.vae.config["scaling_factor"]
    assert torch.equal(latents[-1:], start)
    assert len(latents) == 3
    prompt = pipeline.encode_prompt("", "cpu", 1, False)[0]
    alphas, latent = aligned.sampler.alphas_cumprod, start
    for number, (before, timestep) in enumerate(((-500, 0), (0, 500))):  # as the notebook's scheduler, without offset
        with torch.no_grad():
            noise = pipeline.unet(latent, timestep, encoder_hidden_states=prompt).sample
        now, later = alphas[max(0, before)], alphas[timestep]
        latent = later.sqrt() * (latent - (1 - now).sqrt() * noise) / now.sqrt() + (1 - later).sqrt() * noise
        torch.testing.assert_close(latents[1 - number][None], latent, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_style_aligned_leaves_the_model_as_it_was(aligned: Any, pictures: Pictures) -> None:
    """Processors and hooks are gone after a run, also after one that fails."""
    unet, controlnet = aligned.pipeline.unet, aligned.pipeline.controlnet
    before = dict(unet.attn_processors)
    stylised(aligned, Item("a", pictures.content, (pictures.first,)))
    assert unet.attn_processors == before and not controlnet._forward_hooks

    def fail(step: object) -> None:
        raise KeyboardInterrupt

    original, aligned.pipeline.unet.conv_out.forward = aligned.pipeline.unet.conv_out.forward, fail
    try:
        with pytest.raises(KeyboardInterrupt):
            stylised(aligned, Item("a", pictures.content, (pictures.first,)))
    finally:
        aligned.pipeline.unet.conv_out.forward = original
    assert unet.attn_processors == before and not controlnet._forward_hooks


@pytest.mark.slow
def test_style_aligned_on_sdxl(folders: dict[str, Path], pictures: Pictures) -> None:
    method = build_method("style_aligned", *paths(folders, "xl", adapter=False), *ALIGNED, "method.offset=1")
    image = stylised(method, Item("a", pictures.content, (pictures.first,)))
    assert image.shape == (1, 3, 128, 128) and image.isfinite().all() and image.std() > 0.01
    # The empty prompt is guided away from zeros, so that both guidances count.
    reference = F.interpolate(read_image(pictures.first), (128, 128))
    inverted = method.invert(reference, "", lambda: None)
    method.inversion_guidance = 8.0
    assert not torch.allclose(method.invert(reference, "", lambda: None), inverted, atol=1e-3)
    method.inversion_guidance, method.guidance_scale = 2.0, 2.0
    assert not torch.allclose(stylised(method, Item("a", pictures.content, (pictures.first,))), image, atol=1e-3)


def test_sdxl_encodes_in_float32_where_its_weights_are_in_float16(folders: dict[str, Path]) -> None:
    pipeline = load_pipeline(
        str(folders["xl"]), load_controlnet(str(folders["xl"]), str(folders["xl_controlnet"]), torch.float16), "cpu",
        torch.float16,
    )  # fmt: skip
    with torch.no_grad():
        pipeline.vae.encoder.conv_in.bias.fill_(6e4)
        pipeline.vae.encoder.conv_in.weight.mul_(1e4)
    latent = encode(pipeline, torch.ones(1, 3, 64, 64))
    assert latent.isfinite().all() and latent.dtype == pipeline.vae.dtype == torch.float16


def test_encoders_get_references_as_they_are(
    ip_adapter: Any, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not squashed to a square before CLIP's crop."""
    seen: list[Any] = []
    family = type(ip_adapter.pipeline)
    call = family.__call__

    def spy(pipeline: Any, **given: Any) -> Any:
        seen.extend(given["ip_adapter_image"][0])
        return call(pipeline, **given)

    monkeypatch.setattr(family, "__call__", spy)
    ip_adapter.stylize(Item("a", pictures.content, (pictures.first, pictures.second)), torch.Generator())
    assert [picture.size for picture in seen] == [(64, 64), (72, 64)]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("guidance_scale=1", "method.guidance_scale is 1; it should be greater than 1"),
        ("resolution=64", "method.resolution is 64; it should be greater than or equal to 128"),
        ("dtype=float8", "method.dtype is 'float8'; it should be 'auto', 'float32', 'bfloat16' or 'float16'"),
        ("offset=2", "offset is below steps"),
        ("scale=0", "method.scale is 0; it should be greater than 0"),
    ],
)
def test_bad_settings_of_style_aligned(folders: dict[str, Path], override: str, says: str) -> None:
    overrides = [*paths(folders, "sd", adapter=False), *ALIGNED]
    with pytest.raises(InputError, match=says):
        build_method("style_aligned", *overrides, f"method.{override}")


# --- conditions and captions ---


def test_canny(pictures: Pictures) -> None:
    """OpenCV's edges at InstantStyle's thresholds; a flat picture has none, a step has one line."""
    image = read_image(pictures.content)
    edges = configured(Canny)(image)
    assert edges.shape == image.shape
    assert np.array_equal(to_pixels(edges)[..., 0], cv2.Canny(to_pixels(image), 50, 200))
    assert configured(Canny)(torch.full((1, 3, 32, 32), 0.5)).sum() == 0
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 1
    assert set(configured(Canny)(step).nonzero()[:, 3].tolist()) <= {15, 16} and configured(Canny)(step).sum() == 3 * 32


def test_depth_spans_zero_to_one(tmp_path: Path, pictures: Pictures) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = DPTConfig(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32,
            patch_size=8, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        )  # fmt: skip
        shake(DPTForDepthEstimation(config), 6, 0.5).save_pretrained(tmp_path)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    image = read_image(pictures.content)
    depth = configured(Depth, str(tmp_path), "cpu")(image)
    assert depth.shape == image.shape
    assert depth.min() == 0 and depth.max() == pytest.approx(1, abs=1 / 255)
    assert torch.equal((depth * 255).round() / 255, depth)  # bytes, as the published code makes a picture of it
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is not a readable AutoModelForDepthEstimation"):
        configured(Depth, str(tmp_path), "cpu")


@pytest.mark.parametrize(
    "load", [lambda path: configured(Depth, path, "cpu"), lambda path: processor_of(AutoImageProcessor, path, "x")]
)
def test_code_in_a_folder_of_weights_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[str], object]
) -> None:
    """Nor is the user asked whether it may."""
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\nclass Evil: pass\n"
    (tmp_path / "evil.py").write_text(code)
    classes = ("AutoConfig", "AutoImageProcessor", "AutoModelForDepthEstimation")
    config = {"model_type": "evil", "auto_map": dict.fromkeys(classes, "evil.Evil")}
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(InputError, match=str(tmp_path)):
        load(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_captions(tmp_path: Path) -> None:
    file = tmp_path / "captions.yaml"
    file.write_text("content/0005: a woman by a window\nVanGogh/VG001: a painting of a field\n")
    captions = Captions(str(file), "unused")
    assert captions(Path("any/where/content/0005.png")) == "a woman by a window"
    assert captions(Path("VanGogh/VG001.jpg")) == "a painting of a field"
    with pytest.raises(InputError, match="no entry Monet/VG001; add one"):
        captions(Path("Monet/VG001.jpg"))
    assert Captions(None, "best quality")(Path("x/y.png")) == "best quality"
    file.write_text("- a list\n")
    with pytest.raises(InputError, match="no mapping"):
        Captions(str(file), "")
    with pytest.raises(InputError, match=r"none\.yaml is missing; pass the path of a captions file"):
        Captions(str(tmp_path / "none.yaml"), "")
    file.write_text("a/1: &a {x: *a}\nb/2: *a\n")
    with pytest.raises(InputError, match=r"captions\.yaml is no readable YAML \(an alias in line 1\)"):
        Captions(str(file), "")


def test_caption_decides_the_picture(ip_adapter: Any, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    item = Item("a", pictures.content, (pictures.first,))
    before = stylised(ip_adapter, item)
    monkeypatch.setattr(ip_adapter, "captions", Captions(None, "x y"))
    assert not torch.equal(stylised(ip_adapter, item), before)
