"""Models as people have them: one-file checkpoints, variants, shards, and what is said of what cannot be loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from composing import configured
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers_parts import save_controlnet, save_xl
from original_layout import save_one_file
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from baselines.controlnet import load_controlnet, load_pipeline
from stylegallery.encoders import DINOv2Encoder
from stylegallery.errors import InputError
from stylegallery.models import pretrained, single_file
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.models.factory import from_directory
from stylegallery.models.single_file import TOPOLOGIES, clip_tokenizer
from stylegallery.provenance import weights_digest

PIXELS = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)


@pytest.fixture(scope="module")
def topologies(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models in place of the topologies of the real ones."""
    root = tmp_path_factory.mktemp("topologies")
    (root / "sd1").symlink_to(tiny_model)
    save_xl(tiny_model, root / "sdxl")
    return root


@pytest.fixture
def tiny_topologies(topologies: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(single_file, "TOPOLOGIES", topologies)
    tokenizer = CLIPTokenizer.from_pretrained(tiny_model / "tokenizer")
    monkeypatch.setattr(pretrained, "clip_tokenizer", lambda *_: tokenizer)
    return topologies


def assert_same(one: DiffusionModel, other: DiffusionModel) -> None:
    """Equal up to rounding, which depends on where a file's tensors lie in memory."""
    latents = one.encode(PIXELS)
    for result, expected in (
        (one.null_prompt, other.null_prompt),
        (latents, other.encode(PIXELS)),
        (one.predict_noise(latents, 401), other.predict_noise(latents, 401)),
        (one.decode(latents), other.decode(latents)),
    ):
        assert torch.allclose(result, expected, atol=1e-5)


def load(path: Path) -> DiffusionModel:
    return configured(from_directory, str(path), device="cpu")


# --- one file ---


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_single_file_is_the_model_of_its_folder(
    tiny_topologies: Path, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = save_one_file(tiny_topologies / kind, tmp_path / "traded.safetensors", text=kind == "sd1")
    if kind == "sdxl":
        state = load_file(file) | {"conditioner.embedders.1.model.logit_scale": torch.ones(())}
        save_file(state, file)
    model = load(file)
    assert "should be kept in float32" not in caplog.text  # of no modules at all, says diffusers
    assert_same(model, load(tiny_topologies / kind))


@pytest.mark.slow
def test_single_file_in_half_precision(tiny_topologies: Path, tmp_path: Path) -> None:
    file = save_one_file(tiny_topologies / "sd1", tmp_path / "half.safetensors", dtype=torch.float16)
    model = load(file)
    assert model.unet.dtype == torch.float32
    latents = model.encode(PIXELS)
    expected = load(tiny_topologies / "sd1").predict_noise(latents, 401)
    assert torch.allclose(model.predict_noise(latents, 401), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("error::FutureWarning")  # what the libraries call deprecated
def test_the_pipeline_of_the_baselines_reads_one_file(tiny_topologies: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = save_one_file(tiny_model, tmp_path / "traded.safetensors")
    controlnet = load_controlnet(str(file), None, torch.float32)  # on the meta device
    one, other = (load_pipeline(str(base), controlnet.to_empty(device="cpu"), "cpu", torch.float32)
                  for base in (file, tiny_model))  # fmt: skip
    prompts = [pipeline.encode_prompt("a cat", "cpu", 1, True, "dog") for pipeline in (one, other)]
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(*prompts, strict=True))
    for weights in zip(one.unet.parameters(), other.unet.parameters(), strict=True):
        assert torch.equal(*weights)


def test_the_digest_of_one_file_is_that_of_its_weights(tiny_model: Path, tmp_path: Path) -> None:
    digests = []
    for name, value in (("a", 0.0), ("b", 1.0)):
        file = save_one_file(tiny_model, tmp_path / f"{name}.safetensors")
        state = load_file(file)
        state["model.diffusion_model.out.2.bias"] += value
        (tmp_path / name).mkdir()
        save_file(state, tmp_path / name / "traded.safetensors")
        digests.append(weights_digest(str(tmp_path / name / "traded.safetensors")))
    assert digests[0] != digests[1]


@pytest.mark.slow
def test_the_topologies_are_those_of_the_published_models() -> None:
    """Numbers of weights as the repositories of Stable Diffusion 1.5 and XL have them."""
    counts = {}
    with torch.device("meta"):
        for kind in ("sd1", "sdxl"):
            for family, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae")):
                network = family.from_config(family.load_config(TOPOLOGIES / kind / part))
                counts[kind, part] = sum(weight.numel() for weight in network.parameters())
        for family, part in ((CLIPTextModel, "text_encoder"), (CLIPTextModelWithProjection, "text_encoder_2")):
            network = family(CLIPTextConfig.from_pretrained(TOPOLOGIES / "sdxl" / part))
            counts["sdxl", part] = sum(weight.numel() for weight in network.parameters())
    assert counts == {
        ("sd1", "unet"): 859_520_964, ("sd1", "vae"): 83_653_863,
        ("sdxl", "unet"): 2_567_463_684, ("sdxl", "vae"): 83_653_863,
        ("sdxl", "text_encoder"): 123_060_480, ("sdxl", "text_encoder_2"): 694_659_840,
    }  # fmt: skip


def test_the_vocabulary_is_clips() -> None:
    for text in ("", "a photo of a cat's hat, 2 dogs", "Ünïcode — by   Monet"):
        expected = open_clip.tokenizer.tokenize([text])[0]
        length = int(expected.count_nonzero())
        for pad_token, number in (("<|endoftext|>", 49407), ("!", 0)):
            tokens = clip_tokenizer(pad_token)(text, padding="max_length", max_length=77).input_ids
            assert tokens[:length] == expected[:length].tolist() and set(tokens[length:]) == {number}


FIRST, TEXT = single_file.FIRST, single_file.TEXT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({FIRST: torch.zeros(8, 9, 3, 3)}, "is an inpainting or depth model; pass the model as a folder in diffusers"),
        ({FIRST: torch.zeros(8, 4, 3, 3), TEXT: torch.zeros(8, 1024)}, "is Stable Diffusion 2, of which a file does"),
        ({FIRST: torch.zeros(8, 4, 3, 3), "v_pred": torch.zeros(0)}, "is a model that predicts v; pass the model as"),
        (
            {FIRST: torch.zeros(8, 4, 3, 3), "conditioner.embedders.0.model.logit_scale": torch.zeros(())},
            "is SDXL's refiner; pass the model as a folder in diffusers layout",
        ),
        ({"lora_unet_down.alpha": torch.zeros(1)}, "holds no Stable Diffusion model in one file (its first weight is"),
        ({"lora_unet_down.alpha": torch.zeros(1)}, "a folder in diffusers layout, or a LoRA as model.lora="),
        ({FIRST: torch.zeros(8)}, "holds no Stable Diffusion model in one file (its first weight is model.diffusion"),
        ({FIRST: torch.zeros(8, 4, 3, 3), TEXT: torch.zeros(())}, "is not a readable diffusers model"),
    ],
)
def test_single_file_of_another_kind(weights: dict[str, torch.Tensor], says: str, tmp_path: Path) -> None:
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "other.safetensors")
    message = str(caught.value)
    assert says in message and "download" not in message
    assert "restore" not in message or "weights are missing of the unet" in message


