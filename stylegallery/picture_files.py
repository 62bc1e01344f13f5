"""Which files are pictures, by their names alone."""

from pathlib import Path

from stylegallery.errors import InputError
from stylegallery.files import notice, unreachable

FORMATS = {  # Pillow's names of the formats that are read -> their suffixes, which folders are searched for
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
}
SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}


def list_images(source: str) -> list[Path]:
    """Picture files of a folder or glob pattern in sorted order; a single file is a list of one.

    Hidden files are left out unless `source` names them. A notice names what else is left out, once.

    Raises:
        InputError: nothing there, out of reach, or no pattern.
    """
    path = Path(source)
    try:
        if path.is_dir():
            candidates = list(path.iterdir())
        elif not path.exists() and any(character in source for character in "*?["):
            root = Path(path.anchor)
            candidates = list(root.glob(str(path.relative_to(root))))
        else:
            return [path]
        seen = sorted(place for place in candidates if not is_hidden(place, path))
        found = [place for place in seen if place.suffix.lower() in SUFFIXES and not place.is_dir()]
    except (OSError, ValueError, NotImplementedError) as error:
        raise unreachable(source, error) from error
    if not found:
        raise InputError(f"{source} holds no picture ({', '.join(sorted(SUFFIXES))}); check the path")
    taken = set(found)
    if others := [f"{place.name}/" if place.is_dir() else place.name for place in seen if place not in taken]:
        some = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        notice(f"{source}: taken as pictures {len(found)}, left out {len(others)} ({some})")
    return found


def is_hidden(path: Path, source: Path) -> bool:
    """Whether `path`, found in `source`, is or lies in something hidden that `source` does not name."""
    return any(part.startswith(".") and part not in source.parts for part in path.parts)
