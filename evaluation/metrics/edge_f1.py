"""Do the edges of the content survive? Canny edges of content and output, matched within a few pixels (OpenCV)."""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from evaluation.metric import Direction, Sample
from stylegallery.images import to_pixels


class EdgeF1:
    """F1 of Canny edges: harmonic mean of precision (output edges with a content edge within `tolerance` px) and
    recall (content edges with an output edge within `tolerance` px), as for contour benchmarks (Martin et al. 2004).

    Edges: luminance, Gaussian blur of 1.4 px, Canny with thresholds 50 and 100 (L1 gradient of 8-bit values). Two
    pictures without edges score 1, one alone 0. Higher is better, 0 to 1, 1 on identity.
    """

    name = "edge_f1"
    version = 1
    direction: Direction = "up"
    bounds = (0.0, 1.0)
    kind = "structure"

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        return [self.f1(edges(sample.content), edges(sample.image)) for sample in samples]

    def f1(self, content: np.ndarray, image: np.ndarray) -> float:
        if not content.any() or not image.any():
            return float(not content.any() and not image.any())
        precision = (distance_to(content)[image] <= self.tolerance).mean()
        recall = (distance_to(image)[content] <= self.tolerance).mean()
        return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def edges(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) -> bool (H, W)."""
    grey = cv2.cvtColor(to_pixels(image), cv2.COLOR_RGB2GRAY)
    return cv2.Canny(cv2.GaussianBlur(grey, (0, 0), 1.4), 50, 100) > 0


def distance_to(mask: np.ndarray) -> np.ndarray:
    """Pixels from every position to the nearest one of the mask, (H, W)."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
