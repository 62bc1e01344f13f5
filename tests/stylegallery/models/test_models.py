"""Every model, encoder, depth and segmenter config end to end with a tiny model of the same classes; LoRAs, SDXL's
conditions, v-prediction, dtypes and compilation against diffusers or closed forms."""

import copy
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from composing import ROOT, build_method, configured
from conftest import Pictures, normal
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers_parts import save_xl
from hydra import compose, initialize_config_dir
from rich.console import Console
from safetensors.torch import load_file, save_file
from tiny_models import save_clip, save_depth_anything, save_dinov2, save_lora, save_sam, variant
from torch import Tensor, nn
from torch._inductor import config as inductor_config
from transformers import AutoImageProcessor, DepthAnythingForDepthEstimation

from stylegallery.encoders import CLIPEncoder, DINOv2Encoder
from stylegallery.errors import InputError
from stylegallery.extras.depth import DepthAnything
from stylegallery.extras.segmenters import SAM, stack_masks
from stylegallery.images import resize
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.factory import from_directory
from stylegallery.models.unet import compile_blocks, record_self_attention, self_attention_layers

SD21 = {"attention_head_dim": [2, 4, 4, 4], "use_linear_projection": True}


class Tiny(SimpleNamespace):
    """Directories of tiny models, files of LoRAs."""


@pytest.fixture(scope="session")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny_models")
    save_lora(tiny_model, folder / "lora.safetensors")
    return Tiny(
        sd=tiny_model,
        sd21=variant(tiny_model, folder / "sd21", SD21),
        sd21_v=variant(tiny_model, folder / "sd21_v", SD21, prediction_type="v_prediction"),
        sdxl=save_xl(tiny_model, folder / "sdxl"),
        lora=folder / "lora.safetensors",
        dinov2=save_dinov2(folder / "dinov2"),
        clip=save_clip(folder / "clip"),
        depth=save_depth_anything(folder / "depth"),
        sam=save_sam(folder / "sam"),
    )


Stylise = Callable[..., dict[str, Any]]


@pytest.fixture
def stylise(small: tuple[str, ...], pictures: Pictures, tmp_path: Path, blank_figures: None) -> Stylise:
    """run.py's code path with the small settings, but the given model and blank figures; returns the record."""
    import run

    settings = [entry for entry in small if entry.partition("=")[0] not in ("model", "model.path", "encoder")]

    def call(*overrides: str) -> dict[str, Any]:
        out = tmp_path / "out"
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("config", [*settings, *pictures.overrides(), f"out={out}", *overrides])
        run.run(config, Console(file=io.StringIO(), width=200))
        assert (out / "stylised.png").stat().st_size > 0
        record: dict[str, Any] = json.loads((out / "record.json").read_text())
        return record

    return call


# --- every config ---

MODELS = {
    "sd15": ["model=sd15", "model.path={sd}"],
    "sd14": ["model=sd14", "model.path={sd}"],
    "sd21_base": ["model=sd21_base", "model.path={sd21}"],
    "sd21_base of v-prediction": ["model=sd21_base", "model.path={sd21_v}"],
    "sd15_lcm": ["model=sd15_lcm", "model.path={sd}", "model.lora={lora}"],
    "sd15_hyper": ["model=sd15_hyper", "model.path={sd}", "model.lora={lora}"],
    "sdxl": ["model=sdxl", "model.path={sdxl}"],
}
OTHERS = {
    "encoder/dinov2": ["encoder=dinov2", "encoder.path={dinov2}"],
    "encoder/clip": ["encoder=clip", "encoder.path={clip}", "encoder.resolution=64"],
    "depth/depth_anything_v2": ["depth=depth_anything_v2", "depth.path={depth}"],
    "segmenter/sam": [
        "segmenter=sam", "segmenter.path={sam}", "segmenter.points_per_side=4", "segmenter.predicted_overlap=0",
        "segmenter.stability=0",
    ],
}  # fmt: skip
COVERED_ELSEWHERE = {"model/embedded", "encoder/efficientnet", "depth/none", "segmenter/none"}


