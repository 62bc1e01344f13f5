"""The paper's Style score: 16 blocks of the output, each matched to a block of the references."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from evaluation.backbones import backbone
from evaluation.metric import Direction, Sample, clamped


class StyleBlocks:
    """Mean cosine of the 16 blocks (4 x 4) of the output with blocks of the references, under the best assignment.

    All blocks of all R references stand for choice: one 16 x 16R assignment (Hungarian algorithm), so that regions may
    take their style from different references; no block is used twice. The paper names blocks of 128 px, VGG features
    and Hungarian matching and nothing else; here a block is the standard deviations of all channels (what AdaIN
    transfers) of relu1_1 ... relu4_1 of VGG19 (`style_blocks_vgg19`) or of stages 1-4 of EfficientNet-Lite0
    (`style_blocks_efficientnet`), each layer scaled to unit length. Values are not the paper's, rankings compare.
    Higher is better, 0 to 1 (deviations are not negative), 1 for a copy of a reference.
    """

    version = 1
    direction: Direction = "up"
    bounds = (0.0, 1.0)
    kind = "style"

    def __init__(self, backbone: str) -> None:
        self.name, self.backbone = f"style_blocks_{backbone}", backbone

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        network = backbone(self.backbone)
        network([picture for sample in samples for picture in (sample.image, *sample.references)])
        values = []
        for sample in samples:
            references = torch.cat([features["blocks"] for features in network(sample.references)])
            cosines = (network([sample.image])[0]["blocks"].double() @ references.double().T).numpy()
            rows, columns = linear_sum_assignment(cosines, maximize=True)
            values.append(clamped(float(cosines[rows, columns].mean()), high=1.0))
        return values
