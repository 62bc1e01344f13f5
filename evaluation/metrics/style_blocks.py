"""The paper's Style score: 16 blocks of the output, each matched to a block of the references."""

from collections.abc import Sequence
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment

from evaluation.features import Features
from evaluation.metric import Direction, clamped
from evaluation.metrics.references import ToReferences


class StyleBlocks(ToReferences):
    """Mean cosine of the 16 blocks (4 x 4) of the output with blocks of the references, under the best assignment.

    All blocks of all R references stand for choice: one 16 x 16R assignment (Hungarian algorithm), so that regions may
    take their style from different references; no block is used twice. With more references there is more to choose
    from, and the score of any picture rises; `_mean` is the mean over the references of a 16 x 16 assignment each. The
    paper names blocks of 128 px, VGG features and Hungarian matching and nothing else; here a block is the standard
    deviations of all channels (what AdaIN transfers) of relu1_1 ... relu4_1 of VGG19 (`style_blocks_vgg19`) or of
    stages 1-4 of EfficientNet-Lite0 (`style_blocks_efficientnet`), each layer scaled to unit length. Values are not the
    paper's, rankings compare. Higher is better, 0 to 1 (deviations are not negative), 1 for a copy of a reference.
    """

    kind = "style"
    version = 1
    direction: Direction = "up"
    bounds = (0.0, 1.0)

    def __init__(self, backbone: str, over: Literal["nearest", "mean"]) -> None:
        super().__init__(f"style_blocks_{backbone}", over)
        self.backbone = backbone

    def compare(self, image: Features, reference: Features) -> float:
        return self.together(image, [reference])

    def together(self, image: Features, references: Sequence[Features]) -> float:
        blocks = torch.cat([features["blocks"] for features in references])
        cosines = (image["blocks"].double() @ blocks.double().T).numpy()
        rows, columns = linear_sum_assignment(cosines, maximize=True)
        return clamped(float(cosines[rows, columns].mean()), high=1.0)
