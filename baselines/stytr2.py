"""StyTr²: image style transfer with transformers (Deng et al., CVPR 2022, arXiv 2105.14576).

Official code: diyiiyiii/StyTR-2 at c11ea32, which has no licence: nothing of it is here. The network is written from
the paper and loads the three published checkpoints strictly (transformer_, decoder_ and embedding_iter_160000.pth;
the VGG checkpoint is for training only). Settings: short side 512, centre crop 512, values in [0, 1], no normalisation.

What differs: the result is clamped to [0, 1] and written as PNG (published: JPEG); only the forward pass to the picture
runs (published: two reconstructions and every loss as well). One reference only: of several, number `reference`
is taken, by default the first. Uses no random numbers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop
from torchvision.transforms.functional import resize as resize_short_side

from baselines.inputs import require_reference
from baselines.networks.stytr2 import PATCH, PatchEmbedding, Transformer, picture_decoder
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.devices import pick_device
from stylegallery.errors import require
from stylegallery.images import read_image
from stylegallery.models.checkpoints import load_strictly, read_checkpoint
from stylegallery.settings import Count, Resolution, Weights, checked
from stylegallery.stopwatch import Stopwatch
from stylegallery.weights import locate


class Parts(NamedTuple):
    """The three modules that are published as one file each."""

    embedding: nn.Module
    transformer: nn.Module
    decoder: nn.Module

    @classmethod
    def build(cls, width: int = 512, heads: int = 8, layers: int = 3, feedforward: int = 2048) -> "Parts":
        return cls(PatchEmbedding(width), Transformer(width, heads, layers, feedforward), picture_decoder(width))


class StyTR2:
    """`path` is the folder of the three checkpoints."""

    @checked
    def __init__(self, path: Weights, resolution: Resolution, reference: Count, device: str) -> None:
        rule = f"resolution is a multiple of {PATCH}, at least {2 * PATCH}"
        require(resolution % PATCH == 0 and resolution >= 2 * PATCH, rule, resolution)
        folder = locate(path)
        self.resolution, self.reference, self.device = resolution, reference, pick_device(device)
        self.parts = Parts.build()
        for name, module in self.parts._asdict().items():
            file = folder / f"{name}_iter_160000.pth"
            load_strictly(module, read_checkpoint(file, "stytr2"), file, "stytr2")
            module.to(self.device)

    @torch.no_grad()
    def transfer(self, content: Tensor, style: Tensor) -> Tensor:
        """Pictures (1, 3, R, R) in [0, 1] -> the stylised one."""
        content_tokens, style_tokens = (self.parts.embedding(image.to(self.device)) for image in (content, style))
        return self.parts.decoder(self.parts.transformer(style_tokens, content_tokens)).clamp(0, 1).cpu()

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        """Stylise one item with one of its references; `generator` is not used."""
        require_reference(item, self.reference)
        content, style = (
            center_crop(resize_short_side(read_image(path), self.resolution, antialias=True), [self.resolution])
            for path in (item.content, item.references[self.reference - 1])
        )
        watch = Stopwatch(self.device)
        advance = progress.stage("transfer", 1)
        with watch("transfer"):
            image = self.transfer(content, style)
        advance()
        return Stylization(image, content, [style], **watch.costs())
