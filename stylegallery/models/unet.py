"""The latent diffusion model: any diffusers directory of Stable Diffusion's topology (1.x, 2.x, XL) behind a few calls.

Images are float32 (B, 3, H, W) in [0, 1]; latents are scaled latents, float32 (B, C, H / stride, W / stride).
Grid, channels, layer numbers, null prompt and prediction type all come from the loaded directory. Weights have the
chosen dtype; what goes in and comes out, and its gradients, are float32.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from diffusers import DDIMScheduler, LCMScheduler
from torch import Tensor, nn

from stylegallery.devices import pick_device, pick_dtype
from stylegallery.errors import InputError, SettingsError, require
from stylegallery.models.attention import SelfAttention, record_self_attention, self_attention_layers
from stylegallery.models.pretrained import (
    UNREADABLE,
    compile_blocks,
    fuse_lora,
    load,
    model_files,
    null_prompts,
    unusable,
)
from stylegallery.settings import Dtype, checked
from stylegallery.weights import locate_file

PARAMETRISATIONS = ("epsilon", "v_prediction")
GRADIENT_SCALE = 2.0**12  # of gradients on their way through a float16 UNet, where those of mean losses would underflow


class InversionStep(NamedTuple):
    """One step of DDIM inversion: the timestep reached, its latent (B, C, h, w), features (B, C', h, w)."""

    timestep: int
    latents: Tensor
    features: Tensor


class DiffusionModel:
    """UNet, autoencoder, DDIM schedule and null prompt of a pretrained latent diffusion model.

    `null_prompt` is (1, n, d), `pooled_prompt` (1, p) for UNets that take size and pooled text as added conditions.
    `sampler` gives the timesteps of `timesteps`. Inversion follows `scheduler` and asks `inversion_unet`: the one
    without the LoRA that accelerates the sampler, as published. `paints_from_noise` is false of a model too small for
    it, whose model_index.json says so.
    """

    def __init__(
        self,
        unet: nn.Module,
        autoencoder: nn.Module,
        scheduler: DDIMScheduler,
        null_prompt: Tensor,
        pooled_prompt: Tensor | None = None,
        inversion_unet: nn.Module | None = None,
        sampler: DDIMScheduler | LCMScheduler | None = None,
        paints_from_noise: bool = True,
    ) -> None:
        # Any: diffusers' models carry a `config` and methods that nn.Module's type does not know.
        self.unet = cast(Any, unet.eval().requires_grad_(False))
        self.inversion_unet = cast(Any, (inversion_unet or unet).eval().requires_grad_(False))
        self.autoencoder = cast(Any, autoencoder.eval().requires_grad_(False))
        self.scheduler, self.sampler = scheduler, sampler or scheduler
        self.null_prompt, self.pooled_prompt = null_prompt, pooled_prompt
        self.paints_from_noise = paints_from_noise
        parametrisation = scheduler.config["prediction_type"]
        require(parametrisation in PARAMETRISATIONS, f"prediction_type is one of {PARAMETRISATIONS}", parametrisation)
        self.device, self.dtype = null_prompt.device, null_prompt.dtype
        self.autoencoder_dtype = next(autoencoder.parameters(), null_prompt).dtype
        self.stride: int = 64 // self.encode(torch.zeros(1, 3, 64, 64)).shape[-1]
        self.layer_count = len(self_attention_layers(unet))

    @classmethod
    @checked
    def from_directory(
        cls,
        path: str,
        device: str = "auto",
        dtype: Dtype = "auto",
        lora: str | None = None,
        schedule: Literal["ddim", "trailing", "lcm"] = "ddim",
        compile: bool = False,
        channels_last: bool = False,
    ) -> "DiffusionModel":
        """Load a directory in diffusers layout, or a one-file checkpoint of Stable Diffusion 1.x or XL; a name that is
        neither is looked up in the local hub cache.

        `lora` is a file or the name of one, fused into the UNet; `schedule` chooses the timesteps to optimise at:
        the model's own, its trailing ones (Hyper-SD) or LCM's. `compile` leaves attention eager: its processors are
        exchanged while the model runs.

        Raises:
            InputError: the model or LoRA is not on this machine, or a part of it cannot be read.
        """
        files, place = model_files(path), pick_device(device)
        precision = pick_dtype(dtype, place)
        try:
            index = files.index()
            scheduler = DDIMScheduler.from_pretrained(files.part("scheduler"))
            unet = load(files, index, "unet", precision)
            autoencoder = load(files, index, "vae", torch.float32)
            prompts = [prompt.to(place, precision) for prompt in null_prompts(files, index, unet)]
            accelerated = load(files, index, "unet", torch.float32) if lora else unet
        except InputError:
            raise
        except UNREADABLE as error:
            raise unusable(files.place, "diffusers model", "model.path", error) from error
        if not (precision == torch.float16 and autoencoder.config.get("force_upcast")):  # SDXL's overflows there
            nn.Module.to(autoencoder, precision)  # diffusers' own warns of modules that nobody named
        if lora:
            fuse_lora(accelerated, locate_file(lora))
            nn.Module.to(accelerated, precision)
        sampler = scheduler
        if schedule == "trailing":
            sampler = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
        elif schedule == "lcm":
            sampler = LCMScheduler.from_config(scheduler.config)
        layout = torch.channels_last if channels_last else torch.preserve_format
        unet, accelerated, autoencoder = (
            network.to(place, memory_format=layout) for network in (unet, accelerated, autoencoder)
        )
        if compile:
            for network in {unet, accelerated}:
                compile_blocks(network)
        pooled = prompts[1] if len(prompts) == 2 else None
        from_noise = index.get("paints_from_noise", True) is not False
        return cls(accelerated, autoencoder, scheduler, prompts[0], pooled, unet, sampler, from_noise)

    # --- images and latents ---

    @torch.no_grad()
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images (B, 3, H, W) -> latents (B, C, h, w): posterior mean, or with a generator a sample, times the scaling
        factor.

        Raises:
            FloatingPointError: they are not finite.
        """
        posterior = self.autoencoder.encode(images.to(self.device, self.autoencoder_dtype) * 2 - 1).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return finite(latents.float(), "the encoded latent") * self.autoencoder.config["scaling_factor"]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) -> images (B, 3, H, W), clamped to [0, 1].

        Raises:
            FloatingPointError: they are not finite, which would look like a black picture.
        """
        scaled = (latents / self.autoencoder.config["scaling_factor"]).to(self.autoencoder_dtype)
        images = finite(self.autoencoder.decode(scaled).sample.float(), "the decoded picture")
        return (images / 2 + 0.5).clamp(0, 1)

    # --- the denoiser ---

    def timesteps(self, steps: int) -> list[int]:
        """The sampler's `steps` timesteps, high to low.

        Raises:
            InputError: the sampler has fewer.
        """
        return timesteps_of(self.sampler, steps)

    def predict_noise(self, latents: Tensor, timestep: int, level: int | None = None) -> Tensor:
        """ε-prediction of the UNet for latents (B, C, h, w) under the null prompt, in their shape, whatever its native
        parametrisation.

        `level` is the timestep whose noise the latents have, where inversion asks the UNet for another one.

        Raises:
            FloatingPointError: the prediction is not finite.
        """
        return self.noise_from(self.unet, latents, timestep, timestep if level is None else level)

    def noise_from(self, unet: Any, latents: Tensor, timestep: int, level: int) -> Tensor:
        """`predict_noise` of either UNet."""
        count = len(latents)
        conditions: dict[str, Any] = {"encoder_hidden_states": self.null_prompt.expand(count, -1, -1)}
        if self.pooled_prompt is not None:
            height, width = (side * self.stride for side in latents.shape[-2:])
            # of the picture before and after the crop of training, and where that crop began
            sizes = torch.tensor([[height, width, 0, 0, height, width]], device=self.device, dtype=torch.float32)
            pooled = self.pooled_prompt.expand(count, -1)
            conditions["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes.expand(count, -1)}
        prediction = unet(latents.to(self.dtype), timestep, **conditions).sample.float()
        finite(prediction, f"the UNet's prediction at timestep {timestep}")
        if self.scheduler.config["prediction_type"] == "v_prediction":
            alpha_bar = self.alpha_bar(level)
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
        hook = self.inversion_unet.up_blocks[2].register_forward_hook(
            lambda module, inputs, output: caught.append(output)
        )
        interval = self.scheduler.config["num_train_timesteps"] // steps
        try:
            for timestep in reversed(timesteps_of(self.scheduler, steps)):
                level = max(0, timestep - interval)
                noise = self.noise_from(self.inversion_unet, latents, timestep, level)
                now, following = self.alpha_bar(level), self.alpha_bar(timestep)
                clean = (latents - (1 - now).sqrt() * noise) / now.sqrt()
                latents = following.sqrt() * clean + (1 - following).sqrt() * noise
                yield InversionStep(timestep, latents, caught.pop().float())
        finally:
            hook.remove()

    def self_attention(self, latents: Tensor, timestep: int, layers: Sequence[int]) -> list[SelfAttention]:
        """Queries, keys, values and outputs of the listed self-attention layers; keeps the graph if grad is on."""
        scaled = self.dtype == torch.float16 and latents.requires_grad and torch.is_grad_enabled()
        if scaled:
            latents = latents * 1
            latents.register_hook(lambda gradient: gradient / GRADIENT_SCALE)
        with record_self_attention(self.unet, layers) as records:
            self.predict_noise(latents, timestep)
        attention = [SelfAttention(*(tensor.float() for tensor in record)) for record in records]
        if scaled:
            for tensor in (tensor for layer in attention for tensor in layer if tensor.requires_grad):
                tensor.register_hook(lambda gradient: gradient * GRADIENT_SCALE)
        return attention

    @torch.no_grad()
    def project(self, latents: Tensor, timestep: int) -> Tensor:
        """The model's estimate of the clean latents (B, C, h, w) when `latents`, of the same shape, are taken for clean
        ones seen at `timestep`.

        One prediction at low noise removes what no picture has, such as a trace of the patch grid.
        """
        alpha_bar = self.alpha_bar(timestep)
        noisy = alpha_bar.sqrt() * latents
        return (noisy - (1 - alpha_bar).sqrt() * self.predict_noise(noisy, timestep)) / alpha_bar.sqrt()


def finite(values: Tensor, what: str) -> Tensor:
    """The values themselves; raises FloatingPointError, naming what they are, unless all are finite."""
    if not values.isfinite().all():
        raise FloatingPointError(f"{what} is not finite")
    return values


def timesteps_of(scheduler: DDIMScheduler | LCMScheduler, steps: int) -> list[int]:
    """`steps` timesteps of a scheduler, high to low."""
    try:
        scheduler.set_timesteps(steps)
    except ValueError as error:
        raise SettingsError(f"the model's schedule has no {steps} timesteps ({error}); ask for fewer steps") from error
    return [int(timestep) for timestep in scheduler.timesteps]
