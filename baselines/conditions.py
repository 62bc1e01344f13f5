"""What a ControlNet keeps of the content: callables from a picture (1, 3, H, W) in [0, 1] to a condition of that shape.

Bytes are truncated where the published detectors truncate them.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from baselines.networks.annotators import HolisticEdges, LineDrawing
from stylegallery.devices import pick_device
from stylegallery.images import to_pixels
from stylegallery.models.checkpoints import load_strictly, read_checkpoint
from stylegallery.models.pretrained import pretrained, processor_of
from stylegallery.settings import Number, Weights, checked
from stylegallery.weights import locate


class Canny:
    """Canny edges, white on black. No weights. Thresholds of InstantStyle's ControlNet demo."""

    @checked
    def __init__(self, low: Number, high: Number) -> None:
        self.low, self.high = low, high

    def __call__(self, image: Tensor) -> Tensor:
        edges = cv2.Canny(to_pixels(image), self.low, self.high)
        return torch.from_numpy(edges.astype(np.float32) / 255).expand(1, 3, -1, -1)


class Contour:
    """StyleShot's contour: HED edges above 200 of 255, dilated by 3 x 3, white on black."""

    def __init__(self, path: Weights, device: str) -> None:
        self.device, self.network = pick_device(device), HolisticEdges()
        file = locate(path) / "ControlNetHED.pth"
        load_strictly(self.network, read_checkpoint(file, "hed"), file, "hed")
        self.network.to(self.device)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        edges = self.network((image * 255).round().to(self.device)).cpu()
        strong = ((edges * 255).floor() > 200).float()
        return F.max_pool2d(strong, 3, stride=1, padding=1).expand(-1, 3, -1, -1)


class Lineart:
    """Line drawing, dark on white."""

    def __init__(self, path: Weights, device: str) -> None:
        self.device, self.network = pick_device(device), LineDrawing()
        file = locate(path) / "sk_model.pth"
        load_strictly(self.network, read_checkpoint(file, "lineart"), file, "lineart")
        self.network.to(self.device)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        lines = self.network(image.to(self.device)).cpu()
        return ((lines * 255).floor() / 255).expand(-1, 3, -1, -1)


class Depth:
    """Monocular depth, stretched to [0, 1] in steps of a byte, near is bright: any depth estimation model of
    transformers."""

    def __init__(self, path: Weights, device: str) -> None:
        self.network = pretrained(AutoModelForDepthEstimation, path, "condition.path", device)
        self.processor = processor_of(AutoImageProcessor, path, "condition.path")

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        inputs = self.processor(images=to_pixels(image), return_tensors="pt")
        depth = self.network(inputs["pixel_values"].to(self.network.device)).predicted_depth.float().cpu()
        depth = F.interpolate(depth[:, None], image.shape[-2:], mode="bicubic")
        span = (depth.max() - depth.min()).clamp_min(1e-6)
        return ((depth - depth.min()) / span * 255).floor().div(255).expand(-1, 3, -1, -1)
