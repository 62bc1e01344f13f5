"""Training pictures: loading, crops, palettes, and what EfficientNet sees in them."""

import math
import random
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylegallery.embedded.checkpoint import save_checkpoint
from stylegallery.encoders import EfficientNetEncoder

T = TypeVar("T")

STRIDE = 8  # pixels of a latent cell
ART_SHARE = 0.35  # art is 6 % of the pictures and what the model is for


def load_pictures(folder: Path) -> list[Tensor]:
    """All pictures of a folder as uint8 (3, H, W), sides cut to multiples of 16."""
    pictures = []
    for path in sorted(folder.glob("*.jpg")):
        image = Image.open(path).convert("RGB")
        height, width = image.height // 16 * 16, image.width // 16 * 16
        pictures.append(torch.from_numpy(np.array(image)[:height, :width]).permute(2, 0, 1).contiguous())
    return pictures


def split(pictures: list[T]) -> tuple[list[T], list[T]]:
    """Every twentieth picture is held out: (train, held out)."""
    return [p for i, p in enumerate(pictures) if i % 20 != 19], pictures[19::20]


Pairs = list[tuple[Tensor, Tensor]]  # of a picture and its semantic map


class AlignedPictures(NamedTuple):
    """(photographs, art) to train on and to measure on."""

    train: tuple[Pairs, Pairs]
    held: tuple[Pairs, Pairs]


def load_aligned_pictures(data: Path, work: Path) -> AlignedPictures:
    """The pictures of data/photo and data/art; their semantic maps are computed once and kept in `work`."""
    photos, art = load_pictures(data / "photo"), load_pictures(data / "art")
    maps = semantic_maps(photos + art, work / "tokens.pt")
    photo_pairs, held_photos = split(list(zip(photos, maps[: len(photos)], strict=True)))
    art_pairs, held_art = split(list(zip(art, maps[len(photos) :], strict=True)))
    return AlignedPictures((photo_pairs, art_pairs), (held_photos, held_art))


def random_crops(photos: list[Tensor], art: list[Tensor], size: int, batch: int, draw: random.Random) -> Tensor:
    """(batch, 3, size, size) in [-1, 1], mirrored at random."""
    crops = []
    for _ in range(batch):
        picture = draw.choice(art if draw.random() < ART_SHARE else photos)
        top = draw.randrange(picture.shape[1] - size + 1)
        left = draw.randrange(picture.shape[2] - size + 1)
        crop = picture[:, top : top + size, left : left + size]
        crops.append(crop.flip(-1) if draw.random() < 0.5 else crop)
    return torch.stack(crops).float() / 127.5 - 1


def semantic_maps(pictures: list[Tensor], path: Path) -> list[Tensor]:
    """What EfficientNet sees in every picture, on its latent grid, (88, H / 8, W / 8) float16, computed once.

    Materials: block 4 (stride 8) averaged over 5 x 5 cells, so that a texture is one thing. Objects: block 15
    (stride 32). Both of the doubled picture, standardised, reduced by PCA to at most 48 half-whitened components
    and brought to the same variance, so that neither and no common direction dominates their cosine.
    """
    if path.exists():
        return torch.load(path, weights_only=True)
    levels = []
    for block, window in ((4, 5), (15, 1)):
        encoder = EfficientNetEncoder(block=block, scale=2.0)
        maps = []
        for picture in pictures:
            grid = [side // STRIDE for side in picture.shape[-2:]]
            tokens = F.interpolate(encoder(picture[None] / 255), grid, mode="bilinear")
            maps.append(F.avg_pool2d(tokens, window, 1, window // 2, count_include_pad=False)[0].half())
        levels.append(half_whitened(maps, 48))
    combined = [torch.cat(pair) for pair in zip(*levels, strict=True)]
    save_checkpoint(path, combined)
    return combined


def half_whitened(maps: list[Tensor], components: int) -> list[Tensor]:
    """Leading principal components of the standardised maps (C, h, w), each divided by the fourth root of its
    variance; one is the variance of all together."""
    sample = torch.cat([m.flatten(1)[:, ::29] for m in maps], dim=1).float()
    mean, std = sample.mean(1, keepdim=True), sample.std(1, keepdim=True) + 1e-6
    values, vectors = torch.linalg.eigh(torch.cov((sample - mean) / std))
    values, vectors = values[-components:], vectors[:, -components:]
    projection = vectors.T / values[:, None] ** 0.25 / values.sqrt().sum().sqrt()
    projected = [projection @ ((m.flatten(1).float() - mean) / std) for m in maps]
    return [p.reshape(-1, *m.shape[1:]).half() for p, m in zip(projected, maps, strict=True)]


def recolour(images: Tensor, draw: random.Random) -> Tensor:
    """Turn hue, saturation, contrast and lightness of images (3, H, W) in [-1, 1]: palettes photographs lack."""
    angle, saturation = draw.uniform(-math.pi, math.pi), draw.uniform(0.3, 1.8)
    grey = images.mean(0, keepdim=True)
    axis = 3**-0.5
    cos, sin = math.cos(angle), math.sin(angle) * axis
    third = (1 - cos) / 3
    rotation = torch.tensor(
        [
            [cos + third, third - sin, third + sin],
            [third + sin, cos + third, third - sin],
            [third - sin, third + sin, cos + third],
        ]
    )
    chroma = torch.einsum("ij,jhw->ihw", rotation, images - grey)
    return (grey * draw.uniform(0.7, 1.2) + saturation * chroma + draw.uniform(-0.2, 0.2)).clamp(-1, 1)


def training_batch(photos: Pairs, art: Pairs, size: int, batch: int, draw: random.Random) -> tuple[Tensor, Tensor]:
    """From (picture, semantic map) pairs: images (batch, 3, size, size) in [-1, 1] and their semantic targets
    (batch, 88, size / 8, size / 8)."""
    images, targets = [], []
    for _ in range(batch):
        picture, semantics = draw.choice(art if draw.random() < ART_SHARE else photos)
        height, width = picture.shape[-2:]
        side = draw.randint(size * 3 // 4, min(height, width, size * 9 // 8))
        top, left = draw.randint(0, height - side), draw.randint(0, width - side)
        crop = picture[None, :, top : top + side, left : left + side].float() / 127.5 - 1
        image = F.interpolate(crop, (size, size), mode="bicubic", antialias=True)[0].clamp(-1, 1)
        centres = (torch.arange(size // STRIDE) + 0.5) * STRIDE / size * side
        rows, columns = (centres + top) / height * 2 - 1, (centres + left) / width * 2 - 1
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)[None]
        target = F.grid_sample(semantics[None].float(), grid, padding_mode="border", align_corners=False)[0]
        if draw.random() < 0.5:
            image, target = image.flip(-1), target.flip(-1)
        images.append(recolour(image, draw) if draw.random() < 0.35 else image)
        targets.append(target)
    return torch.stack(images), torch.stack(targets)
