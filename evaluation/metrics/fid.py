"""Fréchet distance between the outputs and the references of a set of items (Heusel et al., NeurIPS 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from evaluation.backbones import BATCH, backbone
from evaluation.metric import Direction, Sample, clamped


class Fid:
    """Plain FID by torchmetrics, in float64, of the pooled features of a backbone.

    `fid_inception`: the Inception of FID; `fid_art`: the one of ArtFID, about ten times smaller values;
    `fid_efficientnet`: EfficientNet-Lite0, 320 features, needs no download. The style set holds every reference as
    often as items use it (StyleID repeats its 40 styles to 800 likewise). With fewer pictures than features the
    estimate is biased upwards: compare only equal N. It is not the FID-infinity of the ArtFID paper; with fewer than
    5000 pictures the published code of that computes this number. Lower is better, 0 and up, about 0 for equal sets.
    """

    kind = "set"
    version = 1
    direction: Direction = "down"
    bounds = (0.0, float("inf"))

    def __init__(self, backbone: str) -> None:
        self.name, self.backbone = f"fid_{backbone}", backbone

    def __call__(self, samples: Sequence[Sample]) -> float:
        images, references = pooled(samples, self.backbone)
        features = nn.Identity()
        features.num_features = images.shape[1]  # type: ignore[assignment]  # read by torchmetrics
        fid = FrechetInceptionDistance(features)
        fid.update(references, real=True)
        fid.update(images, real=False)
        return clamped(float(fid.compute()), low=0.0)


def pooled(samples: Sequence[Sample], name: str) -> tuple[Tensor, Tensor]:
    """Pooled features of all outputs (N, D) and of all references of all items (M, D), float64.

    They stay in `sample.features`, so that several set metrics run a backbone once.

    Raises:
        ValueError: a distance between sets has no meaning for one picture.
    """
    images, references = [], []
    for start in range(0, len(samples), BATCH):
        batch = [samples[index] for index in range(start, min(start + BATCH, len(samples)))]
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
    return torch.cat(images), torch.cat(references)
