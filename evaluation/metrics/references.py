"""One score of a result and its several references: against the nearest, or the mean over all of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from evaluation.backbones import backbone
from evaluation.features import Features
from evaluation.metric import Direction, Sample


class ToReferences(ABC):
    """A style score of single pictures, of which an item has one for every reference.

    over `nearest` (`gram_vgg19`, say): the best of them. Whoever copies one of several references has its style
    exactly, and a result that mixes them, as the method is meant to, is punished. The more references, the better the
    score of any picture, the untouched photo's too: compare items of equally many references.
    over `mean` (`gram_vgg19_mean`): the mean of them, which does not move with their number. It asks for the style of
    all references at once: a copy of one is only as good as that one resembles the others, and no picture need reach
    the bound. One reference: both are the same.
    """

    direction: Direction
    backbone: str

    def __init__(self, name: str, over: Literal["nearest", "mean"]) -> None:
        self.name, self.over = name + {"nearest": "", "mean": "_mean"}[over], over

    def describe(self, pictures: Sequence[Tensor]) -> list[Features]:
        """What is compared of each picture (1, 3, H, W), computed once per picture."""
        return backbone(self.backbone)(pictures)

    @abstractmethod
    def compare(self, image: Features, reference: Features) -> float: ...

    def together(self, image: Features, references: Sequence[Features]) -> float:
        """Against all references at once: the nearest, unless a score lets a picture take from several."""
        values = [self.compare(image, reference) for reference in references]
        return float(np.min(values) if self.direction == "down" else np.max(values))  # which pass a NaN on

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        self.describe([picture for sample in samples for picture in (sample.image, *sample.references)])
        values = []
        for sample in samples:
            image, *references = self.describe([sample.image, *sample.references])
            if self.over == "nearest":
                values.append(self.together(image, references))
            else:
                values.append(float(np.mean([self.compare(image, reference) for reference in references])))
        return values
