"""Reference copy: returns a reference. Every style metric must rank it first, every structure metric near its floor."""

from typing import Literal

import torch
import torch.nn.functional as F

from baselines.inputs import PictureReader, require_reference
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.settings import Count, Resolution, checked


class ReferenceCopy:
    """Returns reference number `reference`, counted from 1, at the content's size (bicubic).

    Needs no weights and no random numbers. Masks and match constraints of an item are ignored.
    """

    @checked
    def __init__(self, resolution: Resolution, resizing: Literal["square", "keep"], reference: Count) -> None:
        self.read, self.reference = PictureReader(resolution, resizing), reference

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        require_reference(item, self.reference)
        content, references = self.read(item)
        size = (content.shape[-2], content.shape[-1])
        image = F.interpolate(references[self.reference - 1], size, mode="bicubic", antialias=True).clamp(0, 1)
        return Stylization(image, content, references)
