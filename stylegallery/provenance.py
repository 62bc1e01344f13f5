"""Where a result comes from: digests of the files it read, the weights its method loads, and the sources that ran."""

import ast
import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

from stylegallery.contract import MatchConstraints
from stylegallery.errors import InputError
from stylegallery.files import require_file, unreachable
from stylegallery.picture_files import SUFFIXES
from stylegallery.settings import located, names_weights, parameters_of
from stylegallery.weights import EMBEDDED, find, local_path, locate, table

ROOT = Path(__file__).parent.parent
WEIGHTS_SUFFIXES = {".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".json", ".txt", *SUFFIXES}  # pictures: published
KEPT = Path("~/.cache/stylegallery/digests")  # digests of large files, so that gigabytes are not read at every start
LARGE, SETTLED = 2**20, 2.0  # bytes; seconds since the last change, longer than any file system's clock ticks
DRAWS = "stylegallery.draws"  # what an item's random numbers come from
MODULE = re.compile(r"[a-z_]+(\.[a-z_]+)+")


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


def weights_settings(config: object) -> dict[str, str]:
    """Dotted name and value of every setting that names weights: marked so in the signature of what its node names, or
    a name of weights.yaml. Imports what the nodes name: only for settings that this process was given.

    Raises:
        InputError: what a node names cannot be imported.
    """
    return {
        f"{name}.{key}".lstrip("."): value
        for name, node in nodes(config)
        for key, value in node.items()
        if isinstance(value, str) and (key in marked(str(node.get("_target_") or "")) or value in table())
    }


@cache
def marked(target: str) -> frozenset[str]:
    """Parameters that name weights, of a function or class by its dotted name."""
    accepted = parameters_of(located(target, target)) if target else {}
    return frozenset(name for name, kind in accepted.items() if names_weights(kind))


def weights_digests(config: object) -> dict[str, str]:
    """Dotted name of every setting that names weights -> digest of these.

    Raises:
        InputError: they are not on this machine; the message has the command that gets them.
    """
    return {name: weights_digest(value) for name, value in weights_settings(config).items()}


def without_places(config: Any, weights: Collection[str], name: str = "") -> Any:
    """Settings without those of the dotted names `weights`: they say where weights lie, and a digest what these are."""
    if isinstance(config, Mapping):
        named = {key: f"{name}.{key}".lstrip(".") for key in config}
        return {key: without_places(config[key], weights, named[key]) for key in config if named[key] not in weights}
    if isinstance(config, list):
        return [without_places(value, weights, f"{name}[{index}]") for index, value in enumerate(config)]
    return config


def identity(config: Any) -> str:
    """Digest of all that decides what a config makes: its settings, the weights that they name, by content, and the
    sources that they reach. Nodes may stand in a list. Raises InputError where weights are not on this machine."""
    weights = weights_digests(config)
    decides = [without_places(config, weights), weights, code_digest(config)]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def constraints_written(constraints: MatchConstraints[Any]) -> dict[str, Any]:
    """Match constraints as records have them; their order does not matter."""
    return {
        "pins": sorted(([region, *target] for region, target in constraints.pins.items()), key=str),
        "excluded": sorted(constraints.excluded),
        "forbidden": sorted(map(list, constraints.forbidden), key=str),
    }


def deciding(
    seed: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    constraints: Mapping[str, Any],
    weights: Mapping[str, str],
    code: str,
) -> dict[str, Any]:
    """All that decides the bytes of a result on one machine: inputs are digests of files by their roles."""
    given = {"seed": seed, "inputs": dict(inputs), "constraints": dict(constraints), "weights": dict(weights)}
    return given | {"config": without_places(config, weights), "code": code}


def address(decides: Mapping[str, Any]) -> str:
    """Address of the result that `deciding` is of."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def picture_text(decides: Mapping[str, Any]) -> dict[str, str]:
    """What a stylised PNG says of itself: enough to make it again where its inputs are."""
    return {
        "config": address(decides),
        "seed": str(decides["seed"]),
        "code": decides["code"],
        "request": json.dumps(decides, sort_keys=True),
    }


def with_absolute_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Settings with absolute paths of the weights on this machine, for processes in other working directories."""
    local = {name for name, value in weights_settings(config).items() if value != EMBEDDED and local_path(value)}

    def absolute(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {key: absolute(inner, f"{name}.{key}".lstrip(".")) for key, inner in value.items()}
        if isinstance(value, list):
            return [absolute(inner, f"{name}[{index}]") for index, inner in enumerate(value)]
        return str(Path(value).absolute()) if name in local else value

    absolutes: dict[str, Any] = absolute(config, "")
    return absolutes


@cache  # a process loads weights once, so later changes on disk do not count
def weights_digest(name: str) -> str:
    """Digest of every file that decides what is loaded, whole; in a folder its name there counts too.

    Raises:
        InputError: they are not on this machine, or one of them cannot be read.
    """
    if (local := local_path(name)) and local.is_file():
        return readable_digest(local)[:12]
    folder, entry = locate(name), find(name)
    patterns = entry.patterns(folder) if entry and not Path(name).is_dir() else ["**/*"]
    # Path.glob would not follow links to folders, as those who load them do.
    found = {file for one in patterns for file in glob(one, root_dir=folder, recursive=True)}  # noqa: PTH207
    lines = [f"{file} {readable_digest(folder / file)}\n" for file in sorted(found) if is_weights(folder / file)]
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()[:12]


def readable_digest(path: Path) -> str:
    """`kept_digest`; raises InputError where the file cannot be read, or is a pipe or device, which may never end."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file; restore it or remove it")
        return kept_digest(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); restore it or remove it") from error


def kept_digest(path: Path) -> str:
    """SHA-256 of a file that may be gigabytes, kept in the user's cache under all that tells whether it changed.

    A digest is not kept for a file that changed a moment ago, as its time may not show the next change, or while it was
    read. A damaged entry of the cache is ignored. One entry is one file, which any number of processes may write.

    Raises:
        OSError: the file cannot be read.
    """
    key = identity_of(path.stat())
    entry = Path(f"{KEPT}/{hashlib.sha256(f'{path.resolve()} {key}'.encode(errors='surrogatepass')).hexdigest()}")
    with suppress(OSError, RuntimeError, UnicodeDecodeError):  # no cache; RuntimeError: no home
        entry = entry.expanduser()
        digest, _, check = entry.read_text(encoding="ascii").partition(" ")
        if check == hashlib.sha256(f"{entry.name} {digest}".encode()).hexdigest():
            return digest
    with path.open("rb") as stream:
        before, digest = os.fstat(stream.fileno()), hashlib.file_digest(stream, "sha256").hexdigest()
        after = os.fstat(stream.fileno())
    settled = time.time() - max(after.st_mtime, after.st_ctime) > SETTLED
    if settled and after.st_size > LARGE and key == identity_of(before) == identity_of(after):
        with suppress(OSError, RuntimeError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            check = hashlib.sha256(f"{entry.name} {digest}".encode()).hexdigest()
            entry.write_text(f"{digest} {check}", encoding="ascii")
    return digest


def identity_of(stat: os.stat_result) -> tuple[int, ...]:
    """Values that change with a file. Its ctime changes even where somebody restores its modification time."""
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)


def is_weights(path: Path) -> bool:
    return path.suffix.lower() in WEIGHTS_SUFFIXES and not path.is_dir()


def code_digest(config: object) -> str:
    """Digest of the sources that the `_target_`s of a config reach by imports inside this repository.

    A change of one method leaves the results of the others valid, and a change of scores or tables those of all. The
    code that draws random numbers for an item counts for every method.
    """
    targets = {str(node["_target_"]) for _, node in nodes(config) if "_target_" in node}
    return sources_digest(frozenset(targets | {DRAWS}))


@cache  # a process runs what it imported, so later edits do not count
def sources_digest(targets: frozenset[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(reachable(targets)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def reachable(names: frozenset[str]) -> set[Path]:
    """Source files of this repository behind dotted names, and of all that they import or name as a module to load."""
    found: set[Path] = set()
    waiting = [path for name in names if (path := source_of(name))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [source for name in (*imports(path), *modules_named(path)) if (source := source_of(name))]
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
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)[: -node.level + 1 or None] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> list[str]:
    """Names of the folders below the repository that a source file is in; none of one that is elsewhere."""
    return list(path.parent.relative_to(ROOT).parts) if path.is_relative_to(ROOT) else []


def modules_named(path: Path) -> Iterator[str]:
    """Modules of this repository that a source file names in a text, as it does to load their classes by name."""
    texts = (str(node.value) for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant))
    for text in filter(MODULE.fullmatch, texts):
        if ROOT.joinpath(*text.split(".")).with_suffix(".py").is_file():
            yield text


def parsed(path: Path) -> ast.Module:
    """Raises InputError where a source file is not Python."""
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno} is not Python ({error.msg}); mend this line") from error
