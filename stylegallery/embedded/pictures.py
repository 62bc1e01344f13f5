"""Training pictures: loading, crops, palettes, and what EfficientNet sees in them."""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegallery.embedded.checkpoint import save_whole
from stylegallery.embedded.painting import painted_over
from stylegallery.errors import InputError
from stylegallery.imagenet import EfficientNetLite
from stylegallery.images import read_image, resize, to_pixels
from stylegallery.picture_files import list_images

T = TypeVar("T")

STRIDE = 8  # pixels of a latent cell
HELD_OUT = 20  # every twentieth picture
ART_SHARE, PAINTED_SHARE = 0.5, 0.15  # of what is drawn; the rest are photographs
RECOLOURED_SHARE = 0.35


def load_pictures(folders: Sequence[Path], least: int) -> list[Tensor]:
    """All pictures of those folders that are there, as uint8 (3, H, W): their middle, at most half longer than wide,
    sides cut to multiples of 16.

    Raises InputError where one has a side below `least` pixels, or where there are too few to hold one out.
    """
    pictures = []
    for path in [path for folder in folders if folder.is_dir() for path in list_images(str(folder))]:
        pixels = torch.from_numpy(to_pixels(read_image(path))).permute(2, 0, 1)
        shortest = min(pixels.shape[1:])
        height, width = (min(side, shortest * 3 // 2) // 16 * 16 for side in pixels.shape[1:])
        if min(height, width) < least:
            raise InputError(f"{path} has a side of {shortest} px; enlarge it to {-(-least // 16) * 16} or remove it")
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        pictures.append(pixels[:, top : top + height, left : left + width].contiguous())
    if len(pictures) < HELD_OUT:
        where = " and ".join(map(str, folders))
        raise InputError(
            f"{where} have {len(pictures)} pictures; put {HELD_OUT} or more there, one of which is held out"
        )
    return pictures


def load_photos(data: Path, least: int) -> list[Tensor]:
    """Photographs: those of ImageNet's classes and the open ones."""
    return load_pictures([data / "photo", data / "photo_open"], least)


def load_art(data: Path, least: int) -> list[Tensor]:
    """Paintings, drawings, prints and textures."""
    return load_pictures([data / "art", data / "art_public_domain"], least)


def split(pictures: list[T]) -> tuple[list[T], list[T]]:
    """Every twentieth picture is held out: (train, held out)."""
    return [p for i, p in enumerate(pictures, 1) if i % HELD_OUT], pictures[HELD_OUT - 1 :: HELD_OUT]


@dataclass(frozen=True)
class PictureBank:
    """Training pictures of several kinds with their semantic maps, padded to one size by repeating their borders.

    pictures (N, 3, H, W) uint8; maps (N, 88, H / 8, W / 8) float16; sizes (N, 2), the rows and columns that are
    picture; kind k has `counts[k]` pictures in a row and the share `shares[k]` of what is drawn.
    """

    pictures: Tensor
    maps: Tensor
    sizes: Tensor
    counts: Tensor
    shares: Tensor

    @classmethod
    def of(cls, kinds: Sequence[tuple[float, list[Tensor], list[Tensor]]], device: torch.device) -> "PictureBank":
        """From (share, pictures, their maps) of every kind; pictures and maps live on the device."""
        pictures = [picture for _, kind, _ in kinds for picture in kind]
        maps = [semantics for _, _, kind in kinds for semantics in kind]
        sizes = torch.tensor([picture.shape[-2:] for picture in pictures])
        height, width = sizes.amax(0).tolist()
        return cls(
            padded(pictures, height, width).to(device),
            padded(maps, height // STRIDE, width // STRIDE).to(device),
            sizes,
            torch.tensor([len(kind) for _, kind, _ in kinds]),
            torch.tensor([share for share, _, _ in kinds]),
        )


def padded(values: list[Tensor], height: int, width: int) -> Tensor:
    """Maps (C, h, w) of many sizes as one (N, C, height, width), their last rows and columns repeated."""
    bank = values[0].new_empty(len(values), len(values[0]), height, width)
    for place, value in zip(bank, values, strict=True):
        rows, columns = (
            torch.arange(side).clamp(max=own - 1) for side, own in zip((height, width), value.shape[-2:], strict=True)
        )
        place.copy_(value[:, rows][:, :, columns])
    return bank


def load_picture_banks(data: Path, work: Path, least: int, device: torch.device) -> tuple[PictureBank, PictureBank]:
    """Photographs, art, and photographs painted over (to train on, held out), of at least `least` pixels a side.

    Semantic maps are computed once and kept in `work`. A mosaic of a dog is a dog: what is painted over a photograph
    has the map of the photograph.
    """
    photos, art = load_photos(data, least), load_art(data, least)
    maps = semantic_maps(photos + art, work / "semantic_maps.pt", device)
    halves = zip(split(photos), split(maps[: len(photos)]), split(art), split(maps[len(photos) :]), strict=True)
    train, held = (
        PictureBank.of(
            [
                (1 - ART_SHARE - PAINTED_SHARE, *photographs),
                (ART_SHARE, *works),
                (PAINTED_SHARE, painted_over(photographs[0][::2], 0), photographs[1][::2]),
            ],
            device,
        )
        for photographs, works in ((half[:2], half[2:]) for half in halves)
    )
    return train, held


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


def semantic_maps(pictures: list[Tensor], path: Path, device: torch.device) -> list[Tensor]:
    """What EfficientNet-Lite0 sees in every picture (3, H, W), on its latent grid, (88, H / 8, W / 8) float16;
    computed once for the same pictures and kept at `path`.

    Materials: block 4 (stride 8) averaged over 5 x 5 cells, so that a texture is one thing. Objects: block 15
    (stride 32). Both of the doubled picture, standardised, reduced by PCA to at most 48 half-whitened components
    and brought to the same variance, so that neither and no common direction dominates their cosine.
    """
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{tuple(picture.shape)}".encode() + picture.numpy().tobytes())
    if path.exists():
        kept = torch.load(path, weights_only=True)
        if kept["pictures"] == digest.hexdigest():
            return kept["maps"]
    network = EfficientNetLite("lite0").to(device)
    levels: tuple[list[Tensor], list[Tensor]] = ([], [])
    for picture in pictures:
        height, width = picture.shape[-2:]
        doubled = resize(picture[None].to(device) / 255, round(2 * math.sqrt(height * width)), "keep", 32)
        with torch.no_grad():
            _, *outputs = network.outputs(doubled, [4, 15])
        for maps, output, window in zip(levels, outputs, (5, 1), strict=True):
            tokens = F.interpolate(output, (height // STRIDE, width // STRIDE), mode="bilinear")
            maps.append(F.avg_pool2d(tokens, window, 1, window // 2, count_include_pad=False)[0].half().cpu())
    combined = [torch.cat(pair) for pair in zip(*(half_whitened(maps, 48) for maps in levels), strict=True)]
    save_whole(path, {"pictures": digest.hexdigest(), "maps": combined})
    return combined


def half_whitened(maps: list[Tensor], components: int) -> list[Tensor]:
    """Leading principal components of the standardised maps (C, h, w), each divided by the fourth root of its
    variance; one is the variance of all together."""
    sample = torch.cat([m.flatten(1)[:, ::29] for m in maps], dim=1).float()
    mean, std = sample.mean(1, keepdim=True), sample.std(1, keepdim=True) + 1e-6
    values, vectors = torch.linalg.eigh(torch.cov((sample - mean) / std))
    values, vectors = values[-components:].clamp(min=1e-6 * values[-1]), vectors[:, -components:]  # few pictures
    projection = vectors.T / values[:, None] ** 0.25 / values.sqrt().sum().sqrt()
    projected = [projection @ ((m.flatten(1).float() - mean) / std) for m in maps]
    return [p.reshape(-1, *m.shape[1:]).half() for p, m in zip(projected, maps, strict=True)]


def recolour(images: Tensor, draws: Tensor) -> Tensor:
    """Turn hue, saturation, contrast and lightness of images (B, 3, H, W) in [-1, 1]: palettes photographs lack.

    `draws` (B, 4) in [0, 1) say how much.
    """
    angle, saturation = (draws[:, 0] * 2 - 1) * math.pi, 0.3 + 1.5 * draws[:, 1]
    gain, lift = 0.7 + 0.5 * draws[:, 2], 0.4 * draws[:, 3] - 0.2
    grey = images.mean(1, keepdim=True)
    cosine, sine, third = angle.cos(), angle.sin() * 3**-0.5, (1 - angle.cos()) / 3
    same, after, before = cosine + third, third + sine, third - sine
    rotation = torch.stack([same, before, after, after, same, before, before, after, same], 1).view(-1, 3, 3)
    chroma = torch.einsum("bij,bjhw->bihw", rotation * saturation[:, None, None], images - grey)
    return (grey * gain[:, None, None, None] + chroma + lift[:, None, None, None]).clamp(-1, 1)


def training_batch(bank: PictureBank, size: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (batch, 3, size, size) in [-1, 1] and their semantic targets (batch, 88, size / 8, size / 8).

    Square crops of 3/8 to 9/8 of `size`, resized, mirrored and given other palettes at random: enlarged, a picture has
    its things where those of a result of twice the resolution have them. The draws are made on the CPU, the rest where
    the bank is.
    """
    device = bank.pictures.device
    kind = torch.multinomial(bank.shares, batch, replacement=True, generator=generator)
    first = bank.counts.cumsum(0)[kind] - bank.counts[kind]
    draws = torch.rand(batch, 10, generator=generator)
    index = first + (draws[:, 0] * bank.counts[kind]).long()
    sizes = bank.sizes[index]
    smallest = size * 3 / 8
    side = smallest + draws[:, 1] * (sizes.amin(1).clamp(max=size * 9 / 8) - smallest)
    corner = draws[:, 2:4] * (sizes - side[:, None])
    full = torch.tensor(bank.pictures.shape[-2:])
    mirrored = torch.where(draws[:, 4] < 0.5, -1, 1)

    def grid(count: int) -> Tensor:
        centres = ((torch.arange(count) + 0.5) / count * 2 - 1) * side[:, None] / 2  # pixels from the crop's centre
        rows, columns = (
            (centres * sign[:, None] + corner[:, axis, None] + side[:, None] / 2) / full[axis] * 2 - 1
            for axis, sign in ((0, torch.ones(batch)), (1, mirrored))
        )
        points = torch.stack([columns[:, None].expand(-1, count, -1), rows[:, :, None].expand(-1, -1, count)], -1)
        return points.to(device)

    def cut(values: Tensor, count: int, mode: str) -> Tensor:
        return F.grid_sample(values.float(), grid(count), mode, padding_mode="border", align_corners=False)

    images = (cut(bank.pictures[index.to(device)], size, "bicubic") / 127.5 - 1).clamp(-1, 1)
    targets = cut(bank.maps[index.to(device)], size // STRIDE, "bilinear")
    turned = (draws[:, 5] < RECOLOURED_SHARE).to(device)[:, None, None, None]
    return torch.where(turned, recolour(images, draws[:, 6:].to(device)), images), targets
