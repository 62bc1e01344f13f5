"""Image encoders for semantics (paper §3.2): an image becomes a grid of patch tokens.

Every encoder is a callable `images (B, 3, H, W) float32 in [0, 1] -> tokens (B, C, h, w)` that owns its resize and
normalisation; token (i, j) of the h x w grid describes the same fraction of the picture as it covers of the grid.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, Dinov2Model

from stylegallery.errors import require
from stylegallery.imagenet import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite, Variant
from stylegallery.images import resize
from stylegallery.models.pretrained import pretrained
from stylegallery.settings import Number, Resolution, Weights, checked


class EfficientNetEncoder(EfficientNetLite):
    """The feature map of one block of EfficientNet-Lite as tokens.

    `block` names the inverted-residual block whose output is read, from 0: the deeper, the more its tokens say what
    a picture shows, and the less where (`benchmarks/matching.py`). The picture is resized to about `resolution`² pixels
    with its aspect kept, so that a match does not depend on the size of the result.
    """

    @checked
    def __init__(self, variant: Variant, block: Number, resolution: Resolution) -> None:
        super().__init__(variant)
        require(block < self.blocks, f"{variant} has {self.blocks} blocks, encoder.block is one of them from 0", block)
        self.block, self.resolution = block, resolution

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(resize(images, self.resolution, "keep", 32), [self.block])[-1]


class PatchEncoder(nn.Module):
    """Patch tokens of a vision transformer, the whole picture at once without a crop.

    The picture is resized to about `resolution`² pixels with its aspect kept, in whole patches.
    """

    family: Any
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    options: ClassVar[dict[str, bool]] = {}

    @checked
    def __init__(self, path: Weights, resolution: Resolution, device: str) -> None:
        super().__init__()
        self.network = pretrained(self.family, path, "encoder.path", device)
        self.resolution = resolution

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        images = images.to(self.network.device)
        images = resize(images, self.resolution, "keep", self.network.config.patch_size)
        grid = [side // self.network.config.patch_size for side in images.shape[-2:]]
        mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.deviation))
        tokens = self.network((images - mean) / deviation, **self.options).last_hidden_state[:, 1:]
        return tokens.transpose(1, 2).unflatten(2, grid).cpu()


class DINOv2Encoder(PatchEncoder):
    """DINOv2 (paper: the base model)."""

    family = Dinov2Model
    mean, deviation = IMAGENET_MEAN, IMAGENET_STD


class CLIPEncoder(PatchEncoder):
    """The vision tower of CLIP, before it pools."""

    family = CLIPVisionModel
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    options: ClassVar[dict[str, bool]] = {"interpolate_pos_encoding": True}
