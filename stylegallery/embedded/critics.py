"""What judges a decoder beside the distance of pixels: textures, a discriminator, what EfficientNet sees.

Pixel losses alone make a decoder that leaves out whatever it cannot place exactly, which is nearly all of the finest
octave: strokes (perception against distortion is a trade: Blau & Michaeli 2018, arXiv 1711.06077).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegallery.colour_statistics import luminance
from stylegallery.imagenet import EfficientNetLite

PATCH, DIRECTIONS, WINDOW = 7, 32, 64  # pixels, projections, pixels of the picture
OCTAVES = 2
BINOMIAL = torch.tensor([1.0, 4, 6, 4, 1]) / 16
GAIN = 4.0  # of the fine detail that the discriminator sees


def blur(images: Tensor) -> Tensor:
    """(B, C, H, W) by the binomial filter of five taps in rows and columns, mirrored at the border."""
    channels = images.shape[1]
    kernel = torch.outer(BINOMIAL, BINOMIAL).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def octaves(images: Tensor) -> list[Tensor]:
    """The OCTAVES finest levels of the Laplacian pyramid of the luminance of (B, 3, H, W), finest first."""
    rest = luminance(images)
    levels = []
    for _ in range(OCTAVES):
        coarse = blur(rest)[..., ::2, ::2]
        levels.append(rest - F.interpolate(coarse, rest.shape[-2:], mode="bilinear"))
        rest = coarse
    return levels


def texture_distance(images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """How far the small patches of images (B, 3, H, W) are from those of the others, wherever in a window they lie.

    Sliced Wasserstein distance (Karras et al., ICLR 2018, §5) of the patches of every window of WINDOW pixels, on the
    finest octaves, along random directions: it asks for strokes like those of the picture near their place, not in
    it. The sides are multiples of WINDOW.
    """
    distances = []
    for index, pair in enumerate(zip(octaves(images), octaves(others), strict=True)):
        directions = F.normalize(torch.randn(DIRECTIONS, PATCH**2, generator=generator), dim=1)
        first, side = int(torch.randint(2, (), generator=generator)), WINDOW >> index
        ordered = []
        for level in pair:
            windows = level.unfold(2, side, side).unfold(3, side, side).reshape(-1, 1, side, side)
            projected = F.conv2d(windows[..., first:, first:], directions.view(-1, 1, PATCH, PATCH), stride=2)
            ordered.append(projected.flatten(2).sort(-1).values)
        distances.append((ordered[0] - ordered[1]).abs().mean())
    return torch.stack(distances).mean()


def cell_pattern(error: Tensor, cell: int) -> Tensor:
    """How much of an error (B, 3, H, W) repeats in every cell of `cell` pixels: the mean absolute pattern of a picture.

    The discriminator sees every place alike and so does not see this; what makes `cell` pixels of one latent cell draws
    it gladly.
    """
    pattern = error.unflatten(3, (-1, cell)).unflatten(2, (-1, cell)).mean((2, 4))
    return (pattern - pattern.mean((2, 3), keepdim=True)).abs().mean()


class PatchDiscriminator(nn.Module):
    """Says of patches of 22 pixels of images (B, 3, H, W) whether they are a picture's (above 0) or a decoder's.

    It sees the picture and, amplified, its fine detail: what a decoder leaves out has a small amplitude.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, width, 4, 2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(torch.cat([images, GAIN * (images - blur(images))], 1))


class Perception(nn.Module):
    """The distance of two batches of images (B, 3, H, W) in [-1, 1] as the first blocks of EfficientNet see them, at
    a half, a quarter and an eighth of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite("lite0").to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> list[Tensor]:
        return self.encoder.outputs_of_scaled(images, (0, 2, 4))[1:]

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(others)
        pairs = zip(self.features(images), wanted, strict=True)
        return torch.stack([(a - b).abs().mean() / b.abs().mean() for a, b in pairs]).mean()


def balance(distortion: Tensor, adversarial: Tensor, decoded: Tensor) -> Tensor:
    """The factor that gives both losses equal gradients at the decoded pixels.

    VQGAN (arXiv 2012.09841) takes them at the decoder's last weights; there the gradient of a distortion near its
    least is the noise of a batch.
    """
    norms = [torch.autograd.grad(loss, decoded, retain_graph=True)[0].norm() for loss in (distortion, adversarial)]
    return (norms[0] / (norms[1] + 1e-12)).detach()