def test_every_config_of_a_network_is_run_here_or_by_the_tests_of_run() -> None:
    groups = ("model", "encoder", "depth", "segmenter")
    configs = {f"{group}/{path.stem}" for group in groups for path in (ROOT / "conf" / group).glob("*.yaml")}
    models = {f"model/{name.partition(' ')[0]}" for name in MODELS}
    assert configs == models | OTHERS.keys() | COVERED_ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_runs_end_to_end(name: str, tiny: Tiny, stylise: Stylise, tmp_path: Path) -> None:
    record = stylise("encoder=efficientnet", *(entry.format(**vars(tiny)) for entry in MODELS[name]))
    updates = 6 if "lora" in str(MODELS[name]) else 2  # the fast presets update three times per timestep
    energies = (tmp_path / "out" / "energies.csv").read_text().splitlines()
    assert len(energies) == 1 + updates
    assert record["size"] == [72, 56]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_encoder_depth_and_segmenter_runs_end_to_end(name: str, tiny: Tiny, stylise: Stylise) -> None:
    overrides = [entry.format(**vars(tiny)) for entry in OTHERS[name]]
    encoder = [] if name.startswith("encoder") else ["encoder=efficientnet"]
    record = stylise("model=sd15", f"model.path={tiny.sd}", *encoder, *overrides)
    assert f"{name.partition('/')[0]}.path" in record["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model,steps,rate,weight", [("sd15_lcm", 28, 0.25, 0.33), ("sd15_hyper", 28, 0.15, 0.38), ("sd15", 150, 0.05, 0.26)]
)
@pytest.mark.parametrize("method", ["stylegallery", "stylegallery_released"])
def test_presets_are_the_published_ones(
    method: str, model: str, steps: int, rate: float, weight: float, tiny: Tiny
) -> None:
    lora = [] if model == "sd15" else [f"model.lora={tiny.lora}"]
    built = build_method(method, f"model={model}", f"model.path={tiny.sd}", *lora).guidance
    assert (built.steps, built.iterations) == (steps, 3 if lora else 1)
    assert (built.learning_rate, built.extras.final_learning_rate, built.content_weight) == (rate, None, weight)


# --- layers ---


def test_the_last_six_layers_of_the_real_topologies() -> None:
    with torch.device("meta"):
        sd = UNet2DConditionModel(cross_attention_dim=768)
        xl = UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20), cross_attention_dim=2048,
        )  # fmt: skip
    attention = "up_blocks.{}.attentions.{}.transformer_blocks.{}.attn1"
    layers = self_attention_layers(sd)
    assert len(layers) == 16 and layers[10:] == [attention.format(b, a, 0) for b in (2, 3) for a in range(3)]
    layers = self_attention_layers(xl)
    assert len(layers) == 70 and layers[64:] == [attention.format(1, a, t) for a in range(3) for t in range(2)]


# --- LoRA ---


@pytest.mark.slow
def test_a_lora_is_fused_for_guidance_and_leaves_the_inversion_alone(tiny: Tiny, tmp_path: Path) -> None:
    expected = save_lora(tiny.sd, tmp_path / "lora.safetensors")
    plain = configured(from_directory, str(tiny.sd), device="cpu")
    fast = configured(
        from_directory, str(tiny.sd), device="cpu", lora=str(tmp_path / "lora.safetensors"), schedule="lcm"
    )
    weights = fast.unet.state_dict()
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-5, atol=1e-6)
    z = normal(0, 1, 4, 8, 8)
    assert (fast.predict_noise(z, 400) - plain.predict_noise(z, 400)).abs().max() > 0.1
    for ours, theirs in zip(fast.invert(z, 3), plain.invert(z, 3), strict=True):
        assert ours.timestep == theirs.timestep
        assert torch.equal(ours.latents, theirs.latents) and torch.equal(ours.features, theirs.features)


@pytest.mark.parametrize(
    "schedule,scheduler,options",
    [("trailing", EulerDiscreteScheduler, {"timestep_spacing": "trailing"}), ("lcm", LCMScheduler, {})],
)
def test_schedules_of_the_fast_presets_are_diffusers(
    tiny: Tiny, schedule: Any, scheduler: Any, options: dict[str, str]
) -> None:
    model = configured(from_directory, str(tiny.sd), device="cpu", schedule=schedule)
    published = scheduler.from_config(model.scheduler.config, **options)
    published.set_timesteps(28)
    assert model.timesteps(28) == [int(timestep) for timestep in published.timesteps]
    assert [step.timestep for step in model.invert(normal(1, 1, 4, 8, 8), 4)] == [1, 251, 501, 751]


def test_more_timesteps_than_lcm_has_are_an_input_error(tiny: Tiny) -> None:
    model = configured(from_directory, str(tiny.sd), device="cpu", schedule="lcm")
    with pytest.raises(InputError, match="150 timesteps"):
        model.timesteps(150)


def text_encoder_only(file: Path) -> None:
    save_file({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(2, 16)}, file)


def other_model(file: Path) -> None:
    weights = {"down": torch.ones(2, 99), "up": torch.ones(99, 2)}
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file({f"{name}.lora_{key}.weight": value for key, value in weights.items()}, file)