@pytest.mark.slow
def test_single_file_without_its_autoencoder_or_cut_short(tiny_topologies: Path, tmp_path: Path) -> None:
    file = save_one_file(tiny_topologies / "sd1", tmp_path / "traded.safetensors")
    whole = file.read_bytes()
    state = {name: value for name, value in load_file(file).items() if not name.startswith("first_stage_model")}
    save_file(state, file)
    with pytest.raises(InputError, match=r"traded\.safetensors is not a readable .*it has no weights for the vae\)"):
        load(file)
    state = load_file(save_one_file(tiny_topologies / "sd1", file))
    del state["model.diffusion_model.out.2.bias"]
    save_file(state, file)
    with pytest.raises(InputError, match=r"weights are missing of the unet\); restore it or"):
        load(file)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"traded\.safetensors is not whole .*; copy or download it again"):
        load(file)
    file.rename(tmp_path / "traded.SAFETENSORS")
    with pytest.raises(InputError, match=r"traded\.SAFETENSORS is no \.safetensors file; rename it to one"):
        load(tmp_path / "traded.SAFETENSORS")
    (tmp_path / "traded.SAFETENSORS").rename(tmp_path / "traded.ckpt")
    with pytest.raises(InputError, match=r"traded\.ckpt is no \.safetensors file; convert it to one"):
        load(tmp_path / "traded.ckpt")


