"""Fréchet distance between the outputs and the references of a set of items (Heusel et al., NeurIPS 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.backbones import backbone
from evaluation.metric import BATCH, Direction, Sample, ScoreOfPart, clamped


class Fid:
    """Plain FID, in float64, of the pooled features of a backbone.

    `fid_inception`: the Inception of FID, as torch-fidelity computes it; `fid_art`: the one of ArtFID, about ten times
    smaller values; `fid_efficientnet`: EfficientNet-Lite0, 320 features, needs no download. The style set holds every
    reference as often as items use it (StyleID repeats its 40 styles to 800 likewise). With fewer pictures than
    features the estimate is biased upwards: compare only equal N. It is not the FID-infinity of the ArtFID paper; with
    fewer than 5000 pictures the published code of that computes this number. Lower is better, 0 and up, about 0 for
    equal sets.
    """

    of_sets = True
    kind = "style"
    version = 2
    direction: Direction = "down"
    bounds = (0.0, float("inf"))

    def __init__(self, backbone: str) -> None:
        self.name, self.backbone = f"fid_{backbone}", backbone

    def __call__(self, samples: Sequence[Sample]) -> ScoreOfPart:
        sets = pooled(samples, self.backbone)
        return lambda part: frechet(sets.images, part.double(), sets.references, sets.times(part))


def frechet(first: Tensor, often: Tensor, second: Tensor, as_often: Tensor) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of two sets of features (N, D) and (M, D), each row counted as often as
    (N,) and (M,) say.

    With A, B the deviations from the means, so that Σ₁ = AᵀA and Σ₂ = BᵀB, the trace of the root is the sum of the
    singular values of ABᵀ: exact, and small where there are fewer pictures than features.
    """
    (mean, deviations), (other_mean, others) = spread(first, often), spread(second, as_often)
    root = torch.linalg.svdvals(deviations @ others.T).sum()
    distance = (mean - other_mean).square().sum() + deviations.square().sum() + others.square().sum() - 2 * root
    return clamped(float(distance), low=0.0)


def spread(rows: Tensor, often: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) of the rows (N, D), and A with AᵀA their covariance, at most D rows."""
    rows, often = rows[often > 0], often[often > 0]
    mean = often @ rows / often.sum()
    deviations = (rows - mean) * (often / (often.sum() - 1)).sqrt()[:, None]
    return mean, deviations if len(rows) <= rows.shape[1] else torch.linalg.qr(deviations, mode="r").R


@dataclass(frozen=True)
class Pooled:
    """Features of all outputs (N, D) and of the different references (U, D), float64; of every reference of every item,
    in order, its row among the references and the number of its item (M,)."""

    images: Tensor
    references: Tensor
    rows: Tensor
    items: Tensor

    def times(self, part: Tensor) -> Tensor:
        """How often the items of a part (N,) bool use each of the references, (U,) float64."""
        return torch.bincount(self.rows[part[self.items]], minlength=len(self.references)).double()


def pooled(samples: Sequence[Sample], name: str) -> Pooled:
    """Pooled features of all outputs and references of all items.

    They stay in `sample.features`, so that several set metrics run a backbone once.

    Raises:
        ValueError: a distance between sets has no meaning for one picture.
    """
    images, references = [], []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        fresh = [sample for sample in batch if name not in sample.features]
        backbone(name)([picture for sample in fresh for picture in (sample.image, *sample.references)])
        for sample in fresh:
            found = backbone(name)([sample.image, *sample.references])
            sample.features[name] = torch.stack([features["pooled"] for features in found]).double()
        for sample in batch:
            rows = sample.features[name]
            assert isinstance(rows, Tensor)
            images.append(rows[:1])
            references.append(rows[1:])
    if min(len(images), sum(map(len, references))) < 2:
        raise ValueError("a distance between sets needs at least two outputs and two references")
    items = torch.repeat_interleave(torch.tensor([len(rows) for rows in references]))
    different, rows = torch.unique(torch.cat(references), dim=0, return_inverse=True)
    return Pooled(torch.cat(images), different, rows, items)
