"""Gram distance: do the channels of a network fire together as they do in the reference (Gatys et al., CVPR 2016)?"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F

from evaluation.features import Features
from evaluation.metric import Direction
from evaluation.metrics.references import ToReferences


class Gram(ToReferences):
    """Σ_l weight_l · d(G_l of output, G_l of reference), G = F Fᵀ / (C·H·W); of several references see `ToReferences`.

    `gram_vgg19`: relu1_1 ... relu5_1 at native size, d the mean squared difference. The paper's scale and layers are
    not stated, so only rankings compare. 0 and up.
    `gram_efficientnet`: stages 1-4 of EfficientNet-Lite0 at 256 px, relative d = |G - G'| / (|G| + |G'|) (Frobenius),
    so that no stage and no bright picture dominates. 0 to the sum of the weights.
    Lower is better, to the nearest reference 0 for a copy of one and lower the more there are.
    """

    kind = "style"
    version = 1
    direction: Direction = "down"

    def __init__(
        self, backbone: str, weights: Sequence[float], relative: bool, over: Literal["nearest", "mean"]
    ) -> None:
        super().__init__(f"gram_{backbone}", over)
        self.backbone = backbone
        self.weights, self.relative = list(weights), relative
        self.bounds = (0.0, sum(self.weights) if relative else float("inf"))

    def compare(self, image: Features, reference: Features) -> float:
        total = 0.0
        for number, weight in enumerate(self.weights, 1):
            first, second = image[f"gram {number}"], reference[f"gram {number}"]
            if self.relative:
                total += weight * float((first - second).norm() / (first.norm() + second.norm()).clamp_min(1e-12))
            else:
                total += weight * float(F.mse_loss(first, second))
        return total
