"""DDIM inversion of pictures, and the features met on its way (paper §3.1): what stages 1 and 3 begin with."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.contract import Advance, ignored
from stylegallery.models.diffusion import DiffusionModel


class Inversion(NamedTuple):
    """Of one picture: the clean latent and the last of the inversion, both (1, C, h, w), and F_mix (C', h, w)."""

    latent: Tensor
    inverted: Tensor
    features: Tensor


def invert(model: DiffusionModel, images: Sequence[Tensor], steps: int, advance: Advance = ignored) -> list[Inversion]:
    """The inversions of images (1, 3, H, W) of one shape, in one batch, whose company decides the last bits of each.

    `advance` is called after every step, once for every picture. The tensors are contiguous: where they are kept and
    read again, whatever is computed from them has the same bits.
    """
    latents = [model.encode(image) for image in images]
    features, inverted = [], torch.cat(latents)
    for step in model.invert(inverted, steps):
        features.append(step.features)
        inverted = step.latents
        for _ in images:
            advance()
    mixed = fuse(features)
    if mixed.shape[-2:] != inverted.shape[-2:]:
        mixed = F.interpolate(mixed, inverted.shape[-2:], mode="bilinear")
    return [
        Inversion(latent.contiguous(), last[None].contiguous(), features.contiguous())
        for latent, last, features in zip(latents, inverted, mixed, strict=True)
    ]


def fuse(features: list[Tensor]) -> Tensor:
    """Features (B, C', h, w) of every step, the least noisy first, to F_mix (B, C', h, w).

    F_mix = Σ d(i) F_i / Σ d, d(i) = 1 / (1 + exp(5 (i/T − 0.7))).
    """
    count = len(features)
    weights = 1 / (1 + torch.exp(5 * (torch.arange(count, dtype=torch.float32) / count - 0.7)))
    weights = (weights / weights.sum()).to(features[0].device)
    return torch.stack([weight * feature for weight, feature in zip(weights, features, strict=True)]).sum(0)
