"""Neural style by optimisation (Gatys et al., CVPR 2016): pixels are optimised under losses on features.

No official code was used. `vgg19` are the paper's features: Gram matrices of relu1_1 ... relu5_1, content at relu4_2,
torchvision's ImageNet weights. `efficientnet` takes the stem and the stages of EfficientNet-Lite0 instead, which
needs no download and is a deviation. Other deviations: Adam instead of L-BFGS, start at the content
with the references' colour statistics (Monge-Kantorovich), losses relative to the size of the style's own Gram
matrix and of the content's own features, a total variation term. Several references: the mean of their Gram
matrices. Uses no random numbers. Masks and match constraints of an item are ignored.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from baselines.inputs import PictureReader
from stylegallery.colour_statistics import monge_kantorovich
from stylegallery.contract import Item, Progress, Silent, Stylization
from stylegallery.devices import pick_device, repeatable_gradients
from stylegallery.imagenet import IMAGENET_MEAN, IMAGENET_STD, EfficientNetLite
from stylegallery.models.checkpoints import load_strictly, read_checkpoint
from stylegallery.settings import Count, NotNegative, Positive, Resolution, checked
from stylegallery.stopwatch import Stopwatch
from stylegallery.weights import locate_file


class EfficientNetFeatures(nn.Module):
    """Stem and last blocks of the stages 1 to 5 of EfficientNet-Lite0 for style, stage 3 for content."""

    blocks = (0, 2, 4, 7, 10)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite("lite0")

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        styles = self.encoder.outputs(image, self.blocks)
        return styles, styles[3]


class VGG19Features(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 for style and relu4_2 for content."""

    styles, content = (1, 6, 11, 20, 29), 22

    def __init__(self) -> None:
        super().__init__()
        network, path = torchvision.models.vgg19(weights=None), locate_file("vgg19")
        load_strictly(network, read_checkpoint(path, "vgg19"), path, "vgg19")
        self.layers = network.features[: self.styles[-1] + 1]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        features, found = (image - mean) / deviation, {}
        for index, layer in enumerate(self.layers):
            features = layer(features)
            found[index] = features
        return [found[index] for index in self.styles], found[self.content]


class Gatys:
    @checked
    def __init__(
        self,
        resolution: Resolution,
        resizing: Literal["square", "keep"],
        features: Literal["efficientnet", "vgg19"],
        steps: Count,
        learning_rate: Positive,
        style_weight: NotNegative,
        content_weight: NotNegative,
        smoothness: NotNegative,
        device: str,
    ) -> None:
        self.read = PictureReader(resolution, resizing)
        network = EfficientNetFeatures() if features == "efficientnet" else VGG19Features()
        self.device = pick_device(device)
        self.features = network.eval().requires_grad_(False).to(self.device)
        self.steps, self.learning_rate = steps, learning_rate
        self.weights = {"style": style_weight, "content": content_weight, "smoothness": smoothness}

    def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
        content, references = self.read(item)
        watch = Stopwatch(self.device)
        advance = progress.stage("optimisation", self.steps)
        with watch("optimisation"):
            with torch.no_grad():
                styles = mean_grams([self.features(reference.to(self.device))[0] for reference in references])
                target = self.features(content.to(self.device))[1]
            start = monge_kantorovich(content, references).clamp(0.01, 0.99)
            logits = start.logit().to(self.device).requires_grad_()  # the picture stays within [0, 1]
            optimizer = torch.optim.Adam([logits], lr=self.learning_rate)
            for step in range(self.steps):
                optimizer.zero_grad()
                with repeatable_gradients():
                    energy = self.energy(logits.sigmoid(), styles, target)
                    if not energy.isfinite():
                        raise FloatingPointError(f"the energy is not finite at step {step}")
                    energy.backward()
                optimizer.step()
                advance()
            image = logits.detach().sigmoid().cpu()
        return Stylization(image, content, references, **watch.costs())

    def energy(self, image: Tensor, styles: list[Tensor], target: Tensor) -> Tensor:
        """Of an image (1, 3, H, W), against the Gram matrices of the references and the features of the content."""
        found, shape = self.features(image)
        losses = {
            "style": torch.stack([relative(gram(f), g) for f, g in zip(found, styles, strict=True)]).mean(),
            "content": relative(shape, target),
            "smoothness": total_variation(image),
        }
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()


def gram(features: Tensor) -> Tensor:
    """Gram matrix (C, C) of features (1, C, h, w), per cell."""
    flat = features[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def mean_grams(references: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The mean Gram matrix of every layer over the references."""
    return [torch.stack([gram(layer) for layer in layers]).mean(0) for layers in zip(*references, strict=True)]


def relative(found: Tensor, target: Tensor) -> Tensor:
    """Squared distance over the target's squared size."""
    return F.mse_loss(found, target) / target.square().mean().clamp(min=1e-12)


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels."""
    return (image[..., 1:, :] - image[..., :-1, :]).abs().mean() + (image[..., 1:] - image[..., :-1]).abs().mean()