@pytest.mark.parametrize(
    "make",
    [
        text_encoder_only,
        other_model,
        lambda file: save_file({"weight": torch.ones(2)}, file),
        lambda file: file.write_bytes(b"not safetensors"),
    ],
    ids=["text encoder only", "other model", "no LoRA", "no safetensors"],
)
@pytest.mark.slow
def test_a_file_that_is_no_lora_of_the_model(tiny: Tiny, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match=r"bad\.safetensors is not a LoRA of this model.*model\.lora"):
        configured(from_directory, str(tiny.sd), device="cpu", lora=str(tmp_path / "bad.safetensors"))


def test_a_lora_that_is_not_there(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="nowhere"):
        configured(from_directory, str(tiny.sd), device="cpu", lora="nowhere")


# --- SDXL's conditions ---


@pytest.mark.slow
@pytest.mark.parametrize("zeros", [True, False])
def test_the_null_prompt_of_sdxl_is_what_diffusers_conditions_on(tiny: Tiny, tmp_path: Path, zeros: bool) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny.sdxl, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": zeros}))
    model = configured(from_directory, str(folder), device="cpu")
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    prompt, negative, pooled, negative_pooled = pipeline.encode_prompt("", device="cpu")
    if zeros:  # what the pipeline takes for the unconditional half
        prompt, pooled = negative, negative_pooled
    z = normal(2, 2, 4, 8, 16)
    conditions = {
        "text_embeds": pooled.expand(2, -1),
        "time_ids": pipeline._get_add_time_ids((64, 128), (0, 0), (64, 128), torch.float32, 16).expand(2, -1),
    }
    with torch.no_grad():
        expected = pipeline.unet(z, 300, prompt.expand(2, -1, -1), added_cond_kwargs=conditions).sample
        found = model.predict_noise(z, 300)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_sdxl_needs_no_text_encoder(tiny: Tiny, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("text_encoder*", "tokenizer*")
    shutil.copytree(tiny.sdxl, tmp_path / "sdxl", ignore=ignored)
    model = configured(from_directory, str(tmp_path / "sdxl"), device="cpu")
    assert model.pooled_prompt is not None and model.pooled_prompt.shape == (1, 16)


# --- prediction types ---


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("timestep", [1, 400, 951])
@pytest.mark.slow
def test_noise_of_either_prediction_type_is_that_of_diffusers(
    tiny: Tiny, tmp_path: Path, prediction_type: str, timestep: int
) -> None:
    folder = variant(tiny.sd, tmp_path / "model", prediction_type=prediction_type)
    model = configured(from_directory, str(folder), device="cpu")
    z = normal(3, 2, 4, 8, 8)
    with torch.no_grad():
        raw = model.unet(z, timestep, model.null_prompt.expand(2, -1, -1)).sample
        noise = model.predict_noise(z, timestep)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(1000)
    clean = scheduler.step(raw, timestep, z).pred_original_sample
    alpha_bar = scheduler.alphas_cumprod[timestep]
    torch.testing.assert_close(alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise, z, rtol=1e-4, atol=1e-5)


# --- dtypes ---


@pytest.mark.slow
@pytest.mark.parametrize("dtype,closeness", [("bfloat16", 0.98), ("float16", 0.998)])
def test_half_precision_keeps_everything_outside_the_networks_in_float32(
    tiny: Tiny, dtype: str, closeness: float
) -> None:
    found, models = [], [
        configured(from_directory, str(tiny.sd), device="cpu", dtype=name) for name in ("float32", dtype)
    ]  # fmt: skip
    for model in models:
        z = normal(4, 1, 4, 8, 8).requires_grad_(True)
        attention = model.self_attention(z, 400, range(10, 16))
        # As small as the mean over a large picture's tokens makes gradients: float16 alone would round them to zero.
        (1e-6 * sum((layer.output.abs().mean() for layer in attention), torch.zeros(()))).backward()
        assert z.grad is not None
        outputs = [model.encode(torch.rand(1, 3, 64, 64)), model.decode(z), model.predict_noise(z, 400)]
        outputs += [z.grad, *attention[0], *(step.features for step in model.invert(z.detach(), 1))]
        assert all(output.dtype == torch.float32 and output.isfinite().all() for output in outputs)
        found.append(z.grad)
    precision = getattr(torch, dtype)
    assert {p.dtype for p in models[1].unet.parameters()} == {precision}
    kept = torch.float32 if dtype == "float16" else precision  # the autoencoder's config asks for it, as SDXL's does
    assert {p.dtype for p in models[1].autoencoder.parameters()} == {kept}
    assert torch.cosine_similarity(*(gradient.flatten() for gradient in found), dim=0) > closeness
    assert float(found[1].norm() / found[0].norm()) == pytest.approx(1, abs=0.1)


def test_half_precision_without_gradients(tiny: Tiny) -> None:
    model = configured(from_directory, str(tiny.sd), device="cpu", dtype="float16")
    with torch.no_grad():
        (layer,) = model.self_attention(normal(4, 1, 4, 8, 8).requires_grad_(True), 400, [10])
    assert not any(tensor.requires_grad for tensor in layer)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_end_to_end(dtype: str, tiny: Tiny, stylise: Stylise) -> None:
    stylise("encoder=efficientnet", "model=sd15", f"model.path={tiny.sd}", f"model.dtype={dtype}")


@pytest.mark.slow
@pytest.mark.parametrize("part,call,says", [
    ("decoder", lambda model: model.decode(torch.ones(1, 4, 8, 8)), "decoded picture"),
    ("encoder", lambda model: model.encode(torch.ones(1, 3, 64, 64)), "encoded latent"),
])  # fmt: skip
def test_an_autoencoder_that_overflows_is_never_a_black_picture(
    tiny: Tiny, tmp_path: Path, part: str, call: Callable[[DiffusionModel], Tensor], says: str
) -> None:
    """In float32, which `force_upcast` asks for, it does not overflow."""
    folder = shutil.copytree(tiny.sd, tmp_path / "model")
    config = json.loads((folder / "vae" / "config.json").read_text())
    for upcast in (True, False):
        (folder / "vae" / "config.json").write_text(json.dumps(config | {"force_upcast": upcast}))
        model = configured(from_directory, str(folder), device="cpu", dtype="float16")
        with torch.no_grad():
            getattr(model.autoencoder, part).conv_in.weight.mul_(6e4)
            getattr(model.autoencoder, part).conv_in.bias.fill_(6e4)
        if upcast:
            assert call(model).isfinite().all()
    with pytest.raises(FloatingPointError, match=f"the {says} is not finite"):
        call(model)


# --- layout and compilation ---


@pytest.mark.slow
def test_channels_last_changes_the_layout_only(tiny: Tiny) -> None:
    plain, last = (
        configured(from_directory, str(tiny.sd), device="cpu", channels_last=value) for value in (False, True)
    )
    assert last.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    z = normal(5, 1, 4, 8, 8)
    torch.testing.assert_close(last.predict_noise(z, 400), plain.predict_noise(z, 400), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last.decode(z), plain.decode(z), rtol=1e-4, atol=1e-5)


class Blocks(nn.Module):
    """A residual and a feed-forward block: the classes that `compile_blocks` compiles, two of each class's widths."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = ResnetBlock2D(in_channels=8, temb_channels=4, groups=2)
        self.wide = ResnetBlock2D(in_channels=8, out_channels=16, temb_channels=4, groups=2)
        self.feed_forward = FeedForward(16)

    def forward(self, features: Tensor, time: Tensor) -> Tensor:
        features = self.wide(self.narrow(features, time), time)
        return self.feed_forward(features.flatten(2).mT)


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced and differentiated as for the real compiler; generating C++ would only add minutes.
    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **options: compile_module(self, backend="aot_eager", **options)
    )
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    monkeypatch.setattr(inductor_config, "deterministic", False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        eager = Blocks().eval().requires_grad_(False)
    compiled = copy.deepcopy(eager)
    compile_blocks(compiled)
    assert inductor_config.deterministic
    assert {name for name, module in compiled.named_modules() if module._compiled_call_impl is not None} == {
        "narrow", "wide", "feed_forward",
    }  # fmt: skip
    for height in (4, 6):
        gradients = []
        for blocks in (eager, compiled):
            features = normal(6, 1, 8, height, 5).requires_grad_(True)
            blocks(features, normal(7, 1, 4)).square().sum().backward()
            gradients.append(features.grad)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compilation_leaves_hooks_and_attention_processors_alone(tiny: Tiny) -> None:
    model = configured(from_directory, str(tiny.sd), device="cpu", compile=True)
    compiled = {
        type(module).__name__ for module in model.unet.modules() if getattr(module, "_compiled_call_impl", None)
    }
    assert compiled == {"ResnetBlock2D", "FeedForward"}
    with record_self_attention(model.unet, [0]):  # they are exchanged on modules that are not compiled
        pass


# --- encoders, depth, segmenters ---


def test_clip_tokens_are_the_towers(tiny: Tiny) -> None:
    encoder = configured(CLIPEncoder, str(tiny.clip), resolution=64, device="cpu")
    picture = normal(8, 2, 3, 64, 32).sigmoid()
    tokens = encoder(picture)
    assert tokens.shape == (2, 16, 11, 6)
    mean, deviation = torch.tensor(encoder.mean).view(3, 1, 1), torch.tensor(encoder.deviation).view(3, 1, 1)
    pixels = (resize(picture, 64, "keep", 8) - mean) / deviation
    with torch.no_grad():
        hidden = encoder.network(pixels, interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(tokens[:, :, 4, 5], hidden[:, 1 + 4 * 6 + 5])


def test_the_central_view_of_dinov2_is_that_of_its_processor(tiny: Tiny) -> None:
    # `matching.encoder_view: centre` hands over the central 7/8, resized to 224: what the published code's processor
    # makes of the whole picture, but for its rounding to bytes and the filter's reach over the crop's border.
    picture = resize(normal(9, 1, 3, 32, 32).sigmoid(), 512, "square", 8)
    processor = AutoImageProcessor.from_pretrained(tiny.dinov2)
    theirs = processor((picture[0] * 255).round().byte(), return_tensors="pt").pixel_values
    seen: list[Tensor] = []
    encoder = configured(DINOv2Encoder, str(tiny.dinov2), device="cpu")
    encoder.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder(picture[..., 32:480, 32:480])
    assert seen[0].shape == theirs.shape == (1, 3, 224, 224)
    torch.testing.assert_close(seen[0][..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], rtol=0, atol=0.03)  # 1.7 bytes


def test_depth_is_the_models(tiny: Tiny) -> None:
    picture = normal(10, 1, 3, 48, 64).sigmoid()
    depth = configured(DepthAnything, str(tiny.depth), device="cpu")(picture)
    network = DepthAnythingForDepthEstimation.from_pretrained(tiny.depth).eval()
    processor = AutoImageProcessor.from_pretrained(tiny.depth)
    bytes_ = (picture[0] * 255).round().byte().permute(1, 2, 0).numpy()
    with torch.no_grad():
        expected = network(**processor(bytes_, return_tensors="pt")).predicted_depth[0]
    assert depth.shape == expected.shape == (42, 56) and depth.dtype == torch.float32
    torch.testing.assert_close(depth, expected, rtol=0.02, atol=0.02 * float(expected.std()))


def test_smaller_masks_lie_on_larger_ones() -> None:
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 1:3] = True  # inside the second
    masks[1, :, :4] = True
    masks[2, 0, 3:5] = True  # overlaps the second
    expected = torch.tensor([[1, 1, 1, 3, 3, 0], [1, 2, 2, 1, 0, 0], [1, 2, 2, 1, 0, 0], [1, 1, 1, 1, 0, 0]])
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        assert torch.equal(stack_masks(list(masks[order]), (4, 6)), expected)
    assert torch.equal(stack_masks([], (2, 2)), torch.zeros(2, 2, dtype=torch.int64))


def test_sam_labels_the_picture_by_its_masks(tiny: Tiny) -> None:
    picture = normal(11, 1, 3, 64, 80).sigmoid()
    labels = configured(SAM, str(tiny.sam), points_per_side=4, predicted_overlap=0, stability=0, device="cpu")(picture)
    assert labels.shape == (64, 80) and labels.dtype == torch.int64 and labels.max() >= 1
    strict = configured(SAM, str(tiny.sam), points_per_side=4, predicted_overlap=1, stability=1, device="cpu")(picture)
    assert not strict.any()  # no mask is good enough: nothing is labelled


@pytest.mark.slow
@pytest.mark.parametrize(
    "build,path", [(DINOv2Encoder, "clip"), (CLIPEncoder, "dinov2"), (DepthAnything, "sam"), (SAM, "depth")]
)
def test_a_directory_of_another_network_is_not_filled_up_with_random_weights(build: Any, path: str, tiny: Tiny) -> None:
    with pytest.raises(InputError, match=r"another (encoder|depth|segmenter)\.path"):
        configured(build, str(getattr(tiny, path)), device="cpu")


def test_a_network_without_one_of_its_weights(tiny: Tiny, tmp_path: Path) -> None:
    for part, name, build in (
        (tiny.dinov2, "model.safetensors", lambda path: configured(DINOv2Encoder, path, device="cpu")),
        (tiny.sd, "unet/diffusion_pytorch_model.safetensors", lambda path: configured(from_directory, path, "cpu")),
    ):
        folder = tmp_path / part.name
        shutil.copytree(part, folder)
        weights = load_file(folder / name)
        weights.pop(next(iter(weights)))
        save_file(weights, folder / name, {"format": "pt"})
        with pytest.raises(InputError, match="not a readable"):
            build(str(folder))
