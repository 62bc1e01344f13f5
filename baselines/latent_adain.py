"""Latent AdaIN: the channel statistics of the content's latent set to the references' (Huang & Belongie, ICCV 2017).

No official code: AdaIN is defined on VGG features with a trained decoder; here its formula acts on the latents of
the diffusion model's autoencoder, whose decoder makes the picture. StyleID and Attention Distillation use the same
operation as a part; by itself it shows how much channel statistics alone contribute. Several references: the statistics
of all their cells together. Uses no random numbers. Masks and match constraints of an item are ignored.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from baselines.inputs import PictureReader
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.settings import Resolution, Share, checked
from stylegallery.stopwatch import Stopwatch


def adain(latent: Tensor, style: Tensor, epsilon: float = 0.0) -> Tensor:
    """(z − μ_z) / (σ_z + ε) · σ_s + μ_s for latents (B, C, h, w) and a style (B or 1, C, ...) of any size.

    Statistics per sample and channel over all other dimensions; standard deviations are unbiased.
    """
    tokens, style_tokens = latent.flatten(2), style.flatten(2)
    mean, deviation = (statistic(style_tokens, dim=2)[..., None, None] for statistic in (torch.mean, torch.std))
    standardised = (latent - tokens.mean(2)[..., None, None]) / (tokens.std(2)[..., None, None] + epsilon)
    return standardised * deviation + mean


def pool(latents: Sequence[Tensor]) -> Tensor:
    """The cells of all latents (B, C, h, w), of any sizes, side by side: (1, C, cells)."""
    return torch.cat([latent.transpose(0, 1).flatten(1) for latent in latents], dim=1)[None]


class LatentAdaIN:
    """`strength` fades between the content's latent and the one with the references' statistics."""

    @checked
    def __init__(
        self, model: DiffusionModel, resolution: Resolution, resizing: Literal["square", "keep"], strength: Share
    ) -> None:
        self.model, self.strength = model, strength
        self.read = PictureReader(resolution, resizing, model.multiple)

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        content, references = self.read(item)
        watch = Stopwatch(self.model.device)
        advance = progress.stage("transfer", 1)
        with watch("transfer"):
            latent = self.model.encode(content)
            style = pool([self.model.encode(reference) for reference in references])
            image = self.model.decode(torch.lerp(latent, adain(latent, style), self.strength)).cpu()
        advance()
        return Stylization(image, content, references, **watch.costs())
