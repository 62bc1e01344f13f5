"""What metrics see of a picture: features of it, computed once per picture and shared by all metrics.

Networks load at their first use, from files already on this machine, and run on the GPU where there is one.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from evaluation.metric import BATCH, MissingWeights
from stylegallery.devices import pick_device
from stylegallery.errors import InputError
from stylegallery.weights import find, locate_file

Features = dict[str, Tensor]


class Kept(Features):
    """Features of a picture. Unlike a plain dict, this one can be referenced weakly."""


class Extractor(ABC):
    """Pictures (1, 3, H, W) in [0, 1] -> one dict of named features each, kept as long as the picture itself.

    Pictures with equal pixels share their features, so that identities are exact: the last bits of a convolution
    depend on the place of a picture in its batch.
    """

    def __init__(self) -> None:
        self.kept = WeakTensorKeyDictionary()
        self.known: WeakValueDictionary[bytes, Kept] = WeakValueDictionary()  # digest of the pixels -> features

    @abstractmethod
    def features(self, images: Tensor) -> Features:
        """Images (B, 3, H, W) -> named features, the first axis counting images."""

    @torch.no_grad()
    def __call__(self, images: Sequence[Tensor]) -> list[Features]:
        pixels = {id(image): digest(image) for image in images if image not in self.kept}
        unseen = [image for image in images if id(image) in pixels]
        fresh = {pixels[id(image)]: image for image in unseen if pixels[id(image)] not in self.known}
        for batch in batches(list(fresh.values())):
            found = {name: values.cpu() for name, values in self.features(torch.cat(batch)).items()}
            for index, image in enumerate(batch):
                one = Kept({name: values[index].clone() for name, values in found.items()})
                self.kept[image] = self.known[pixels[id(image)]] = one
        for image in unseen:
            self.kept[image] = self.known[pixels[id(image)]]
        return [self.kept[image] for image in images]


def digest(image: Tensor) -> bytes:
    """Digest of the pixels and the shape."""
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16, salt=str(image.shape[-1]).encode()).digest()


def batches(images: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The pictures in groups of one shape, at most `batch_size` in each."""
    size = batch_size()
    shapes: dict[torch.Size, list[Tensor]] = {}
    for image in images:
        shapes.setdefault(image.shape, []).append(image)
    for group in shapes.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def batch_size() -> int:
    """Pictures in one pass: one on a CPU, whose caches a batch overflows (EfficientNet: a third slower at eight)."""
    return 1 if pick_device("auto").type == "cpu" else BATCH


class Backbone(Extractor):
    """A pretrained network. Loading raises MissingWeights where its files are not here."""

    @abstractmethod
    def load(self) -> nn.Module: ...

    @cached_property
    def device(self) -> torch.device:
        return pick_device("auto")

    @cached_property
    def network(self) -> nn.Module:
        return self.load().eval().requires_grad_(False).to(self.device)


def weights_file(name: str) -> Path:
    """The file of an entry of weights.yaml, or a file of the user's own. Raises MissingWeights where a command gets it,
    and InputError where none does."""
    try:
        return locate_file(name)
    except InputError as error:
        if find(name) is None:
            raise
        raise MissingWeights(name) from error


def grams(maps: Sequence[Tensor]) -> Features:
    """`gram 1`, `gram 2` ...: G = F Fᵀ / (C·H·W), (B, C, C), of feature maps (B, C, H, W)."""
    return {
        f"gram {number}": features.flatten(2) @ features.flatten(2).mT / features[0].numel()
        for number, features in enumerate(maps, 1)
    }


def block_deviations(maps: Sequence[Tensor]) -> Tensor:
    """Style of each block of a 4 x 4 grid, (B, 16, D), unit length: the standard deviations of all channels of each
    map inside the block, each map scaled to unit length."""
    parts = []
    for features in maps:
        mean, square = (F.adaptive_avg_pool2d(values, 4).flatten(2).mT for values in (features, features**2))
        parts.append(F.normalize((square - mean**2).clamp_min(0).sqrt(), dim=2))
    return F.normalize(torch.cat(parts, dim=2), dim=2)
