"""The latent diffusion model: what it finds in a directory, latents, inversion, and how it fails."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from composing import configured
from conftest import normal
from diffusers import DDIMScheduler
from published_vectors import SHARED_VECTORS, VECTORS, needs_shared, shared_case
from safetensors.torch import load_file
from torch import Tensor, nn

from stylegallery.devices import pick_device
from stylegallery.errors import InputError
from stylegallery.inversion import fuse
from stylegallery.models.diffusion import DiffusionModel, InversionStep
from stylegallery.models.factory import from_directory
from stylegallery.models.unet import UNetModel


class StubUNet(nn.Module):
    """A UNet whose answer is a function of (latents, timestep); up_blocks[2] exists for the feature hook."""

    def __init__(self, answer: Any, channels: int = 4) -> None:
        super().__init__()
        self.answer = answer
        self.config = {"in_channels": channels}
        self.up_blocks = nn.ModuleList([nn.Identity(), nn.Identity(), nn.Identity(), nn.Identity()])
        self.calls: list[tuple[torch.Size, int]] = []

    def forward(self, latents: Tensor, timestep: int, encoder_hidden_states: Tensor) -> SimpleNamespace:
        assert encoder_hidden_states.shape[0] == latents.shape[0]
        self.calls.append((latents.shape, timestep))
        self.up_blocks[2](torch.cat([latents, latents], 1))
        return SimpleNamespace(sample=self.answer(latents, timestep))


class StubAutoencoder(nn.Module):
    """Average pooling: an autoencoder with a stride of its own."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride, self.config = stride, {"scaling_factor": 0.5}

    def encode(self, images: Tensor) -> SimpleNamespace:
        mean = nn.functional.avg_pool2d(images, self.stride)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: mean))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents)


def stub(answer: Any, stride: int = 4, prediction_type: str = "epsilon") -> DiffusionModel:
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, set_alpha_to_one=False,
        clip_sample=False, prediction_type=prediction_type,
    )  # fmt: skip
    return UNetModel(StubUNet(answer), StubAutoencoder(stride), scheduler, torch.zeros(1, 3, 8))


# --- what comes from the directory ---


def test_stride_and_layers_come_from_the_model(model: DiffusionModel) -> None:
    assert (model.stride, model.layer_count) == (8, 16)
    assert model.encode(torch.rand(2, 3, 64, 128)).shape == (2, 4, 8, 16)
    assert not any(parameter.requires_grad for parameter in model.unet.parameters())
    assert not model.unet.training and not model.autoencoder.training


@pytest.mark.parametrize("stride", [2, 4, 16])
def test_another_stride_is_found(stride: int) -> None:
    assert stub(lambda z, t: z, stride).stride == stride


def test_the_device_can_be_chosen() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("steps,expected", [(4, [751, 501, 251, 1]), (1, [1])])
def test_timesteps_run_from_high_to_low(steps: int, expected: list[int]) -> None:
    assert stub(lambda z, t: z).timesteps(steps) == expected


@pytest.mark.parametrize("steps,first", [(15, 925), (20, 951), (50, 981), (150, 895), (200, 996), (300, 898)])
def test_timesteps_start_where_the_integer_ratio_puts_them(steps: int, first: int) -> None:
    timesteps = stub(lambda z, t: z).timesteps(steps)
    assert (len(timesteps), timesteps[0], timesteps[-1]) == (steps, first, 1)


def test_asking_for_timesteps_again_changes_nothing(model: DiffusionModel) -> None:
    before = model.timesteps(7)
    model.timesteps(50)
    assert model.timesteps(7) == before


# --- images and latents ---


