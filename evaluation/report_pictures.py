"""The pictures of the report as base64: thumbnails, and the regions and matches of an item."""

import base64
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.annotation_files import read_maps
from stylegallery.decoding import read_pixels
from stylegallery.errors import InputError
from stylegallery.provenance import file_digest
from stylegallery.region_pictures import colours, deepest_point

QUALITY = 75
LARGEST_MAP = 128
UNTAKEN = (140, 140, 140)  # colour of reference regions that no content region takes its style from
COLOURS = (colours(255) * 255).round().astype(np.uint8)  # of content region 1, 2, ...


def thumbnail(path: Path, side: int, digest: str | None = None) -> dict[str, str]:
    """`{webp: base64}` of a picture made to fit side x side, or `{reason: why there is none}`; see `shrunk`."""
    try:
        return {"webp": encode(shrunk(path, side, digest), "webp", quality=QUALITY)}
    except InputError as error:
        return {"reason": str(error)}


def shrunk(path: Path, side: int, digest: str | None = None) -> Image.Image:
    """A picture made to fit side x side, as methods see it.

    `digest`: the SHA-256 the file had when the results were made; another file is not shown in its place.

    Raises:
        InputError: it is missing, damaged or another one.
    """
    if digest is not None and file_digest(path) != digest:
        raise InputError(f"{path} changed since the results were made")
    pixels = read_pixels(path)
    image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels * 255).round().astype(np.uint8))
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=None)
    return image


def encode(image: Image.Image, form: str, **settings: Any) -> str:
    data = io.BytesIO()
    image.save(data, form, **settings)
    return base64.b64encode(data.getvalue()).decode()


def tinted(labels: np.ndarray, palette: np.ndarray) -> str:
    """A label map as PNG in the colours (R, 3) uint8 of its regions, transparent where nothing is; base64."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([0, 0, 0, *palette.ravel().tolist()])
    return encode(image, "png", transparency=0, optimize=True)


def coarse(labels: np.ndarray) -> np.ndarray:
    """A label map (h, w) with about LARGEST_MAP labels a side at most."""
    step = max(1, round(max(labels.shape) / LARGEST_MAP))
    return labels[::step, ::step]


def annotation_block(folder: Path) -> dict[str, Any]:
    """Regions of content and references in matching colours, and the matches with the points that lines join.

    Points are (x, y) in fractions of the picture's sides.
    """
    try:
        content, references, matches = read_maps(folder)
    except InputError as error:
        missing = f"{folder} is missing; make it with: python -m evaluation.annotations OUT"
        return {"reason": str(error) if folder.exists() else missing}
    maps = [tinted(coarse(content), COLOURS)]
    for number, labels in enumerate(references, 1):
        palette = np.tile(np.array(UNTAKEN, dtype=np.uint8), (255, 1))
        for match in reversed(matches):  # a region that several take has the colour of the first
            if match.reference == number:
                palette[match.reference_region - 1] = COLOURS[match.content_region - 1]
        maps.append(tinted(coarse(labels), palette))
    joined = [
        asdict(match)
        | {
            "from": deepest_point(content, match.content_region, (1, 1)),
            "to": deepest_point(references[match.reference - 1], match.reference_region, (1, 1)),
            "share": float((content == match.content_region).mean()),
        }
        for match in matches
    ]
    return {"maps": maps, "matches": joined}
