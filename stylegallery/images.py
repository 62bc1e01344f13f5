"""Pictures as tensors, and out to files: one resize, one writer for the whole project."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, PngImagePlugin
from torch import Tensor

from stylegallery.decoding import Picture, read_pixels
from stylegallery.files import replacing


def read_image(picture: Picture) -> Tensor:
    """A picture as float32 (1, 3, H, W) in [0, 1], sRGB, see `read_pixels`. Raises InputError as that does."""
    pixels = torch.from_numpy(read_pixels(picture)).permute(2, 0, 1)[None]
    return pixels if pixels.is_floating_point() else pixels.float() / 255


def resize(image: Tensor, resolution: int, mode: str, multiple: int) -> Tensor:
    """Bicubic resize of (1, 3, H, W) for a model whose sides must be multiples of `multiple` pixels.

    `square`: resolution x resolution up to rounding, the aspect ignored (paper). `keep`: the aspect kept up to
    rounding, with about resolution² pixels, so that the cost does not depend on the aspect. No side is
    shorter than four multiples or longer than eight times the resolution, which compresses the thinnest pictures.
    """
    height, width = image.shape[-2:]
    scale = resolution / math.sqrt(height * width)
    wanted = (resolution, resolution) if mode == "square" else (height * scale, width * scale)
    size = [max(4, round(min(side, 8 * resolution) / multiple)) * multiple for side in wanted]
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)


def to_pixels(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) or (3, H, W) in [0, 1] -> uint8 (H, W, 3), rounded to nearest."""
    pixels = (image.reshape(-1, *image.shape[-2:]) * 255).round().clamp(0, 255)
    return pixels.permute(1, 2, 0).byte().cpu().numpy()


def save(image: Tensor, path: str | Path) -> None:
    """Write a picture (1, 3, H, W) in [0, 1] as PNG."""
    write_png(Path(path), to_pixels(image))


def write_png(path: Path, pixels: np.ndarray, metadata: dict[str, str] | None = None) -> None:
    """Write uint8 pixels (H, W, 3) as PNG with text metadata, atomically."""
    text = PngImagePlugin.PngInfo()
    for key, value in (metadata or {}).items():
        text.add_text(key, value)
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="png", pnginfo=text)
