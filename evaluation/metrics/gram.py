"""Gram distance: do the channels of a network fire together as they do in the reference (Gatys et al., CVPR 2016)?"""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from evaluation.backbones import backbone
from evaluation.metric import Direction, Sample


class Gram:
    """Σ_l weight_l · d(G_l of output, G_l of reference), G = F Fᵀ / (C·H·W), to the nearest reference of the item.

    `gram_vgg19`: relu1_1 ... relu5_1 at native size, d the mean squared difference. The paper's scale and layers are
    not stated, so only rankings compare. 0 and up.
    `gram_efficientnet`: stages 1-4 of EfficientNet-Lite0 at 256 px, relative d = |G - G'| / (|G| + |G'|) (Frobenius),
    so that no stage and no bright picture dominates. 0 to the sum of the weights.
    Lower is better, 0 for a copy of a reference. The nearest reference counts, not the mean over them: whoever copies
    one of several references has its style exactly, and which region takes from which is the regional scores' part.
    """

    version = 1
    direction: Direction = "down"
    kind = "style"

    def __init__(self, backbone: str, weights: Sequence[float], relative: bool) -> None:
        self.name, self.backbone = f"gram_{backbone}", backbone
        self.weights, self.relative = list(weights), relative
        self.bounds = (0.0, sum(self.weights) if relative else float("inf"))

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        network = backbone(self.backbone)
        network([picture for sample in samples for picture in (sample.image, *sample.references)])
        values = []
        for sample in samples:
            image = network([sample.image])[0]
            distances = [self.distance(image, reference) for reference in network(sample.references)]
            values.append(float(np.min(distances)))  # which passes a NaN on
        return values

    def distance(self, image: dict[str, Tensor], reference: dict[str, Tensor]) -> float:
        total = 0.0
        for number, weight in enumerate(self.weights, 1):
            first, second = image[f"gram {number}"], reference[f"gram {number}"]
            if self.relative:
                total += weight * float((first - second).norm() / (first.norm() + second.norm()).clamp_min(1e-12))
            else:
                total += weight * float(F.mse_loss(first, second))
        return total
