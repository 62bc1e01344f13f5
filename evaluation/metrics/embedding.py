"""Style as one vector per picture: cosine of the embeddings of output and reference."""

from collections.abc import Sequence

import numpy as np

from evaluation.backbones import backbone
from evaluation.metric import Direction, Sample, clamped


class EmbeddingSimilarity:
    """Cosine similarity to the most similar reference of the item; 224 px centre crop.

    `clip_image`: CLIP ViT-B/32 of OpenAI; rewards copying what the reference *shows*, so read it beside a structure
    metric. `csd`: style embedding of Contrastive Style Descriptors (Somepalli et al., arXiv 2404.01292), whose authors
    warn that the uploaded weights deviate from their paper: rankings compare. Higher is better, -1 to 1, 1 for a copy
    of a reference.
    """

    version = 2
    direction: Direction = "up"
    bounds = (-1.0, 1.0)
    kind = "style"

    def __init__(self, name: str, backbone: str) -> None:
        self.name, self.backbone = name, backbone

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        network = backbone(self.backbone)
        network([picture for sample in samples for picture in (sample.image, *sample.references)])
        values = []
        for sample in samples:
            image = network([sample.image])[0]["embedding"]
            cosines = [float(image @ reference["embedding"]) for reference in network(sample.references)]
            values.append(clamped(float(np.max(cosines)), high=1.0))  # np.max passes a NaN on
        return values
