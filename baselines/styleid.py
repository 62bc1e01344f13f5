"""StyleID, style injection in diffusion (Chung et al., CVPR 2024, arXiv 2312.09008).

Official code: jiwoogit/StyleID at d4ea655 (MIT), the original and its diffusers port; nothing of it is here. Content
and style are inverted with DDIM, the sampling starts at the content's last latent with the style's channel statistics,
and self-attention takes the style's keys and values and a share of the content's queries of the same timestep.
Null prompt, no guidance, η = 0, γ = 0.75, T = 1.5.

`paper`, the original: Stable Diffusion 1.4, layers 10 to 15, 50 steps, latents sampled from the posterior (style
first), inversion asks the UNet at the latent's own timestep and ends at the last training timestep, AdaIN without ε.
The original's slip is kept: sampling leaves out its first step, and takes a latent of level 999 for one of level 961.
`port`: layers 11 to 15, 20 steps, posterior mean, inversion asks the UNet at the timestep it goes to, AdaIN with
ε = 1e-4, every step is run; the result is the clean latent that the last step predicts, not its output, as published.
With `layers` null each mode takes its own layers; they are for UNets of Stable Diffusion 1.x and 2.x.

What differs: UNet in `model.dtype` (published: float16 sampling, port float16 throughout), pictures resized by
`resizing`, bicubic (published: centre crop, then Lanczos to 512x512; port: none), values rounded to 8 bits (original:
cut off). Features are not stored: the inverted latents are, and the UNet runs on them again at every sampling step,
which gives the same numbers. Of Stable Diffusion 1.x at 512 px one step of features is 71 MB in float32 (published:
3.5 GB for each picture), for 5 UNet calls per step instead of 3.

One reference: number `reference`, by default the first; items that have fewer are recorded as failed. For the mean of
the scores over references run the benchmark once for each, under labels of their own:
`method.reference=1,2,3 'label="styleid@reference=${method.reference}"' -m`. Masks and match constraints of an item are
ignored.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from baselines.inputs import PictureReader, require_reference
from baselines.latent_adain import adain
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.models.attention import SelfAttention
from stylegallery.models.diffusion import DDIMStep, DiffusionModel
from stylegallery.settings import Count, Positive, Resolution, Share, checked
from stylegallery.stopwatch import Stopwatch

LAYERS = {"paper": (10, 16), "port": (11, 16)}
EPSILON = {"paper": 0.0, "port": 1e-4}


class InversionPass(NamedTuple):
    """One UNet call of an inversion: the timestep asked for, and the levels of noise before and after."""

    timestep: int
    level: int
    following: int


class Inversion(NamedTuple):
    """`seen`: the latent that the UNet saw at every timestep; `last`: the noisiest one, which it did not see."""

    seen: dict[int, Tensor]
    last: Tensor


class Injection:
    """Self-attention with the keys and values of a style and a share of the queries of a content (paper §4.1).

    softmax(T · (γ Q_content + (1 − γ) Q) K_styleᵀ / √D) V_style with γ = `share` and T = `temperature`; the style may
    have another number of tokens.
    """

    def __init__(self, content: SelfAttention, style: SelfAttention, share: float, temperature: float) -> None:
        self.content, self.style, self.share, self.temperature = content, style, share, temperature

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        content, key, value = (
            tensor.to(query.dtype) for tensor in (self.content.query, self.style.key, self.style.value)
        )
        query = self.share * content + (1 - self.share) * query
        scale = self.temperature / math.sqrt(query.shape[-1])
        return F.scaled_dot_product_attention(query, key, value, scale=scale)


class StyleID:
    """`gamma` is the share of the content's query, `temperature` multiplies the logits; `layers` is the first
    self-attention layer, in execution order, and the one after the last. Without `initial_adain` or `injection` that
    part is left out, as in the paper's ablation."""

    @checked
    def __init__(
        self,
        model: DiffusionModel,
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        mode: Literal["paper", "port"],
        steps: Annotated[int, Field(ge=2, le=500)],
        gamma: Share,
        temperature: Positive,
        layers: Sequence[int] | None,
        initial_adain: bool,
        injection: bool,
        reference: Count,
    ) -> None:
        self.layers = model.layer_range(layers or LAYERS[mode])
        self.model, self.mode, self.steps, self.reference = model, mode, steps, reference
        self.gamma, self.temperature = gamma, temperature
        self.initial_adain, self.injection = initial_adain, injection
        self.interval = model.training_timesteps // steps
        self.read = PictureReader(resolution, resizing, model.multiple)

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item with one of its references."""
        require_reference(item, self.reference)
        content, references = self.read(item)
        style = references[self.reference - 1]
        watch = Stopwatch(self.model.device)
        advance = progress.stage("denoising", len(self.sampling_timesteps()))
        with watch("inversion"):
            draws = generator if self.mode == "paper" else None
            style_inversion, content_inversion = (
                self.invert(self.model.encode(picture, draws)) for picture in (style, content)
            )
        with watch("denoising"):
            for step in self.sample(content_inversion, style_inversion):
                last = step
                advance()
            image = self.model.decode(last.latents if self.mode == "paper" else last.clean).cpu()
        return Stylization(image, content, [style], **watch.costs())

    @torch.no_grad()
    def invert(self, latent: Tensor) -> Inversion:
        """DDIM inversion of a clean latent (1, C, h, w)."""
        seen = {}
        for timestep, level, following in self.inversion_passes():
            seen[timestep] = latent
            noise = self.model.predict_noise(latent, timestep, level)
            latent = self.model.ddim_step(latent, noise, level, following).latents
        return Inversion(seen, latent)

    def inversion_passes(self) -> list[InversionPass]:
        ascending = self.model.inversion_timesteps(self.steps)
        if self.mode == "port":
            return [InversionPass(timestep, max(0, timestep - self.interval), timestep) for timestep in ascending]
        noisiest = self.model.training_timesteps - 1
        return [
            InversionPass(timestep, timestep, following) for timestep, following in pairwise([*ascending, noisiest])
        ]

    def sampling_timesteps(self) -> list[int]:
        timesteps = self.model.inversion_timesteps(self.steps)[::-1]
        return timesteps[1:] if self.mode == "paper" else timesteps

    def initial_latent(self, content: Tensor, style: Tensor) -> Tensor:
        """Where the sampling starts, from the last latents of both inversions."""
        return adain(content, style, EPSILON[self.mode]) if self.initial_adain else content

    @torch.no_grad()
    def sample(self, content: Inversion, style: Inversion) -> Iterator[DDIMStep]:
        """The injected denoising, one yield per step, noisiest first."""
        latent = self.initial_latent(content.last, style.last)
        for timestep in self.sampling_timesteps():
            injections = self.injections(content.seen[timestep], style.seen[timestep], timestep)
            with self.model.replaced_self_attention(self.layers if self.injection else [], injections):
                noise = self.model.predict_noise(latent, timestep)
            step = self.model.ddim_step(latent, noise, timestep, max(0, timestep - self.interval))
            latent = step.latents
            yield step

    def injections(self, content: Tensor, style: Tensor, timestep: int) -> list[Injection]:
        """One per layer, with the features that both latents have at the timestep."""
        if not self.injection:
            return []
        contents, styles = (self.model.self_attention(latent, timestep, self.layers) for latent in (content, style))
        return [
            Injection(of_content, of_style, self.gamma, self.temperature)
            for of_content, of_style in zip(contents, styles, strict=True)
        ]
