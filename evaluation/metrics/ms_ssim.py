"""Multi-scale structural similarity of luminance between content and output (Wang, Simoncelli and Bovik, 2003)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.metric import Direction, Sample, clamped
from stylegallery.colour_statistics import luminance

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the five scales in the paper
WINDOW, SIGMA = 11, 1.5  # of the Gaussian, in pixels
C1, C2 = 0.01**2, 0.03**2  # the paper's constants for values up to 1


class MsSsim:
    """MS-SSIM of Rec. 601 luminance at native size, 11 px Gaussian window, five scales, each half as large.

    As the authors' code: windows that lie inside the picture alone, at every scale, and odd sides repeat their last
    pixel before they are halved. TensorFlow and pytorch-msssim agree on even sides; torchmetrics keeps the windows over
    a mirrored border at the coarsest scale and differs by up to 0.014 on the bundled pictures. A picture with a side
    up to 160 / 80 / 40 px has room for only 4 / 3 / 2 scales; their weights are scaled to sum to one. Higher is better,
    0 to 1 (negative similarities count as 0), 1 on identity.
    """

    name = "ms_ssim"
    version = 2
    direction: Direction = "up"
    bounds = (0.0, 1.0)
    kind = "structure"

    @torch.no_grad()
    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        return [similarity(luminance(sample.content), luminance(sample.image)) for sample in samples]


def similarity(content: Tensor, image: Tensor) -> float:
    """Of two pictures (1, 1, H, W) in [0, 1], at least 11 px wide and high."""
    pair, value, total = torch.cat([content, image]), torch.ones(()), 0.0
    for number, beta in enumerate(BETAS, 1):
        contrast, whole = terms(*pair.split(1))
        pair = halved(pair)
        last = number == len(BETAS) or min(pair.shape[-2:]) < WINDOW
        value = value * (whole if last else contrast).clamp_min(0) ** beta
        total += beta
        if last:
            break
    return clamped(float(value ** (1 / total)) if number < len(BETAS) else float(value), high=1.0)


def terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the picture of contrast and structure, and of these times luminance."""
    offsets = torch.arange(WINDOW, dtype=first.dtype) - WINDOW // 2
    weights = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0)
    stack = torch.cat([first, second, first * first, second * second, first * second])
    stack = F.conv2d(F.conv2d(stack, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    mean, other, square, other_square, product = stack
    contrast = (2 * (product - mean * other) + C2) / (square - mean**2 + other_square - other**2 + C2)
    return contrast.mean(), (contrast * (2 * mean * other + C1) / (mean**2 + other**2 + C1)).mean()


def halved(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)
