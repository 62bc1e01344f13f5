"""The one door to diffusion models: the method and every baseline use `DiffusionModel` and nothing behind it.

Images are float32 (B, 3, H, W) in [0, 1]; latents are scaled latents, float32 (B, C, H / stride, W / stride). The noisy
latent of timestep t is √ᾱ_t z + √(1 − ᾱ_t) ε. Weights have the chosen dtype; what goes in and comes out, and its
gradients, are float32.

A family of models is one file beside this one, as `unet.py` is for Stable Diffusion: a subclass of `DiffusionModel`,
listed in `factory.FAMILIES` under the part of `model_index.json` that predicts noise (`unet`; of a DiT `transformer`).
The subclass hands its autoencoder, schedules, device, dtype and number of self-attention layers to `__init__`, with
`multiple` where pictures need sides of more than whole latent cells (a DiT: its patch size times the stride), and
provides:

predict                  the network's output for noisy latents under the null prompt.
predict_with_features    the same of the network that inverts, with features in which things of one kind look alike.
replaced_self_attention  a context in which given functions compute what self-attention layers would.
load                     a class method, (files, device, dtype, lora, schedule, compile, channels_last) -> the model,
                         frozen and on its device. `files` are `pretrained.ModelFiles`, which load a part by its name;
                         the settings are those of `factory.from_directory`. It raises InputError where a part cannot
                         be read, or a setting is not for models of its family.

A model also has a file in conf/model, and one in conf/preset/<method> for every method with settings by model.

The schedule says by its `prediction_type` whether `predict` gives ε or v. A flow model, z_σ = (1 − σ) z + σ ε, fits in
as well: its latents divided by √((1 − σ)² + σ²) have ᾱ = (1 − σ)² / ((1 − σ)² + σ²), which its file turns into the
betas of a DDIM schedule; its `predict` undoes the division and returns ε = z_σ + (1 − σ) u of the flow u = ε − z.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, cast

import torch
from diffusers import DDIMScheduler, LCMScheduler
from torch import Tensor, nn

from stylegallery.errors import SettingsError, require
from stylegallery.models.attention import Attend, Recorder, SelfAttention

PARAMETRISATIONS = ("epsilon", "v_prediction")
GRADIENT_SCALE = 2.0**12  # of gradients on their way through a float16 network, where those of mean losses underflow

Schedule = Literal["ddim", "trailing", "lcm"]


class InversionStep(NamedTuple):
    """One step of DDIM inversion: the timestep reached, its latent (B, C, h, w), features (B, C', h, w)."""

    timestep: int
    latents: Tensor
    features: Tensor


class DDIMStep(NamedTuple):
    """Latents (B, C, h, w) after a DDIM step, and the clean ones that it predicted on its way."""

    latents: Tensor
    clean: Tensor


class DiffusionModel(ABC):
    """A pretrained latent diffusion model under its null prompt.

    `stride` is the width of a latent cell in pixels, `multiple` what sides of pictures are multiples of. Self-attention
    layers are numbered from 0 to `layer_count` − 1 in execution order. `sampler` gives the timesteps of `timesteps`;
    inversion follows `scheduler`. `paints_from_noise` is false of a model too small for it, by its model_index.json.
    """

    paints_from_noise = True

    def __init__(
        self,
        autoencoder: nn.Module,
        scheduler: DDIMScheduler,
        sampler: DDIMScheduler | LCMScheduler,
        device: torch.device,
        dtype: torch.dtype,
        layer_count: int,
        multiple: int | None = None,
    ) -> None:
        # Any: diffusers' models carry a `config` and methods that nn.Module's type does not know.
        self.autoencoder = cast(Any, autoencoder.eval().requires_grad_(False))
        self.scheduler, self.sampler = scheduler, sampler
        self.device, self.dtype, self.layer_count = device, dtype, layer_count
        parametrisation = scheduler.config["prediction_type"]
        require(parametrisation in PARAMETRISATIONS, f"prediction_type is one of {PARAMETRISATIONS}", parametrisation)
        self.training_timesteps: int = scheduler.config["num_train_timesteps"]
        self.autoencoder_dtype = next(autoencoder.parameters(), torch.zeros(0, dtype=dtype)).dtype
        self.stride: int = 64 // self.encode(torch.zeros(1, 3, 64, 64)).shape[-1]
        self.multiple = multiple or self.stride

    # --- what a family provides ---

    @abstractmethod
    def predict(self, latents: Tensor, timestep: int | Tensor) -> Tensor:
        """Output (B, C, h, w) of the network for noisy latents, all in `dtype`, under the null prompt.

        With the timestep as a tensor () on the device nothing is asked of the GPU nor copied to it.
        """

    @abstractmethod
    def predict_with_features(self, latents: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
        """`predict` of the network that inverts, and features (B, C', h', w') on the grid of the latents or a coarser
        one, h' / w' = h / w."""

    @abstractmethod
    def replaced_self_attention(
        self, layers: Sequence[int], attends: Sequence[Attend]
    ) -> AbstractContextManager[None, bool | None]:
        """Within the context the listed self-attention layers compute their outputs by the given functions, one each.

        A function sees the tokens of the picture alone, row-major, on the grid of the latents or one coarser by a whole
        factor. What computed before comes back on exit, also after an exception.

        Raises:
            IndexError: a layer number the model does not have.
        """

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

    # --- the schedule ---

    def timesteps(self, steps: int) -> list[int]:
        """The sampler's `steps` timesteps, high to low."""
        return timesteps_of(self.sampler, steps)

    def inversion_timesteps(self, steps: int) -> list[int]:
        """The `steps` timesteps of DDIM inversion, low to high."""
        return timesteps_of(self.scheduler, steps)[::-1]

    def alpha_bar(self, timestep: int) -> Tensor:
        """ᾱ_t, a scalar tensor: the share of signal variance at a timestep."""
        return self.scheduler.alphas_cumprod[timestep].to(self.device)

    def add_noise(self, clean: Tensor, noise: Tensor, timestep: int) -> Tensor:
        """√ᾱ_t z + √(1 − ᾱ_t) ε, all (B, C, h, w)."""
        alpha_bar = self.alpha_bar(timestep)
        return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise

    def ddim_step(self, latents: Tensor, noise: Tensor, timestep: int, following: int) -> DDIMStep:
        """Deterministic DDIM of latents (B, C, h, w) from the noise level of one timestep to that of another, in either
        direction, along the predicted noise ε of their shape."""
        alpha_bar = self.alpha_bar(timestep)
        clean = (latents - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        return DDIMStep(self.add_noise(clean, noise, following), clean)

    # --- the network ---

    def predict_noise(self, latents: Tensor, timestep: int, level: int | None = None) -> Tensor:
        """ε-prediction for latents (B, C, h, w) under the null prompt, in their shape, whatever the network's native
        parametrisation.

        `level` is the timestep whose noise the latents have, where inversion asks the network for another one.

        Raises:
            FloatingPointError: the prediction is not finite.
        """
        prediction = self.predict(latents.to(self.dtype), timestep)
        return self.as_noise(prediction, latents, timestep, timestep if level is None else level)

    def as_noise(self, prediction: Tensor, latents: Tensor, timestep: int, level: int) -> Tensor:
        """ε of the network's output for latents whose noise is that of `level`."""
        prediction = finite(prediction.float(), f"the model's prediction at timestep {timestep}")
        if self.scheduler.config["prediction_type"] == "v_prediction":
            return self.add_noise(prediction, latents, level)  # ε = √ᾱ v + √(1 − ᾱ) z
        return prediction

    @torch.no_grad()
    def invert(self, latents: Tensor, steps: int) -> Iterator[InversionStep]:
        """Deterministic DDIM inversion from clean latents, one yield per step, least noisy first.

        With ascending timesteps t and t' = max(0, t − 1000 // steps), as the published code does it:
        z ← (z − √(1−ᾱ_t') ε) √ᾱ_t / √ᾱ_t' + √(1−ᾱ_t) ε with ε = network(z, t).
        """
        interval = self.training_timesteps // steps
        for timestep in self.inversion_timesteps(steps):
            level = max(0, timestep - interval)
            prediction, features = self.predict_with_features(latents.to(self.dtype), timestep)
            noise = self.as_noise(prediction, latents, timestep, level)
            latents = self.ddim_step(latents, noise, level, timestep).latents
            yield InversionStep(timestep, latents, features.float())

    @torch.no_grad()
    def project(self, latents: Tensor, timestep: int) -> Tensor:
        """The model's estimate of the clean latents (B, C, h, w) when `latents`, of the same shape, are taken for clean
        ones seen at `timestep`.

        One prediction at low noise removes what no picture has, such as a trace of the patch grid.
        """
        noisy = self.alpha_bar(timestep).sqrt() * latents
        return self.ddim_step(noisy, self.predict_noise(noisy, timestep), timestep, timestep).clean

    # --- self-attention ---

    def layer_range(self, layers: Sequence[int]) -> range:
        """Self-attention layers from the first to the one before the last of `layers`.

        Raises:
            SettingsError: the model does not have them.
        """
        rule = f"layers is [first, after the last] within 0..{self.layer_count}"
        require(len(layers) == 2 and 0 <= layers[0] < layers[1] <= self.layer_count, rule, layers)
        return range(*layers)

    def self_attention(self, latents: Tensor, timestep: int | Tensor, layers: Sequence[int]) -> list[SelfAttention]:
        """Queries, keys, values and outputs of the listed self-attention layers; keeps the graph if grad is on.

        With the timestep as a tensor () on the device nothing waits for the GPU; who calls looks whether what comes of
        them is finite.

        Raises:
            FloatingPointError: the prediction is not finite; only with the timestep as a number.
        """
        scaled = self.dtype == torch.float16 and latents.requires_grad and torch.is_grad_enabled()
        if scaled:
            latents = latents * 1
            latents.register_hook(lambda gradient: gradient / GRADIENT_SCALE)
        recorder = Recorder()
        with self.replaced_self_attention(layers, [recorder] * len(layers)):
            if isinstance(timestep, Tensor):
                self.predict(latents.to(self.dtype), timestep)
            else:
                self.predict_noise(latents, timestep)
        attention = [SelfAttention(*(tensor.float() for tensor in record)) for record in recorder.records]
        if scaled:
            for tensor in (tensor for layer in attention for tensor in layer if tensor.requires_grad):
                tensor.register_hook(lambda gradient: gradient * GRADIENT_SCALE)
        return attention

    def self_attention_of_each(
        self, latents: Sequence[Tensor], timestep: int | Tensor, layers: Sequence[int], batched: bool = True
    ) -> list[list[SelfAttention]]:
        """`self_attention`, layer by layer, of every latent (1, C, h, w) at one timestep.

        Latents of one shape share one call of the network if `batched`.

        The gradients of L1 losses are signs: where a difference is near zero the rounding decides, which is not the
        same in a batch. Equality with the published run needs batches of one.
        """
        if not batched:
            return [self.self_attention(latent, timestep, layers) for latent in latents]
        results: dict[int, list[SelfAttention]] = {}
        for shape in {latent.shape: None for latent in latents}:
            indices = [i for i, latent in enumerate(latents) if latent.shape == shape]
            batch = self.self_attention(torch.cat([latents[i] for i in indices]), timestep, layers)
            for row, index in enumerate(indices):
                results[index] = [SelfAttention(*(tensor[row : row + 1] for tensor in layer)) for layer in batch]
        return [results[index] for index in range(len(latents))]


def finite(values: Tensor, what: str) -> Tensor:
    """The values themselves; raises FloatingPointError, naming what they are, unless all are finite."""
    if not values.isfinite().all():
        raise FloatingPointError(f"{what} is not finite")
    return values


def timesteps_of(scheduler: DDIMScheduler | LCMScheduler, steps: int) -> list[int]:
    """`steps` timesteps of a scheduler, high to low. Raises SettingsError where it has fewer."""
    try:
        scheduler.set_timesteps(steps)
    except ValueError as error:
        raise SettingsError(f"the model's schedule has no {steps} timesteps ({error}); ask for fewer steps") from error
    return [int(timestep) for timestep in scheduler.timesteps]
