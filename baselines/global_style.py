"""Global style: StyleGallery without regions, an ablation that shows what they contribute.

Every picture is one region and the content takes its style from all references. Settings, start and energy are
StyleGallery's own; the style loss is the mean over the references, each with a softmax of its own (one softmax over
all references together is Attention Distillation, a baseline of its own). Masks and match constraints of an item are
ignored.
"""

import copy
from dataclasses import replace

import numpy as np
import torch

from stylegallery.contract import Item, Match, Progress, Silent, Stylization
from stylegallery.images import Picture, read_image, resize
from stylegallery.matching import RegionDescriptors
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Analysis, Plan
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
            inverted = content.segmentation.latent
            with (watch or Stopwatch(self.model.device))("inversion"):
                for step in self.model.invert(inverted, self.segmentation.inversion_steps):
                    inverted = step.latents
                    advance()
            content = replace(content, segmentation=replace(content.segmentation, inverted=inverted))
        matches = [Match(1, number, 1, 0.0, 0.0, 0.0, 0.0, False) for number in range(1, len(references) + 1)]
        return Plan(content, references, matches)

    def render(self, plan: Plan, progress: Progress = Silent(), watch: Stopwatch | None = None) -> Stylization:
        mean = copy.copy(self)
        if self.guidance.extras.normalise == "tokens":  # matches add up: weigh each by one over their number
            mean.guidance = replace(self.guidance, style_weight=self.guidance.style_weight / len(plan.matches))
        result = StyleGallery.render(mean, plan, progress, watch)
        return replace(result, content_labels=None, reference_labels=[], matches=[])

    def whole(self, picture: Picture) -> Analysis:
        image = resize(read_image(picture), self.resolution, self.resizing, self.model.multiple)
        latent = self.model.encode(image)
        grid = (latent.shape[-2], latent.shape[-1])
        one_region = Segmentation(torch.ones(grid, dtype=torch.int64), torch.zeros(1, *grid), latent, latent)
        return Analysis(picture, image, 0, one_region, NOTHING)
