"""Where a result comes from: digests of the files it read, the weights its method loads, and the sources that ran."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

from stylegallery.errors import InputError
from stylegallery.files import require_file, unreachable
from stylegallery.images import SUFFIXES
from stylegallery.weights import find, local_path, locate

ROOT = Path(__file__).parent.parent
WEIGHTS_KEYS = (
    "path",
    "base",
    "lora",
    "controlnet",
    "adapter",
    "captions",
)  # settings that name a folder or file to load
TEXT_SUFFIXES = {".json", ".txt"}  # settings of networks and schedulers, tokenizers
WEIGHTS_SUFFIXES = {".safetensors", ".bin", ".pth", ".pt", ".ckpt", *TEXT_SUFFIXES, *SUFFIXES}  # pictures: published
BY_NAME = ("data.benchmark.item_generator", "stylegallery.embedded.autoencoder")  # what runs and no method imports


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises InputError where it cannot be read, or is not a regular one."""
    require_file(path)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreachable(str(path), error) from error


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
    """Digest of the names, sizes and contents of every file that decides what is loaded.

    Texts are read whole, of other files sixteen samples of 64 KiB: seconds for any model size.

    Raises:
        InputError: they are not on this machine, or one of them cannot be read.
    """
    if (local := local_path(name)) and local.is_file():
        folder, files = local.parent, {local.name}
    else:
        folder, entry = locate(name), find(name)
        patterns = entry.files if entry and not Path(name).is_dir() else ["**/*"]
        # Path.glob would not follow links to folders, as those who load them do.
        found = [file for one in patterns for file in glob(one, root_dir=folder, recursive=True)]  # noqa: PTH207
        files = {file for file in found if is_weights(folder / file)}
    digest = hashlib.sha256()
    for file in sorted(files):
        path = folder / file
        try:
            size = path.stat().st_size
            digest.update(f"{file} {size}".encode(errors="surrogatepass"))
            with path.open("rb") as stream:
                if path.suffix.lower() in TEXT_SUFFIXES:
                    digest.update(stream.read())
                else:
                    for index in range(16):
                        stream.seek(index * size // 16)
                        digest.update(stream.read(2**16))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); restore it or remove it") from error
    return digest.hexdigest()[:12]


def is_weights(path: Path) -> bool:
    return path.suffix.lower() in WEIGHTS_SUFFIXES and not path.is_dir()


def code_digest(config: object) -> str:
    """Digest of the sources that the `_target_`s of a config reach by imports inside this repository.

    A change of one method leaves the results of the others valid; scores and tables are in nobody's reach.
    """
    targets = {str(node["_target_"]) for _, node in nodes(config) if "_target_" in node}
    return sources_digest(frozenset(targets.union(BY_NAME)))


@cache  # a process runs what it imported: later edits are not what made its results
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
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
