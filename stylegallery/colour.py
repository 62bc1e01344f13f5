"""What the numbers of a picture file mean: its colour profile, its gamma, the value of its white."""

import io

import numpy as np
from PIL import Image, ImageCms

from stylegallery.errors import InputError
from stylegallery.files import notice

WIDE_MODES = ("I;16", "I;16B", "I;16L", "I", "F")  # Pillow's modes of one channel with more than 8 bits
GREY_MODES = ("1", "L", "LA", *WIDE_MODES)
SRGB, LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
DARKEST = 1 / 8  # share of white that some pixel exceeds, unless the values are on another type's scale
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
WHITE_IS_ZERO, SIGNED = 0, 2  # values of the last two tags


def note_scale(image: Image.Image) -> None:
    """Keep in `info` what a TIFF's tags say about values of more than 8 bits; `info` survives a turn of the picture."""
    if image.format != "TIFF" or image.mode not in WIDE_MODES:
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    if image.mode != "F":
        signed = tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
        image.info["white"] = 2 ** (tags[BITS][0] - signed) - 1
    # Pillow inverts pictures whose white is 0 only up to 8 bits.
    image.info["inverted"] = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO


def wide_values(image: Image.Image) -> np.ndarray:
    """The numbers (H, W) of a picture of `WIDE_MODES`, as the file has them."""
    values = np.asarray(image)
    return values.view(np.uint32) if image.info.get("white") == 2**32 - 1 else values


def levels(image: Image.Image, name: object) -> np.ndarray:
    """A picture of `WIDE_MODES` as float32 (H, W) in [0, 1]: whole numbers by the range of their type, floats above 1
    by their largest; `name` is what messages call it.

    Raises:
        InputError: values that are negative or not finite, or so small for their type that all would be near black.
    """
    values = wide_values(image)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not finite; export it again as an 8-bit PNG")
    largest, smallest = float(values.max()), float(values.min())
    if smallest < 0:
        raise InputError(f"{name} holds negative values, down to {smallest:g}; export it again as an 8-bit PNG")
    white = max(1.0, largest) if image.mode == "F" else image.info.get("white", 65535)
    inverted = image.info.get("inverted", False)
    if 0 < largest < DARKEST * white and not inverted:
        raise InputError(
            f"{name} holds values up to {largest:.10g} where white is {white:.10g} and would be almost black; "
            "export it again as an 8-bit PNG"
        )
    scaled = (values / np.float32(white)).astype(np.float32)
    return 1 - scaled if inverted else scaled


def as_rgb(image: Image.Image) -> Image.Image:
    """A picture of 8 bits as RGB, its numbers taken for sRGB whatever its profile says."""
    if image.mode == "LAB":  # which Pillow itself does not convert
        return ImageCms.profileToProfile(image, LAB, SRGB, outputMode="RGB") or image
    return image.convert("RGB")


def to_srgb(image: Image.Image, name: object) -> Image.Image:
    """A picture of 8 bits without transparency as sRGB, mode RGB, by its embedded profile or, in a PNG, its gamma.

    A profile that cannot be used is ignored with a notice, as viewers ignore it.
    """
    if data := image.info.get("icc_profile"):
        try:
            return by_profile(image, data)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            notice(f"{name}: the colour profile cannot be used ({error}) and is left out; convert the picture to sRGB")
    gamma = image.info.get("gamma", 0)  # of a PNG: the exponent that its values were written with
    if gamma > 0 and "srgb" not in image.info and abs(gamma * 2.2 - 1) > 0.05:
        linear = np.linspace(0, 1, 256) ** (1 / gamma)
        encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        return as_rgb(image).point((encoded * 255).round().astype(int).tolist() * 3)
    return as_rgb(image)


def by_profile(image: Image.Image, data: bytes) -> Image.Image:
    """Raises ValueError, OSError or PyCMSError where the profile is damaged or belongs to other pictures."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    modes = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
    own = "CMYK" if image.mode == "CMYK" else "GRAY" if image.mode in GREY_MODES else "RGB"
    if space not in modes or (space != own and (space, own) != ("RGB", "GRAY")):
        raise ValueError(f"it is one of {space} for a picture of {own}")
    converted = ImageCms.profileToProfile(image.convert(modes[space]), profile, SRGB, outputMode="RGB")
    assert converted is not None  # it is None only for a conversion in place
    return converted
