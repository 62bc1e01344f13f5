"""What a visitor's files may be, and what becomes of their names. Nothing that they say reaches a path."""

import hashlib
import io
import re
import warnings
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from stylegallery.decoding import in_one_sentence, read_pixels
from stylegallery.errors import InputError
from stylegallery.picture_files import FORMATS

MOST_BYTES = 24 * 2**20  # of a file
MOST_TOGETHER = 48 * 2**20  # bytes of the files of one event
MOST_PIXELS = 24_000_000  # of a picture or a mask
MOST_ASPECT = 16  # longer side to shorter; the shorter is enlarged to what networks take, and the other with it
MOST_OF_VISITOR = 2**30  # bytes of all files that a visitor brings or makes
MOST_REFERENCES = 24
MOST_RESULTS = 12  # that a visitor's history holds
MOST_POINTS = 20_000  # of brush strokes
LONGEST_NAME = 40
DECODING = Lock()  # one picture at a time: a large one takes some hundred megabytes meanwhile
OURS = ("stylised", "overview")  # pictures that an archive holds beside those of the visitor


def safe_stem(name: str) -> str:
    """What of a file's name is a name anywhere, and needs no quotes on a command line."""
    stem = re.split(r"[\\/]", name)[-1].rpartition(".")[0] or name
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:LONGEST_NAME] or "picture"


def require_size(data: bytes, name: str) -> None:
    """Raises InputError where a file has more bytes than a visitor's may have."""
    if not data:
        raise InputError(f"{name} is empty; choose another file")
    if len(data) > MOST_BYTES:
        raise InputError(f"{name} has {len(data) / 2**20:.0f} MiB, more than {MOST_BYTES // 2**20}; make it smaller")


def require_picture(data: bytes, name: str) -> str:
    """The suffix of a picture's format. Raises InputError where it is none, or too large; nothing is decoded yet."""
    require_size(data, name)
    with in_one_sentence(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as image:
            size, kind = image.size, image.format or ""
    if size[0] * size[1] > MOST_PIXELS:
        raise InputError(
            f"{name} has {size[0] * size[1] / 1e6:.0f} megapixels, more than {MOST_PIXELS // 10**6}; make it smaller"
        )
    if max(size) > MOST_ASPECT * min(size):
        raise InputError(f"{name} is more than {MOST_ASPECT} times as long as it is wide; cut a part out of it")
    return FORMATS.get(kind, (".jpg",))[0]  # MPO, as cameras write it, is read as JPEG


def put(folder: Path, name: str, suffix: str, data: bytes) -> Path:
    """The file of some bytes in a folder of ours: one file of equal bytes, and no two of one name, nor one of `OURS`.

    Raises:
        InputError: the folder holds as much as a visitor may have.
    """
    stem, digest = safe_stem(name), hashlib.sha256(data).hexdigest()
    if sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) + len(data) > MOST_OF_VISITOR:
        raise InputError("this session holds as many files as it may; load the page again to begin anew")
    for number in range(2 if stem.casefold() in OURS else 1, 1000):
        path = folder / f"{stem if number == 1 else f'{stem}_{number}'}{suffix}"
        if not path.exists():
            path.write_bytes(data)
            return path
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
    raise InputError(f"there are a thousand files called {stem}; rename this one")


def shown_name(name: str) -> str:
    """What of a file's name is said again."""
    return re.sub(r"[^\w .()-]", "_", re.split(r"[\\/]", name)[-1])[:80] or "the picture"


def keep_picture(folder: Path, name: str, data: bytes) -> tuple[Path, np.ndarray]:
    """A visitor's picture as a file of ours, and its pixels, uint8 (H, W, 3), decoded as every other input is.

    Raises:
        InputError: it cannot be used.
    """
    shown = shown_name(name)
    path = put(folder, name, require_picture(data, shown), data)
    try:
        with DECODING:
            pixels = read_pixels(path)
            if pixels.dtype != np.uint8:  # more than eight bits of grey
                pixels = (pixels * 255).round().astype(np.uint8)
    except InputError as error:
        path.unlink()
        raise InputError(str(error).replace(str(path), shown)) from error
    return path, pixels
