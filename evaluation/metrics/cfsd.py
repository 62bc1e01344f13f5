"""Content feature structural distance, as the code of StyleID computes it (Chung et al., CVPR 2024)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.backbones import backbone
from evaluation.metric import Direction, Sample, clamped

ROWS = 1024  # of the affinity matrices alive at a time; all 16384 of a 512 px picture would need a gigabyte each


class Cfsd:
    """KL divergence between the patch affinities of content and output, in VGG19 relu3_1 at native size.

    Features are divided by their channel count, 256; affinities are dot products between all positions, softmax per
    row; KL(content row || output row) is *summed* over rows, as coded (their text averages, which is a factor H·W/16).
    Lower is better, 0 and up, 0 on identity.
    """

    name = "cfsd"
    version = 1
    direction: Direction = "down"
    bounds = (0.0, float("inf"))
    kind = "structure"

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        found = backbone("vgg19")([image for sample in samples for image in (sample.content, sample.image)])
        maps = [features["relu3_1"] for features in found]
        return [divergence(content, image) for content, image in zip(maps[::2], maps[1::2], strict=True)]


def divergence(content: Tensor, image: Tensor) -> float:
    """Feature maps (C, h, w) -> Σ_rows KL(content || image)."""
    first, second = (features.flatten(1).T / features.shape[0] for features in (content, image))
    total = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(first), ROWS):
        rows = slice(start, start + ROWS)
        logs = [F.log_softmax(features[rows] @ features.T, dim=1) for features in (first, second)]
        total += F.kl_div(logs[1], logs[0], reduction="sum", log_target=True).double()
    return clamped(float(total), low=0.0)  # of nearly equal rows rounding may leave a negative sum
