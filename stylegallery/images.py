"""Pictures in and out of files: one reader, one resize, one writer for the whole project."""

import math
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from stylegallery.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SMALLEST_SIDE, LARGEST_AREA = 32, 100_000_000
Image.MAX_IMAGE_PIXELS = LARGEST_AREA


def open_image(path: Path) -> Image.Image:
    """Decode a still picture completely, upright by its EXIF orientation.

    Raises:
        InputError: missing, out of reach, not a picture, truncated, animated, or larger than 100 megapixels.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; pass the path of a picture")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format != "MPO":  # cameras write a JPEG and its preview as MPO
                    raise InputError(f"{path} is animated ({frames} frames); save the frame you want as a PNG")
                image.load()
                return ImageOps.exif_transpose(image)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} has more than {LARGEST_AREA // 10**6} megapixels; make it smaller first") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that Pillow can read; convert it to PNG or JPEG") from error
    except Exception as error:  # Pillow's decoders raise whatever they meet in damaged bytes
        if isinstance(error, OSError) and error.errno:  # the system's own
            raise unreachable(str(path), error) from error
        raise InputError(f"{path} is damaged ({error}); restore it from its source") from error


def unreachable(path: str, error: Exception) -> InputError:
    """What to tell of a path that the system does not let us look at."""
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path} cannot be read ({reason}); check the path and its permissions")


def read_image(path: Path) -> Tensor:
    """A picture file as float32 (1, 3, H, W) in [0, 1].

    Greyscale becomes RGB, transparency is laid over white, 16-bit and float pictures are scaled.

    Raises:
        InputError: as `open_image`; also a side below 32 pixels, or values that are not finite.
    """
    image = open_image(path)
    if min(image.size) < SMALLEST_SIDE:
        raise InputError(
            f"{path} has {image.width}x{image.height} pixels, fewer than {SMALLEST_SIDE} on a side; "
            "pass a larger picture"
        )
    if image.mode in ("I;16", "I;16B", "I", "F"):
        values = np.asarray(image).astype(np.float32)
        if not np.isfinite(values).all():
            raise InputError(f"{path} holds values that are not finite; export it again as an 8-bit PNG")
        values = (values / (65535 if image.mode != "F" else max(1.0, values.max()))).clip(0, 1)
        return torch.from_numpy(values)[None, None].repeat(1, 3, 1, 1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def resize(image: Tensor, resolution: int, mode: str, multiple: int) -> Tensor:
    """Bicubic resize of (1, 3, H, W) for a model whose sides must be multiples of `multiple` pixels.

    `square`: resolution x resolution up to rounding, the aspect ignored (paper). `keep`: the aspect kept up to
    rounding, with about resolution² pixels, so that the cost does not depend on the aspect.
    """
    height, width = image.shape[-2:]
    scale = resolution / math.sqrt(height * width)
    wanted = (resolution, resolution) if mode == "square" else (height * scale, width * scale)
    size = [max(4, round(side / multiple)) * multiple for side in wanted]
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)


def to_pixels(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) or (3, H, W) in [0, 1] -> uint8 (H, W, 3), rounded to nearest."""
    pixels = (image.reshape(-1, *image.shape[-2:]) * 255).round().clamp(0, 255)
    return pixels.permute(1, 2, 0).byte().cpu().numpy()


def write_png(path: Path, pixels: np.ndarray, metadata: dict[str, str] | None = None) -> None:
    """Write uint8 pixels (H, W, 3) as PNG with text metadata, atomically."""
    text = PngImagePlugin.PngInfo()
    for key, value in (metadata or {}).items():
        text.add_text(key, value)
    temporary = path.with_suffix(".tmp")
    Image.fromarray(pixels).save(temporary, format="png", pnginfo=text)
    temporary.replace(path)


def list_images(source: str) -> list[Path]:
    """Picture files of a folder or glob pattern in sorted order; a single file is a list of one.

    Raises:
        InputError: nothing there, out of reach, or no pattern.
    """
    path = Path(source)
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            candidates = list(path.iterdir())
        elif any(character in source for character in "*?["):
            root = Path(path.anchor)
            candidates = list(root.glob(str(path.relative_to(root))))
        else:
            return [path]
    except (OSError, ValueError) as error:
        raise unreachable(source, error) from error
    found = sorted(candidate for candidate in candidates if candidate.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{source} holds no picture ({', '.join(sorted(SUFFIXES))}); check the path")
    return found
