"""Where a result comes from: digests of the files it read, the weights its method loads, and the sources that ran."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from stylegallery.errors import InputError
from stylegallery.images import SUFFIXES
from stylegallery.weights import find, locate

ROOT = Path(__file__).parent.parent
WEIGHTS_KEYS = (
    "path",
    "base",
    "lora",
    "controlnet",
    "adapter",
    "captions",
)  # settings that name a folder or file to load
WEIGHTS_SUFFIXES = {".safetensors", ".bin", ".pth", ".pt", ".ckpt", *SUFFIXES}  # pictures: method=published


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises InputError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error


def nodes(config: object, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping inside a config with its dotted name."""
    if isinstance(config, Mapping):
        yield name, config
        for key, value in config.items():
            yield from nodes(value, f"{name}.{key}" if name else str(key))
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from nodes(value, f"{name}[{index}]")


def weights_digests(config: object) -> dict[str, str]:
    """Dotted name of every setting that names weights -> digest of these.

    Raises:
        InputError: they are not on this machine; the message has the command that gets them.
    """
    return {
        f"{name}.{key}".lstrip("."): weights_digest(node[key])
        for name, node in nodes(config)
        for key in WEIGHTS_KEYS
        if isinstance(node.get(key), str)
    }


@cache  # a process loads weights once: later changes on disk are not what it computes with
def weights_digest(name: str) -> str:
    """Digest of the names, sizes and sixteen samples of 64 KiB of every weight file: seconds for any model size."""
    if Path(name).is_file():
        folder, paths = Path(name).parent, {Path(name)}
    else:
        folder, entry = locate(name), find(name)
        patterns = entry.files if entry and not Path(name).is_dir() else ["**/*"]
        paths = {path for pattern in patterns for path in folder.glob(pattern) if path.suffix in WEIGHTS_SUFFIXES}
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}".encode())
        with path.open("rb") as file:
            for index in range(16):
                file.seek(index * size // 16)
                digest.update(file.read(2**16))
    return digest.hexdigest()[:12]


def code_digest(config: object) -> str:
    """Digest of the sources that the `_target_`s of a config reach by imports inside this repository.

    A change of one method leaves the results of the others valid; scores and tables are in nobody's reach.
    """
    targets = {str(node["_target_"]) for _, node in nodes(config) if "_target_" in node}
    return sources_digest(frozenset(targets))


@cache  # at the start of a process, as it runs what it imported then
def sources_digest(targets: frozenset[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(reachable(targets)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def reachable(names: frozenset[str]) -> set[Path]:
    """Source files of this repository behind dotted names, and of all that they import."""
    found: set[Path] = set()
    waiting = [path for name in names if (path := source_of(name))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [source for name in imports(path) if (source := source_of(name))]
    return found


def source_of(name: str) -> Path | None:
    """The file of the longest part of a dotted name that is a module of this repository."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a source file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
