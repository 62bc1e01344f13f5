"""Kernel distance between the outputs and the references of a set of items (Bińkowski et al., ICLR 2018)."""

import warnings
from collections.abc import Sequence

import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from evaluation.metric import Direction, Sample
from evaluation.metrics.fid import pooled


class Kid:
    """KID by torchmetrics: unbiased squared MMD with the cubic kernel, mean over 100 subsets of up to 1000 pictures
    drawn with a fixed seed, on the pooled features of the Inception of FID (`kid`).

    Unlike FID it has no bias at small N, only spread. The style set is that of FID. Lower is better; an unbiased
    estimate may fall below 0.
    """

    kind = "set"
    name = "kid"
    version = 1
    direction: Direction = "down"
    bounds = (float("-inf"), float("inf"))

    def __init__(self, backbone: str = "inception") -> None:
        self.backbone = backbone

    def __call__(self, samples: Sequence[Sample]) -> float:
        images, references = pooled(samples, self.backbone)
        size = min(len(images), len(references), 1000)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.manual_seed(0)  # torchmetrics draws its subsets from the global generator
            warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save", UserWarning)
            kid = KernelInceptionDistance(nn.Identity(), subset_size=size)
            kid.update(references, real=True)
            kid.update(images, real=False)
            return float(kid.compute()[0])
