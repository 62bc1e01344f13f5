"""ArtFID: content and style in one number (Wright and Ommer, GCPR 2022, arXiv 2207.12280)."""

from collections.abc import Sequence

import torch

from evaluation.metric import BATCH, Direction, Sample, ScoreOfPart
from evaluation.metrics.fid import Fid
from evaluation.metrics.lpips import Lpips


class ArtFid:
    """(1 + mean `lpips_alex`) · (1 + `fid_art`) over the same items. Lower is better, 1 and up."""

    of_sets = True
    kind = "set"
    name = "artfid"
    version = 1
    direction: Direction = "down"
    bounds = (1.0, float("inf"))

    def __init__(self) -> None:
        self.lpips, self.fid = Lpips("alex"), Fid("art")

    def __call__(self, samples: Sequence[Sample]) -> ScoreOfPart:
        if not samples:
            raise ValueError("ArtFID needs pictures, and there are none")
        found: list[float] = []
        for start in range(0, len(samples), BATCH):
            found += self.lpips(samples[start : start + BATCH])
        distances, fid = torch.tensor(found, dtype=torch.float64), self.fid(samples)
        return lambda part: compose(float(distances[part].mean()), fid(part))


def compose(lpips: float, fid: float) -> float:
    """ArtFID of its two parts."""
    return (1 + lpips) * (1 + fid)
