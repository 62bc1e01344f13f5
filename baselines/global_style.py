"""Global style: StyleGallery without regions, an ablation that shows what they contribute.

Every picture is one region and the content takes its style from all references. Settings, start and energy are
StyleGallery's own; the style loss is the mean over the references, each with a softmax of its own (one softmax over
all references together is Attention Distillation, a baseline of its own). Masks and match constraints of an item are
ignored.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stylegallery.analysis import Analysis
from stylegallery.contract import Item, Match, Progress, Silent, Stylization
from stylegallery.decoding import Picture
from stylegallery.matching import RegionDescriptors
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.segmentation import Segmentation
from stylegallery.stopwatch import Stopwatch

NOTHING = RegionDescriptors(torch.empty(1, 0), torch.empty(1, 0), np.empty((1, 3)))  # is compared with nothing


class GlobalStyle(StyleGallery):
    """Takes the settings of `StyleGallery`. Of those of stages 1 and 2 only `segmentation.inversion_steps` does
    anything, where `guidance.extras.initial` is `inverted`: it decides the start."""

    def plan(
        self, item: Item, generator: torch.Generator, progress: Progress = Silent(), watch: Stopwatch | None = None
    ) -> Plan:
        """One region per picture; every reference is a match of the content's."""
        advance = progress.stage("1 inversion", self.segmentation.inversion_steps)
        content, *references = [self.whole(path) for path in (item.content, *item.references)]
        if self.guidance.extras.initial == "inverted":
            with (watch or Stopwatch(self.model.device))("inversion"):
                (found,) = self.analyser.inverted([content.image], advance)
            content = one_region(content.source, content.image, found.latent, found.inverted)
        matches = [Match(1, number, 1, 0.0, 0.0, 0.0, 0.0, False) for number in range(1, len(references) + 1)]
        return Plan(content, references, matches)

    def render_together(
        self, plans: Sequence[Plan], progress: Progress, watches: Sequence[Stopwatch]
    ) -> list[Stylization]:
        """One after the other: the weight of the style depends on an item's number of references."""
        return [self.rendered(*one, progress) for one in zip(plans, watches, strict=True)]

    def rendered(self, plan: Plan, watch: Stopwatch, progress: Progress) -> Stylization:
        mean = copy.copy(self)
        if self.guidance.extras.normalise == "tokens":  # matches add up: weigh each by one over their number
            mean.guidance = replace(self.guidance, style_weight=self.guidance.style_weight / len(plan.matches))
        (result,) = StyleGallery.render_together(mean, [plan], progress, [watch])
        return replace(result, content_labels=None, reference_labels=[], matches=[])

    def whole(self, picture: Picture) -> Analysis:
        image = self.analyser.read(picture).image
        latent = self.model.encode(image)
        return one_region(picture, image, latent, latent)


def one_region(picture: Picture, image: Tensor, latent: Tensor, inverted: Tensor) -> Analysis:
    """What is known of a picture that is one region, by its latents (1, C, h, w)."""
    labels = torch.ones(latent.shape[-2:], dtype=torch.int64)
    segmentation = Segmentation(labels, latent, inverted)
    return Analysis(picture, 0, lambda: NOTHING, lambda: image, lambda: segmentation)
