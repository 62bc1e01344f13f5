"""Identity: returns the content. Every structure metric must rank it first, every style metric near its floor."""

from typing import Literal

import torch

from baselines.inputs import PictureReader
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.settings import Resolution, checked


class Identity:
    """Needs no weights and no random numbers. Masks and match constraints of an item are ignored."""

    @checked
    def __init__(self, resolution: Resolution, resizing: Literal["square", "keep"]) -> None:
        self.read = PictureReader(resolution, resizing)

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        content, references = self.read(item)
        return Stylization(content, content, references)
