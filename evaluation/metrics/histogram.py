"""Distance of colour histograms (HistoGAN, Afifi et al., CVPR 2021), as StyleID reports it."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.features import Extractor, Features
from evaluation.metric import Direction, clamped
from evaluation.metrics.references import ToReferences

EPSILON, BINS, RANGE, SIGMA, LARGEST_SIDE = 1e-6, 64, 3.0, 0.02, 256
CHUNK = 4096  # pixels whose kernels fit into the cache of a core


class RgbUv(Extractor):
    """RGB-uv histogram (3, 64, 64), sum 1.

    For each channel as base, u and v are the log ratios to the other two; each pixel falls on bins over [-3, 3] with
    an inverse-quadratic kernel of width 0.02, weighted by its intensity. Pictures larger than 256 px are shrunk.
    """

    def features(self, images: Tensor) -> Features:
        if max(images.shape[-2:]) > LARGEST_SIDE:
            scale = LARGEST_SIDE / max(images.shape[-2:])
            size = [max(1, round(side * scale)) for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return {"histogram": torch.stack([self.histogram(image) for image in images])}

    def histogram(self, image: Tensor) -> Tensor:
        """(3, H, W) -> (3, 64, 64); log ratios change their sign with the order, so the bins of v/u are those of u/v
        from the other end, and three kernels serve all six ratios."""
        pixels = image.flatten(1)
        intensity = (pixels.square().sum(0) + EPSILON).sqrt()
        red, green, blue = (pixels + EPSILON).log()
        ratios = torch.stack([red - green, red - blue, green - blue, intensity])
        centres = torch.linspace(-RANGE, RANGE, BINS)[:, None]
        planes = torch.zeros(3, BINS, BINS)
        for chunk in ratios.split(CHUNK, dim=1):
            red_green, red_blue, green_blue = (
                ((ratio - centres).mul_(1 / SIGMA).square_().add_(1).reciprocal_()) for ratio in chunk[:3]
            )
            weighted = green_blue * chunk[3]
            planes[0] += (red_green * chunk[3]) @ red_blue.T
            planes[1] += (red_green @ weighted.T).flip(0)
            planes[2] += (red_blue @ weighted.T).flip(0, 1)
        return planes / planes.sum().clamp_min(EPSILON)


@cache
def rgb_uv() -> RgbUv:
    return RgbUv()


class Histogram(ToReferences):
    """Hellinger distance between RGB-uv histograms of output and reference; of several references see `ToReferences`.

    Lower is better, 0 to 1, to the nearest reference 0 for a copy of one and lower the more there are.
    """

    kind = "style"
    version = 1
    direction: Direction = "down"
    bounds = (0.0, 1.0)

    def __init__(self, over: Literal["nearest", "mean"]) -> None:
        super().__init__("histogram", over)

    def describe(self, pictures: Sequence[Tensor]) -> list[Features]:
        return rgb_uv()(pictures)

    def compare(self, image: Features, reference: Features) -> float:
        return hellinger(image["histogram"], reference["histogram"])


def hellinger(first: Tensor, second: Tensor) -> float:
    """Of two distributions with sum 1."""
    return clamped(float((first.sqrt() - second.sqrt()).norm() / 2**0.5), high=1.0)
