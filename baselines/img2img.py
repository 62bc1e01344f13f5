"""Image to image (SDEdit, Meng et al., ICLR 2022) with the null prompt: the diffusion model without any style.

A calibration row: only style scores better than this one's can come from the references, which it does not use.
Written from the paper's formulas with diffusers' schedule; no official code was used. `strength` is the share of the
`steps` DDIM steps (η = 0) that are run. Noise comes from the item's generator. Masks and match constraints of an item
are ignored.
"""

from itertools import pairwise
from typing import Literal

import torch

from baselines.inputs import PictureReader
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.models.diffusion import DiffusionModel
from stylegallery.settings import PositiveShare, Resolution, Steps, checked
from stylegallery.stopwatch import Stopwatch


class Img2Img:
    @checked
    def __init__(
        self,
        model: DiffusionModel,
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        steps: Steps,
        strength: PositiveShare,
    ) -> None:
        self.model, self.steps, self.strength = model, steps, strength
        self.read = PictureReader(resolution, resizing, model.multiple)

    @torch.no_grad()
    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        content, references = self.read(item)
        watch = Stopwatch(self.model.device)
        timesteps = self.model.timesteps(self.steps)
        timesteps = timesteps[len(timesteps) - max(1, round(self.strength * len(timesteps))) :]
        advance = progress.stage("denoising", len(timesteps))
        with watch("denoising"):
            latent = self.model.encode(content)
            noise = torch.randn(latent.shape, generator=generator).to(latent.device)
            latent = self.model.add_noise(latent, noise, timesteps[0])
            for timestep, following in pairwise([*timesteps, timesteps[-1]]):
                noise = self.model.predict_noise(latent, timestep)
                latent, clean = self.model.ddim_step(latent, noise, timestep, following)
                advance()
            image = self.model.decode(clean).cpu()  # what the last step predicts: nothing follows it
        return Stylization(image, content, references, **watch.costs())
