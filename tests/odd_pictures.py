"""Broken pictures, and TIFFs that Pillow does not write."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claim_size(path: Path, width: int, height: int) -> None:
    """A PNG of a few bytes whose header claims any size: what a reader must refuse before it allocates."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 64)) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def truncate(path: Path, form: str) -> None:
    """The first half of a picture of noise, so that half of its pixels are there."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, form)
    path.write_bytes(data.getvalue()[: len(data.getvalue()) // 2])


def animate(path: Path, form: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    frames[0].save(path, form, save_all=True, append_images=frames[1:])


def not_finite(path: Path) -> None:
    values = np.full((64, 64), 0.5, dtype=np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(path, "tiff")


def write_tiff(path: Path, values: np.ndarray, white_is_zero: bool = False) -> None:
    """One strip of grey values (H, W) of any type and byte order, or (H, W, 2) with associated alpha, which Pillow
    itself does not write."""
    mark = ">" if values.dtype.byteorder == ">" else "<"
    height, width, channels = (*values.shape, 1)[:3]
    kind, data = {"u": 1, "i": 2, "f": 3}[values.dtype.kind], values.tobytes()
    bits = values.dtype.itemsize * 8
    tags = {256: width, 257: height, 258: bits if channels == 1 else bits * 65537, 259: 1, 262: int(not white_is_zero),
            273: 8, 277: channels, 278: height, 279: len(data), 339: kind}  # fmt: skip
    if channels == 2:
        del tags[339]
        tags[338] = 1
    rows = [
        struct.pack(f"{mark}HHII", tag, 3, 2, value) if tag == 258 and channels == 2 else
        struct.pack(f"{mark}HHII", tag, 4, 1, value)
        for tag, value in tags.items()
    ]  # fmt: skip
    head = (b"MM" if mark == ">" else b"II") + struct.pack(f"{mark}HI", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack(f"{mark}H", len(tags)) + b"".join(rows) + b"\0" * 4)


class Broken(NamedTuple):
    """A picture nobody can use: its file name, how to make it, and what the error must say."""

    name: str
    make: Callable[[Path], object]
    says: str


BROKEN = {
    "missing": Broken("missing.png", lambda path: None, "is missing; pass the path of a"),
    "link": Broken(
        "link.png", lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere; pass the path of a"
    ),
    "pipe": Broken("pipe.png", os.mkfifo, "is a pipe, a socket or a device; pass the path of a"),
    "truncated_png": Broken("half.png", lambda path: truncate(path, "PNG"), "restore it"),
    "truncated_jpeg": Broken("half.jpg", lambda path: truncate(path, "JPEG"), "restore it"),
    "zero_bytes": Broken("empty.png", lambda path: path.write_bytes(b""), "restore it"),
    "huge": Broken("huge.png", lambda path: claim_size(path, 20000, 20000), "make it smaller"),
    "large": Broken("large.png", lambda path: claim_size(path, 11000, 11000), "make it smaller"),
    "gif": Broken("moving.gif", lambda path: animate(path, "GIF"), "save the frame you want"),
    "apng": Broken("moving.png", lambda path: animate(path, "PNG"), "save the frame you want"),
    "text": Broken("notes.png", lambda path: path.write_text("not a picture\n"), "convert it"),
}
BROKEN_PICTURES = BROKEN | {  # a mask may be small and has no float values to read
    "one_pixel": Broken("dot.png", lambda path: Image.new("RGB", (1, 1)).save(path), "pass a larger picture"),
    "nan": Broken("nan.tif", not_finite, "export it again"),
}
