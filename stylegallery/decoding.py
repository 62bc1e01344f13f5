"""Pictures out of files, decoded into arrays: one reader for the whole project. It does without PyTorch, which takes
seconds to import."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stylegallery.colour import WIDE_MODES, levels, note_scale, to_srgb
from stylegallery.errors import InputError
from stylegallery.files import require_file, unreachable
from stylegallery.picture_files import FORMATS

SMALLEST_SIDE, LARGEST_AREA = 32, 100_000_000
Image.MAX_IMAGE_PIXELS = LARGEST_AREA
Picture = str | Path | Image.Image | np.ndarray  # as a user has it, see `read_pixels`


def open_image(path: Path) -> Image.Image:
    """Decode a still picture of one of `FORMATS` completely, upright by its EXIF orientation.

    Raises:
        InputError: missing, out of reach, no regular file, not a picture, truncated, animated, or larger than 100
            megapixels.
    """
    require_file(path, "picture")
    # Given the path, Pillow 13 maps an uncompressed TIFF into memory, and a turned one with the wrong width.
    with in_one_sentence(path), path.open("rb") as stream, Image.open(stream, formats=list(FORMATS)) as image:
        return decoded(image, path)


@contextmanager
def in_one_sentence(name: object) -> Iterator[None]:
    """Raises InputError in place of what Pillow raises while it decodes; `name` is what it calls the picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name} has more than {LARGEST_AREA // 10**6} megapixels; make it smaller first") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a picture of {', '.join(FORMATS)}; convert it to PNG or JPEG") from error
    except Exception as error:  # Pillow's decoders raise errors of any type on damaged bytes
        if isinstance(error, OSError) and error.errno:  # an error of the operating system
            raise unreachable(str(name), error) from error
        raise InputError(f"{name} is damaged ({error}); restore it from its source") from error


def decoded(image: Image.Image, name: object) -> Image.Image:
    """A copy of a still picture, decoded completely and upright. Raises InputError where it is animated."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # cameras write a JPEG and its preview as MPO
        raise InputError(f"{name} has {frames} frames or pages; save the frame you want as a PNG")
    image.load()
    note_scale(image)
    return ImageOps.exif_transpose(image)


def alpha_of(image: Image.Image) -> Image.Image | None:
    """The opacity of every pixel, mode L; None where the file has none."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I;16"):  # one of the greys is transparent
        return Image.fromarray(np.asarray(image) != image.info["transparency"]).convert("L")
    return (image.convert("LA") if image.mode == "La" else image.convert("RGBA")).getchannel("A")


def read_pixels(picture: Picture) -> np.ndarray:
    """A picture in sRGB: of a file, of Pillow's, or an array uint8 (H, W, 3). uint8 (H, W, 3), or float32 in [0, 1]
    where there are more than eight bits of grey.

    Greyscale becomes RGB, colours are converted by the embedded profile, transparency is laid over white, 16-bit and
    float pictures are scaled.

    Raises:
        InputError: as `open_image` and `levels`; also a side below 32 pixels, or an array of another form.
    """
    name: object = "the picture"
    if isinstance(picture, np.ndarray):
        fits = picture.dtype == np.uint8 and (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4)))
        if not fits:
            form = f"{picture.dtype} {picture.shape}"
            raise InputError(f"a picture given as an array is uint8 of shape (height, width, 3), not {form}")
        picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        with in_one_sentence(name):
            image = decoded(picture, name)
    else:
        name, image = picture, open_image(Path(picture))
    if min(image.size) < SMALLEST_SIDE:
        raise InputError(
            f"{name} has {image.width}x{image.height} pixels, fewer than {SMALLEST_SIDE} on a side; "
            "pass a larger picture"
        )
    alpha = alpha_of(image)
    if image.mode in WIDE_MODES:
        values = levels(image, name)
        if "icc_profile" not in image.info and "gamma" not in image.info:
            values = values if alpha is None else np.where(np.asarray(alpha) > 0, values, np.float32(1))
            return np.repeat(values[..., None], 3, axis=2)
        eight_bits = Image.fromarray((values * 255).round().astype(np.uint8))
        eight_bits.info |= image.info
        image = eight_bits
    image.info.pop("transparency", None)  # it is in `alpha`; Pillow would convert it along, with warnings
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    colours = to_srgb(image, name)
    if alpha is not None:
        colours = Image.composite(colours, Image.new("RGB", image.size, "white"), alpha)
    return np.array(colours)
