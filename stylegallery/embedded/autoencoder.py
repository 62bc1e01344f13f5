"""The embedded model's autoencoder: a linear lapped encoder and a residual decoder.

The encoder is one convolution whose window overlaps its neighbours, so that latents carry no block borders;
the decoder starts as the best linear inverse and adds what a small residual network learns about pictures
from noisy latents, which makes it a prior: latents that an optimiser moved off the manifold decode to
smooth colour and texture instead of 8-pixel blocks.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


def zero_convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that starts as zero."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions on (B, width, h, w); starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), zero_convolution(width, width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


class LappedAutoencoder(ModelMixin, ConfigMixin):
    """Images (B, 3, H, W) in [-1, 1] <-> latents (B, latent_channels, H / stride, W / stride).

    It answers the two calls of diffusers' `AutoencoderKL` that a latent diffusion model needs, `encode` and
    `decode`, with the same return types; the posterior has no variance.

    A decoded picture is a sum: the linear synthesis, and what `residual` adds at a quarter of the resolution.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        stride: int = 8,
        window: int = 16,
        width: int = 144,
        coarse_blocks: int = 3,
        fine_blocks: int = 4,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        overlap = (window - stride) // 2
        self.analysis = nn.Conv2d(3, latent_channels, window, stride, padding=overlap, padding_mode="reflect")
        self.synthesis = nn.ConvTranspose2d(latent_channels, 3, window, stride, padding=overlap)
        half = width // 2
        self.residual = nn.Sequential(
            nn.Conv2d(latent_channels, width, 3, padding=1),
            *(ResidualBlock(width) for _ in range(coarse_blocks)),
            nn.Conv2d(width, 4 * half, 3, padding=1),
            nn.PixelShuffle(2),
            *(ResidualBlock(half) for _ in range(fine_blocks)),
            zero_convolution(half, 3 * (stride // 2) ** 2),
            nn.PixelShuffle(stride // 2),
        )

    def encode(self, images: Tensor) -> AutoencoderKLOutput:
        mean = self.analysis(images)
        moments = torch.cat([mean, torch.full_like(mean, -30.0)], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments, deterministic=True))

    def decode(self, latents: Tensor) -> DecoderOutput:
        return DecoderOutput(sample=self.synthesis(latents) + self.residual(latents))
