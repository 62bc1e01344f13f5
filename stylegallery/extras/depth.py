"""Depth, which splits regions that span near and far (paper §3.1)."""

import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, DepthAnythingForDepthEstimation

from stylegallery.models.pretrained import pretrained, processor_of
from stylegallery.settings import Weights


class DepthAnything(nn.Module):
    """Depth-Anything-V2 (paper: the large model): image (1, 3, H, W) in [0, 1] -> relative inverse depth (H', W').

    Larger is nearer, without a unit; H' and W' are about 518 pixels, as the model's own processor resizes.
    """

    def __init__(self, path: Weights, device: str) -> None:
        super().__init__()
        self.network = pretrained(DepthAnythingForDepthEstimation, path, "depth.path", device)
        self.processor = processor_of(AutoImageProcessor, path, "depth.path")

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        pixels = self.processor(image[0], do_rescale=False, return_tensors="pt").pixel_values
        return self.network(pixels.to(self.network.device)).predicted_depth[0].float().cpu()