@needs_shared
def test_encode_decode_and_null_prompt_as_published(shared_model: DiffusionModel) -> None:
    case = load_file(SHARED_VECTORS / "stylegallery" / "case00_vae_and_prompt.safetensors")
    torch.testing.assert_close(shared_model.encode(case["image"]), case["latent"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared_model.decode(case["latent_in"]), case["image_out"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared_model.null_prompt, case["text_embeds"], rtol=1e-4, atol=1e-4)


def test_encoding_is_deterministic_and_one_image_at_a_time(model: DiffusionModel) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together = model.encode(images)
    torch.testing.assert_close(together, torch.cat([model.encode(images[:1]), model.encode(images[1:])]))
    torch.testing.assert_close(model.encode(images), together, rtol=0, atol=0)  # the mean, not a sample


def test_decoded_images_are_clamped_to_their_range() -> None:
    z = 2 * normal(0, 1, 3, 8, 8)
    image = stub(lambda z, t: z).decode(z)  # the scaling factor of the stub is 0.5, its decoder the identity
    torch.testing.assert_close(image, ((z / 0.5 + 1) / 2).clamp(0, 1))
    assert image.min() == 0 and image.max() == 1


def test_encoding_undoes_decoding_where_the_autoencoder_is_the_identity() -> None:
    model = stub(lambda z, t: z, stride=1)
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.decode(model.encode(image)), image)


# --- predictions ---


def test_v_prediction_becomes_noise() -> None:
    clean, noise = normal(1, 2, 4, 8, 8), normal(2, 2, 4, 8, 8)
    plain = stub(lambda z, t: z)
    for timestep in (1, 300, 925):
        alpha_bar = plain.alpha_bar(timestep)
        velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean
        model = stub(lambda z, t, velocity=velocity: velocity, prediction_type="v_prediction")
        noisy = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise
        torch.testing.assert_close(model.predict_noise(noisy, timestep), noise, rtol=1e-5, atol=1e-5)


def test_the_same_network_read_as_velocity_gives_the_conversion(model: DiffusionModel) -> None:
    scheduler = DDIMScheduler.from_config(model.scheduler.config, prediction_type="v_prediction")
    velocity_model = UNetModel(model.unet, model.autoencoder, scheduler, model.null_prompt)
    noisy = normal(3, 1, 4, 8, 8)
    alpha_bar = model.scheduler.alphas_cumprod[400]
    expected = alpha_bar.sqrt() * model.predict_noise(noisy, 400) + (1 - alpha_bar).sqrt() * noisy
    torch.testing.assert_close(velocity_model.predict_noise(noisy, 400), expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_prediction_that_is_not_finite_names_the_timestep(value: float) -> None:
    model = stub(lambda z, t: torch.where(torch.arange(z.numel()).view(z.shape) == 3, value, z))
    with pytest.raises(FloatingPointError, match="timestep 437"):
        model.predict_noise(normal(4, 1, 4, 8, 8), 437)


# --- inversion ---


def test_fused_features_as_published() -> None:
    case = load_file(VECTORS / "case01_weighted_features.safetensors")
    torch.testing.assert_close(fuse(list(case["T15/features"])), case["T15/fused"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 4, 15, 20, 50])
def test_weights_of_the_fusion_as_published(count: int) -> None:
    weights = fuse(list(torch.eye(count)))  # one-hot features show the weights
    published = load_file(VECTORS / "case01_weighted_features.safetensors")[f"weights/T{count}"]
    torch.testing.assert_close(weights, published, rtol=1e-5, atol=1e-6)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)


@needs_shared
@pytest.mark.parametrize("steps", [4, 15])
@pytest.mark.slow
def test_inversion_as_published(shared_model: DiffusionModel, steps: int) -> None:
    case, settings = shared_case("stylegallery", "case02_forward_process")
    scalars = settings[f"T{steps}"]
    trace = list(shared_model.invert(case["latent0"], steps))
    assert [step.timestep for step in trace] == scalars["timesteps_ascending"]
    torch.testing.assert_close(trace[0].latents, case[f"T{steps}/latent_first"], rtol=0, atol=2e-4)
    torch.testing.assert_close(trace[-1].latents, case[f"T{steps}/latent_last"], rtol=0, atol=2e-4)
    fused = fuse([step.features for step in trace])
    if steps == 15:
        torch.testing.assert_close(fused, case["T15/fused"], rtol=0, atol=5e-5)
    else:
        torch.testing.assert_close(fused[:, ::6, ::4, ::4], case["T4/fused_strided"], rtol=0, atol=5e-5)
    for step, name in ((trace[0], "first"), (trace[-1], "last")):
        expected = case[f"T{steps}/raw_feature_{name}_strided"]
        torch.testing.assert_close(step.features[:, ::6, ::4, ::4], expected, rtol=1e-4, atol=1e-3)


def test_inversion_under_constant_noise_lands_on_the_closed_form() -> None:
    # With a noise that does not change, the steps telescope to one jump from ᾱ at 0 to ᾱ at the last timestep.
    noise, clean = normal(5, 1, 4, 8, 8), normal(6, 1, 4, 8, 8)
    model = stub(lambda z, t: noise)
    *_, last = model.invert(clean, 4)
    start, end = model.alpha_bar(0), model.alpha_bar(751)
    expected = end.sqrt() * (clean - (1 - start).sqrt() * noise) / start.sqrt() + (1 - end).sqrt() * noise
    torch.testing.assert_close(last.latents, expected, rtol=1e-4, atol=1e-5)


def test_inversion_asks_at_the_timestep_it_goes_to_and_reads_the_third_up_block() -> None:
    model = stub(lambda z, t: 0.1 * z)
    seen: list[InversionStep] = list(model.invert(normal(7, 2, 4, 8, 8), 4))
    assert [timestep for _, timestep in model.unet.calls] == [1, 251, 501, 751] == [step.timestep for step in seen]
    inputs = [normal(7, 2, 4, 8, 8), *(step.latents for step in seen[:-1])]
    for step, given in zip(seen, inputs, strict=True):
        torch.testing.assert_close(step.features, torch.cat([given, given], 1))


def test_inversion_then_denoising_comes_back() -> None:
    # DDIM is reversible up to its step size: the way back from many steps must end near the start. The noise is a
    # smooth function of the latent, as a trained network's is and a random one's is not.
    model, start, errors = stub(lambda z, t: 0.7 * torch.tanh(z)), normal(8, 1, 4, 8, 8), []
    for steps in (20, 200):
        *_, last = model.invert(start, steps)
        z = last.latents
        for timestep in model.timesteps(steps):
            noise = model.predict_noise(z, timestep)
            now, before = model.alpha_bar(timestep), model.alpha_bar(max(0, timestep - 1000 // steps))
            z = before.sqrt() * (z - (1 - now).sqrt() * noise) / now.sqrt() + (1 - before).sqrt() * noise
        errors.append(float((z - start).norm() / start.norm()))
    # Inversion asks at the target timestep, denoising at the same one: what differs is the latent only.
    assert errors[1] < 0.3 * errors[0] and errors[1] < 0.05, errors


def test_the_feature_hook_is_gone_after_inversion_even_if_it_was_left_early(model: DiffusionModel) -> None:
    hooks = model.unet.up_blocks[2]._forward_hooks
    list(model.invert(normal(9, 1, 4, 8, 8), 2))
    assert not hooks
    generator = model.invert(normal(9, 1, 4, 8, 8), 3)
    next(generator)
    assert torch.is_grad_enabled()  # switched off inside the generator only
    generator.close()
    assert not hooks


# --- projection ---


@pytest.mark.parametrize("timestep", [1, 60, 500])
def test_projection_with_the_exact_noise_gives_the_clean_latent(timestep: int) -> None:
    clean = normal(10, 1, 4, 8, 8)
    trace = 0.3 * normal(11, 1, 4, 8, 8)
    # The network knows the clean latent: what it is shown is √ᾱ (clean + trace), so its noise explains the trace.
    model = stub(lambda z, t: (z - model.alpha_bar(t).sqrt() * clean) / (1 - model.alpha_bar(t)).sqrt())
    torch.testing.assert_close(model.project(clean + trace, timestep), clean, rtol=1e-4, atol=1e-4)
    assert model.unet.calls[-1][1] == timestep


def test_projection_without_noise_changes_nothing() -> None:
    z = normal(12, 2, 4, 8, 8)
    torch.testing.assert_close(stub(lambda z, t: torch.zeros_like(z)).project(z, 200), z)


# --- directories that cannot be used ---


@pytest.fixture
def copied(tiny_model: str | Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    for path in folder.rglob("*"):  # the original may be read-only
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o755)
    return folder


def rewrite_index(folder: Path, **parts: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing-here"):
        configured(from_directory, str(tmp_path / "nothing-here"))


@pytest.mark.parametrize(
    ("part", "library", "name"),
    [
        ("text_encoder", "transformers", "AutoModel"),  # its config could name code of the folder
        ("unet", "diffusers", "DiffusionPipeline"),
        ("tokenizer", "transformers", "AutoTokenizer"),
        ("unet", "diffusers", "utils"),
        ("unet", "os", "system"),
    ],
)
def test_a_part_that_is_no_network_or_tokenizer(copied: Path, part: str, library: str, name: str) -> None:
    rewrite_index(copied, **{part: [library, name]})
    with pytest.raises(InputError, match=f"model_index.json asks for {library}.{name}"):
        configured(from_directory, str(copied), device="cpu")


@pytest.mark.parametrize("part", ["unet", "vae", "scheduler", "text_encoder", "model_index.json"])
def test_a_missing_part(copied: Path, part: str) -> None:
    shutil.rmtree(copied / part) if (copied / part).is_dir() else (copied / part).unlink()
    with pytest.raises(InputError, match="; add what is missing or pass another"):
        configured(from_directory, str(copied), device="cpu")


def test_a_missing_tokenizer(copied: Path) -> None:
    shutil.rmtree(copied / "tokenizer")
    with pytest.raises(InputError, match="; add what is missing or pass another"):
        configured(from_directory, str(copied), device="cpu")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_truncated_weights(copied: Path, part: str) -> None:
    (weights,) = (copied / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(InputError, match="; restore it or pass another"):
        configured(from_directory, str(copied), device="cpu")


@pytest.mark.parametrize("text", ["{not json", "[]", "{}"])
def test_an_index_that_says_nothing(copied: Path, text: str) -> None:
    (copied / "model_index.json").write_text(text)
    with pytest.raises(InputError, match="; restore it or pass another"):
        configured(from_directory, str(copied), device="cpu")


@pytest.mark.parametrize(
    "entry", [["os", "system"], ["diffusers_evil", "UNet2DConditionModel"], ["subprocess", "Popen"]]
)
def test_an_index_that_names_a_library_nobody_trusts(copied: Path, entry: list[str]) -> None:
    rewrite_index(copied, unet=entry)
    with pytest.raises(InputError, match=f"{entry[0]}.{entry[1]}"):
        configured(from_directory, str(copied), device="cpu")


@pytest.mark.parametrize("entry", [["diffusers", "NoSuchModel"], [None, None], None])
def test_an_index_that_names_a_class_that_does_not_exist(copied: Path, entry: Any) -> None:
    rewrite_index(copied, unet=entry)
    with pytest.raises(InputError):
        configured(from_directory, str(copied), device="cpu")
