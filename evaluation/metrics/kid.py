"""Kernel distance between the outputs and the references of a set of items (Bińkowski et al., ICLR 2018)."""

from collections.abc import Sequence

from torch import Tensor

from evaluation.metric import Direction, Sample, ScoreOfPart
from evaluation.metrics.fid import pooled


class Kid:
    """KID: squared MMD with the kernel (x·y / D + 1)³ on the pooled features of the Inception of FID (`kid`).

    The unbiased estimate from all pairs of pictures at once; published values are often means over 100 random subsets,
    which scatter around it. The style set is that of FID, and a reference that several items use counts as several
    pictures. With fewer pictures it spreads more, but it has no bias as FID has. Lower is better; an unbiased estimate
    may fall below 0. Takes 8 N² bytes for N pictures.
    """

    of_sets = True
    kind = "style"
    name = "kid"
    version = 2
    direction: Direction = "down"
    bounds = (float("-inf"), float("inf"))

    def __init__(self, backbone: str) -> None:
        self.backbone = backbone

    def __call__(self, samples: Sequence[Sample]) -> ScoreOfPart:
        sets = pooled(samples, self.backbone)
        images, references = kernel(sets.images, sets.images), kernel(sets.references, sets.references)
        between = kernel(sets.images, sets.references)

        def distance(part: Tensor) -> float:
            once, often = part.double(), sets.times(part)
            mean = once @ between @ often / (once.sum() * often.sum())
            return mean_of_pairs(images, once) + mean_of_pairs(references, often) - 2 * float(mean)

        return distance


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """Features (N, D) and (M, D) -> (N, M)."""
    return (first @ second.T / first.shape[1] + 1) ** 3


def mean_of_pairs(values: Tensor, often: Tensor) -> float:
    """Mean of a kernel (U, U) over the pairs of two different ones of N pictures; row u is often[u] of them, (U,)."""
    return float((often @ values @ often - often @ values.diagonal()) / (often.sum() ** 2 - often.sum()))
