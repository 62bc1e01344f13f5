"""Content feature structural distance, as the code of StyleID computes it (Chung et al., CVPR 2024)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluation.backbones import backbone
from evaluation.metric import Direction, Sample, clamped
from stylegallery.devices import pick_device

ROWS = 256  # of the affinity matrices alive at a time; all 16384 of a 512 px picture would need a gigabyte each


class Cfsd:
    """KL divergence between the patch affinities of content and output, in VGG19 relu3_1 at native size.

    Features are divided by their channel count, 256; affinities are dot products between all positions, softmax per
    row; KL(content row || output row) is *summed* over rows, as coded (their text averages, which is a factor H·W/16).
    Lower is better, 0 and up, 0 on identity.
    """

    name = "cfsd"
    version = 2
    direction: Direction = "down"
    bounds = (0.0, float("inf"))
    kind = "structure"

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        found = backbone("vgg19")([image for sample in samples for image in (sample.content, sample.image)])
        maps = [features["relu3_1"] for features in found]
        return [divergence(content, image) for content, image in zip(maps[::2], maps[1::2], strict=True)]


def divergence(content: Tensor, image: Tensor) -> float:
    """Feature maps (C, h, w) -> Σ_rows KL(content || image), on the GPU where there is one.

    With p the softmax of a row of content and d how much larger the row of the image is before its own, the divergence
    is log E_p[e^d] − E_p[d]: of similar pictures it is as small as the rounding of two logarithms near −10.
    """
    device = pick_device("auto")
    first, second = (
        (features.to(device).flatten(1).T / features.shape[0]).contiguous() for features in (content, image)
    )
    total = torch.zeros((), dtype=torch.float64)
    for rows, other_rows in zip(first.split(ROWS), second.split(ROWS), strict=True):
        affinities = rows @ first.T
        difference = (other_rows @ second.T).sub_(affinities)
        own = affinities.softmax(dim=1)
        mean = torch.linalg.vecdot(own, difference)
        total += (torch.linalg.vecdot(own, difference.expm1_()).log1p_() - mean).sum(dtype=torch.float64).cpu()
    return clamped(float(total), low=0.0)  # of nearly equal rows rounding may leave a negative sum
