"""Two edge detectors of ControlNet's annotators, rewritten from their architecture so that the files load strictly.

Names of parameters are those of lllyasviel/Annotators: ControlNetHED.pth and sk_model.pth, read in
open-mmlab/StyleShot at 0134435 (annotator/hed, annotator/lineart).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EdgeBlock(nn.Module):
    """3 x 3 convolutions with ReLU, and a projection of the last to one edge logit per position."""

    def __init__(self, before: int, after: int, layers: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(after if i else before, after, 3, padding=1) for i in range(layers))
        self.projection = nn.Conv2d(after, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convs:
            features = F.relu(convolution(features))
        return features, self.projection(features)


class HolisticEdges(nn.Module):
    """HED (Xie & Tu, ICCV 2015) as ControlNet publishes it: a VGG16-shaped stack with an edge map per scale."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.block1, self.block2 = EdgeBlock(3, 64, 2), EdgeBlock(64, 128, 2)
        self.block3, self.block4, self.block5 = EdgeBlock(128, 256, 3), EdgeBlock(256, 512, 3), EdgeBlock(512, 512, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 255] -> edge probability (B, 1, H, W): sigmoid of the mean logit of scales."""
        features, edges = self.block1(images - self.norm)
        maps = [edges]
        for block in (self.block2, self.block3, self.block4, self.block5):
            features, edges = block(F.max_pool2d(features, 2))
            maps.append(F.interpolate(edges, images.shape[-2:], mode="bilinear"))
        return torch.stack(maps).mean(0).sigmoid()


class Residual(nn.Module):
    """x + two 3 x 3 convolutions with instance norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv_block(features)


class LineDrawing(nn.Module):
    """Informative drawings (Chan et al., CVPR 2022): pictures (B, 3, H, W) in [0, 1] -> lines (B, 1, H, W) in [0, 1],
    dark on white; H and W are multiples of 4."""

    def __init__(self, width: int = 64, residuals: int = 3) -> None:
        super().__init__()
        norm, relu = nn.InstanceNorm2d, nn.ReLU
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), norm(width), relu())
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for before, after in ((width, 2 * width), (2 * width, 4 * width)):
            down += [nn.Conv2d(before, after, 3, stride=2, padding=1), norm(after), relu()]
            enlarge = nn.ConvTranspose2d(after, before, 3, stride=2, padding=1, output_padding=1)
            up = [enlarge, norm(before), relu(), *up]
        self.model1 = nn.Sequential(*down)
        self.model2 = nn.Sequential(*(Residual(4 * width) for _ in range(residuals)))
        self.model3 = nn.Sequential(*up)
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, 1, 7), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        return self.model4(self.model3(self.model2(self.model1(self.model0(images)))))
