"""Style as one vector per picture: cosine of the embeddings of output and reference."""

from typing import Literal

from evaluation.features import Features
from evaluation.metric import Direction, clamped
from evaluation.metrics.references import ToReferences


class EmbeddingSimilarity(ToReferences):
    """Cosine similarity of 224 px centre crops; of several references see `ToReferences`.

    `clip_image`: CLIP ViT-B/32 of OpenAI; rewards copying what the reference *shows*, so read it beside a structure
    metric. `csd`: style embedding of Contrastive Style Descriptors (Somepalli et al., arXiv 2404.01292), whose authors
    warn that the uploaded weights deviate from their paper: rankings compare. Higher is better, -1 to 1, to the nearest
    reference 1 for a copy of one and higher the more there are.
    """

    kind = "style"
    version = 2
    direction: Direction = "up"
    bounds = (-1.0, 1.0)

    def __init__(self, name: str, backbone: str, over: Literal["nearest", "mean"]) -> None:
        super().__init__(name, over)
        self.backbone = backbone

    def compare(self, image: Features, reference: Features) -> float:
        return clamped(float(image["embedding"] @ reference["embedding"]), high=1.0)