# --- folders ---


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["10GB", "100KB"])
def test_a_folder_that_holds_only_a_variant(copied: Path, tiny_model: Path, size: str) -> None:
    """Whole and in shards, as `save_pretrained(variant="fp16")` writes it."""
    for family, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder")):
        network = family.from_pretrained(copied / part)
        shutil.rmtree(copied / part)
        network.save_pretrained(copied / part, variant="fp16", max_shard_size=size)
        assert list((copied / part).glob("*fp16*.safetensors"))
    assert_same(load(copied), load(tiny_model))


@pytest.mark.slow
def test_a_variant_beside_the_weights_is_left_alone(copied: Path, tiny_model: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not read")
    assert_same(load(copied), load(tiny_model))


@pytest.mark.slow
@pytest.mark.filterwarnings("error::FutureWarning")  # what the libraries call deprecated
def test_a_pipeline_and_a_controlnet_of_variants(copied: Path, tiny_model: Path, tmp_path: Path) -> None:
    controlnet = save_controlnet(tiny_model, tmp_path / "controlnet")
    for part in (copied / "unet", copied / "vae", copied / "text_encoder", controlnet):
        (file,) = part.glob("*.safetensors")
        file.rename(file.with_suffix(".fp16.safetensors"))
    pipeline = load_pipeline(
        str(copied), load_controlnet(str(copied), str(controlnet), torch.float32), "cpu", torch.float32
    )
    assert torch.equal(pipeline.unet.conv_in.weight, load(tiny_model).unet.conv_in.weight)


def index_of(copied: Path, **index: Any) -> None:
    (copied / "model_index.json").write_text(json.dumps(index))


def test_an_intact_folder_is_not_to_be_restored(copied: Path, tmp_path: Path) -> None:
    """What is said of another kind of model, of its place, and of what lies there instead."""
    index_of(copied, _class_name="FluxPipeline", transformer=["diffusers", "FluxTransformer2DModel"])
    with pytest.raises(InputError, match="is a FluxPipeline, which has no unet; pass a model of Stable Diffusion"):
        load(copied)
    (copied / "model_index.json").unlink()
    shutil.copy(next((copied / "unet").glob("*.safetensors")), copied / "traded.safetensors")
    with pytest.raises(InputError, match=r"has no model_index\.json .*; if traded\.safetensors holds a whole model"):
        load(copied)
    for path in ("./models/nowhere", str(tmp_path / "nowhere"), "photo.safetensors", "models/traded.safetensors"):
        with pytest.raises(InputError, match=r"is neither a folder nor a name in weights\.yaml; check the path"):
            configured(from_directory, path)
    with pytest.raises(InputError, match=r"traded\.safetensors is a file where a folder is needed; pass the folder"):
        configured(DINOv2Encoder, str(copied / "traded.safetensors"))


def test_a_part_of_other_sizes_is_not_damaged(copied: Path) -> None:
    config = json.loads((copied / "unet" / "config.json").read_text())
    (copied / "unet" / "config.json").write_text(json.dumps(config | {"block_out_channels": [16, 32, 32, 64]}))
    with pytest.raises(InputError, match=r"expected shape .*\); pass another model\.path"):
        load(copied)
