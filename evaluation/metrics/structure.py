"""Structure distance: how far the self-similarity of patches changes (Tumanyan et al., Splice, CVPR 2022)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from evaluation.backbones import backbone
from evaluation.metric import Direction, Sample


class Structure:
    """Mean squared difference of the cosine self-similarity matrices of content and output tokens.

    `structure_dino`: keys of the last layer of DINO ViT-B/8 with the class token, as Splice; `structure_efficientnet`:
    stride-16 features of EfficientNet-Lite0, 16 x 16 tokens, no class token. Lower is better, 0 to 4, 0 on identity.
    """

    version = 1
    direction: Direction = "down"
    bounds = (0.0, 4.0)
    kind = "structure"

    def __init__(self, backbone: str) -> None:
        self.name, self.backbone = f"structure_{backbone}", backbone

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        found = backbone(self.backbone)([image for sample in samples for image in (sample.content, sample.image)])
        tokens = [features["tokens"] for features in found]
        pairs = zip(tokens[::2], tokens[1::2], strict=True)
        return [float(F.mse_loss(self_similarity(image), self_similarity(content))) for content, image in pairs]


def self_similarity(tokens: Tensor) -> Tensor:
    """(N, C) -> cosines (N, N)."""
    tokens = F.normalize(tokens, dim=1)
    return tokens @ tokens.T
