"""Photos and paintings that come with this repository, for a click."""

from functools import cache
from pathlib import Path

from stylegallery.errors import InputError
from stylegallery.picture_files import list_images
from stylegallery.provenance import ROOT, file_digest

SAMPLES = ROOT / "data" / "samples"


@cache
def samples(kind: str) -> dict[str, Path]:
    """Name -> file of the photos (`content`) or paintings (`style`)."""
    return {path.stem: path for path in list_images(str(SAMPLES / kind))} if SAMPLES.is_dir() else {}


def sample(kind: str, name: str) -> tuple[str, bytes]:
    """File name and bytes of one. Raises InputError where there is none of this name."""
    known = samples(kind) if kind in ("content", "style") else {}
    if name not in known:
        raise InputError("there is no such picture; choose one of those shown")
    return known[name].name, known[name].read_bytes()


@cache
def by_digest() -> dict[str, Path]:
    """SHA-256 -> file of all of them."""
    return {file_digest(path): path for kind in ("content", "style") for path in samples(kind).values()}
