"""Global style: StyleGallery without regions, to show what they buy.

Every picture is one region and the content takes its style from all references. Settings, start and energy are
StyleGallery's own; the style loss is the mean over the references, each with a softmax of its own (one softmax over
all references together is Attention Distillation, a baseline of its own). Masks, pins and vetoes of an item have no
meaning here.
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor

from stylegallery.contract import Energy, Item, Match, Progress, Silent, Stylization
from stylegallery.images import read_image, resize
from stylegallery.pipeline import Plan, StyleGallery
from stylegallery.segmentation import Segmentation
from stylegallery.stopwatch import Stopwatch


class GlobalStyle(StyleGallery):
    """Takes the settings of `StyleGallery`. Of those of stages 1 and 2 only `segmentation.inversion_steps` does
    anything, where `guidance.extras.initial` is `inverted`: it decides the start."""

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        result = super().stylize(item, generator, progress)
        return replace(result, content_labels=None, reference_labels=[], matches=[])

    def plan(
        self, item: Item, generator: torch.Generator, progress: Progress = Silent(), watch: Stopwatch | None = None
    ) -> Plan:
        """One region per picture; every reference is a match of the content's."""
        images = [
            resize(read_image(path), self.resolution, self.resizing, self.model.stride)
            for path in (item.content, *item.references)
        ]
        advance = progress.stage("1 inversion", self.segmentation.inversion_steps)
        analyses = [self.whole(image) for image in images]
        if self.guidance.extras.initial == "inverted":
            inverted = analyses[0].latent
            with (watch or Stopwatch(self.model.device))("inversion"):
                for step in self.model.invert(inverted, self.segmentation.inversion_steps):
                    inverted = step.latents
                    advance()
            analyses[0] = replace(analyses[0], inverted=inverted)
        matches = [Match(1, number, 1, 0.0, 0.0, 0.0, 0.0, False) for number in range(1, len(images))]
        return Plan(images, analyses, matches)

    def render(self, plan: Plan, progress: Progress = Silent()) -> tuple[Tensor, list[Energy]]:
        mean = copy.copy(self)
        if self.guidance.extras.normalise == "tokens":  # matches add up: weigh each by one over their number
            mean.guidance = replace(self.guidance, style_weight=self.guidance.style_weight / len(plan.matches))
        return StyleGallery.render(mean, plan, progress)

    def whole(self, image: Tensor) -> Segmentation:
        latent = self.model.encode(image)
        grid = (latent.shape[-2], latent.shape[-1])
        return Segmentation(torch.ones(grid, dtype=torch.int64), torch.zeros(1, *grid), latent, latent)
