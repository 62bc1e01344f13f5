"""The latent diffusion model: any diffusers directory of Stable Diffusion's topology behind five calls.

Images are float32 (B, 3, H, W) in [0, 1]; latents are scaled latents, float32 (B, C, H / stride, W / stride).
Grid, channels, layer numbers, null prompt and prediction type all come from the loaded directory.
"""

import importlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from diffusers import DDIMScheduler
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar

from stylegallery.attention import SelfAttention, record_self_attention, self_attention_layers
from stylegallery.errors import InputError, require
from stylegallery.weights import locate

disable_progress_bar()  # of loading weights: it would break into the bars of a run

PARAMETRISATIONS = ("epsilon", "v_prediction")
COMPONENT_LIBRARIES = {"diffusers", "transformers", "stylegallery.embedded.autoencoder"}


class InversionStep(NamedTuple):
    """One step of DDIM inversion: the timestep reached, its latent (B, C, h, w), features (B, C', h, w)."""

    timestep: int
    latents: Tensor
    features: Tensor


class DiffusionModel:
    """UNet, autoencoder, DDIM schedule and null prompt of a pretrained latent diffusion model."""

    def __init__(self, unet: nn.Module, autoencoder: nn.Module, scheduler: DDIMScheduler, null_prompt: Tensor) -> None:
        # Any: diffusers' models carry a `config` and methods that nn.Module's type does not know.
        self.unet = cast(Any, unet.eval().requires_grad_(False))
        self.autoencoder = cast(Any, autoencoder.eval().requires_grad_(False))
        self.scheduler = scheduler
        self.null_prompt = null_prompt
        parametrisation = scheduler.config["prediction_type"]
        require(parametrisation in PARAMETRISATIONS, f"prediction_type is one of {PARAMETRISATIONS}", parametrisation)
        self.device, self.dtype = null_prompt.device, null_prompt.dtype
        self.latent_channels: int = self.unet.config["in_channels"]
        self.stride: int = 64 // self.encode(torch.zeros(1, 3, 64, 64)).shape[-1]
        self.layer_count = len(self_attention_layers(unet))

    @classmethod
    def from_directory(cls, path: str, device: str = "auto", dtype: str = "float32") -> "DiffusionModel":
        """Load a directory in diffusers layout; a name that is no directory is looked up in the local hub cache.

        Raises:
            InputError: the model is not on this machine, or a part of it cannot be read.
        """
        folder = locate(path)
        require(dtype in ("float32", "bfloat16", "float16"), "dtype is float32, bfloat16 or float16", dtype)
        options = {"torch_dtype": getattr(torch, dtype), "local_files_only": True}
        try:
            index = json.loads((folder / "model_index.json").read_text())
            scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
            unet = component(index, "unet").from_pretrained(folder / "unet", **options)
            autoencoder = component(index, "vae").from_pretrained(folder / "vae", **options)
            tokenizer = component(index, "tokenizer").from_pretrained(folder / "tokenizer")
            text_encoder = component(index, "text_encoder").from_pretrained(
                folder / "text_encoder", dtype=getattr(torch, dtype), local_files_only=True
            )
        except (OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError, SafetensorError) as error:
            first_line = str(error).partition("\n")[0]
            raise InputError(
                f"{folder} is not a readable diffusers model ({type(error).__name__}: {first_line}); "
                "restore the folder or pass another model.path"
            ) from error
        place = pick_device(device)
        tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
        with torch.no_grad():
            null_prompt = text_encoder.to(place)(tokens.input_ids.to(place)).last_hidden_state
        return cls(unet.to(place), autoencoder.to(place), scheduler, null_prompt)

    # --- images and latents ---

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents of images: posterior mean times the scaling factor."""
        posterior = self.autoencoder.encode(images.to(self.device, self.dtype) * 2 - 1).latent_dist
        return posterior.mode().float() * self.autoencoder.config["scaling_factor"]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images of latents, clamped to [0, 1]."""
        scaled = (latents / self.autoencoder.config["scaling_factor"]).to(self.dtype)
        return (self.autoencoder.decode(scaled).sample.float() / 2 + 0.5).clamp(0, 1)

    # --- the denoiser ---

    def timesteps(self, steps: int) -> list[int]:
        """The scheduler's `steps` DDIM timesteps, high to low."""
        self.scheduler.set_timesteps(steps)
        return [int(t) for t in self.scheduler.timesteps]

    def predict_noise(self, latents: Tensor, timestep: int) -> Tensor:
        """ε-prediction of the UNet under the null prompt, whatever its native parametrisation.

        Raises:
            FloatingPointError: the prediction is not finite.
        """
        prompt = self.null_prompt.expand(len(latents), -1, -1)
        prediction = self.unet(latents.to(self.dtype), timestep, encoder_hidden_states=prompt).sample.float()
        if not prediction.isfinite().all():
            raise FloatingPointError(f"the UNet's prediction is not finite at timestep {timestep}")
        if self.scheduler.config["prediction_type"] == "v_prediction":
            alpha_bar = self.alpha_bar(timestep)
            return alpha_bar.sqrt() * prediction + (1 - alpha_bar).sqrt() * latents
        return prediction

    def alpha_bar(self, timestep: int) -> Tensor:
        """ᾱ_t, a scalar tensor: the share of signal variance at a timestep."""
        return self.scheduler.alphas_cumprod[timestep].to(self.device)

    @torch.no_grad()
    def invert(self, latents: Tensor, steps: int) -> Iterator[InversionStep]:
        """Deterministic DDIM inversion from clean latents, one yield per step, least noisy first.

        With ascending timesteps t and t' = max(0, t − 1000 // steps), as the published code does it:
        z ← (z − √(1−ᾱ_t') ε) √ᾱ_t / √ᾱ_t' + √(1−ᾱ_t) ε with ε = UNet(z, t).
        Features are the output of the UNet's third up block.
        """
        caught: list[Tensor] = []
        hook = self.unet.up_blocks[2].register_forward_hook(lambda module, inputs, output: caught.append(output))
        interval = self.scheduler.config["num_train_timesteps"] // steps
        try:
            for timestep in reversed(self.timesteps(steps)):
                noise = self.predict_noise(latents, timestep)
                now, following = self.alpha_bar(max(0, timestep - interval)), self.alpha_bar(timestep)
                clean = (latents - (1 - now).sqrt() * noise) / now.sqrt()
                latents = following.sqrt() * clean + (1 - following).sqrt() * noise
                yield InversionStep(timestep, latents, caught.pop().float())
        finally:
            hook.remove()

    def self_attention(self, latents: Tensor, timestep: int, layers: Sequence[int]) -> list[SelfAttention]:
        """Queries, keys, values and outputs of the listed self-attention layers; keeps the graph if grad is on."""
        with record_self_attention(self.unet, layers) as records:
            self.predict_noise(latents, timestep)
        return [SelfAttention(*(tensor.float() for tensor in record)) for record in records]

    @torch.no_grad()
    def project(self, latents: Tensor, timestep: int) -> Tensor:
        """The model's estimate of the clean latents when `latents` are taken for clean ones seen at `timestep`.

        One prediction at low noise removes what no picture has, such as a trace of the patch grid.
        """
        alpha_bar = self.alpha_bar(timestep)
        noisy = alpha_bar.sqrt() * latents
        return (noisy - (1 - alpha_bar).sqrt() * self.predict_noise(noisy, timestep)) / alpha_bar.sqrt()


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name} is not to be had here; pass device=cpu or device=auto") from error


def component(index: dict[str, Any], part: str) -> Any:
    """The class that model_index.json names for a part; only from libraries this project trusts."""
    library, name = index[part]
    if library not in COMPONENT_LIBRARIES:
        raise InputError(f"model_index.json asks for {library}.{name}, which is not one of {COMPONENT_LIBRARIES}")
    return getattr(importlib.import_module(library), name)
