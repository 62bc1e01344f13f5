"""Multi-scale structural similarity of luminance between content and output (Wang et al. 2003; torchmetrics)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from evaluation.metric import Direction, Sample, clamped

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the five scales in the paper
SMALLEST_SIDES = (11, 11, 44, 99, 176)  # of a picture for 1, 2 ... scales, as torchmetrics asks with its 11 px window


class MsSsim:
    """MS-SSIM of Rec. 601 luminance at native size, 11 px Gaussian window, five scales.

    A picture with a side below 176 / 99 / 44 px has room for only 4 / 3 / 2 scales; their weights are scaled to sum
    to one. Higher is better, 0 to 1 (negative similarities count as 0), 1 on identity.
    """

    name = "ms_ssim"
    version = 1
    direction: Direction = "up"
    bounds = (0.0, 1.0)
    kind = "structure"

    @torch.no_grad()
    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        return [self.similarity(luminance(sample.content), luminance(sample.image)) for sample in samples]

    @staticmethod
    def similarity(content: Tensor, image: Tensor) -> float:
        scales = sum(side <= min(content.shape[-2:]) for side in SMALLEST_SIDES)
        betas = tuple(beta / sum(BETAS[:scales]) for beta in BETAS[:scales])
        value = multiscale_structural_similarity_index_measure(
            image, content, data_range=1.0, betas=betas, normalize="relu"
        )
        return clamped(float(value), high=1.0)  # identity may come out as 1 + 1e-7


def luminance(image: Tensor) -> Tensor:
    """(1, 3, H, W) -> (1, 1, H, W), Rec. 601."""
    return (image * image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
