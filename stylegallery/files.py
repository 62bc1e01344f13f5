"""Files from outside are read only if they are regular and of bounded size; our own are written whole or not at all."""

import json
import logging
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stylegallery.errors import InputError, MachineError, printable

PARTIAL = ".partial-"  # folders of files that are being written
LARGEST_FILE = 2 * 2**30  # bytes of a picture: 100 megapixels of four floats have 1.6 GB
LARGEST_JSON = 256 * 2**20  # bytes: a labelme file holds its whole photo as text
LARGEST_YAML = 4 * 2**20
DEEPEST = 50  # levels of lists and mappings in each other
MOST_VALUES = 1_000_000  # in a JSON file: some 100 MB as Python objects


@cache
def notice(sentence: str) -> None:
    """Tell the user something that is no error, once in a process: on stderr, or by logging if that is set up."""
    logging.getLogger("stylegallery").warning("%s", printable(sentence))


def cache_folder() -> Path:
    """Where the XDG base directory specification has caches of the user. Raises RuntimeError where there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if Path(given).is_absolute() else Path.home() / ".cache"


@contextmanager
def writable(place: Path, remedy: str = "make room or pass another out=") -> Iterator[None]:
    """Raises MachineError in place of the system's error where a file or a folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"{place} cannot be written ({error.strerror or error}); {remedy}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file, which replaces `path` when the block ends without an error, so that nobody reads half of it.

    Its name depends on `path` alone, so that the next writer replaces what a killed process left, or a link that leads
    elsewhere. Processes that may write one file at the same time need a lock.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_beside_others(path: Path) -> Iterator[Path]:
    """As `replacing`, for a file that several processes may write at the same time: the last of them stays.

    What a killed process leaves is called `.STEM-*.tmp`. Other users may read the file as far as the umask lets them.
    """
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_together(folder: Path, names: re.Pattern[str], last: str) -> Iterator[Path]:
    """A folder to write files to, which take the place of those in `folder` when the block ends without an error.

    names: what such files are called; those of that name which are not written again go, and no other file does.
    last: the file that vouches for the others: the first to go and the last to come, so that a full disk, a kill or a
    power cut at any moment leaves the old files, none, or the new ones.
    """
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    try:
        yield partial
        new = sorted((path.name for path in partial.iterdir()), key=lambda name: name == last)
        for name in new:
            with (partial / name).open("r+b") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())
        (folder / last).unlink(missing_ok=True)
        for name in written(folder, names):
            if name not in new:
                (folder / name).unlink()
        for name in new:
            (partial / name).replace(folder / name)
    finally:
        clear_partial(folder, names, last)


def written(folder: Path, names: re.Pattern[str]) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if names.fullmatch(path.name))


def clear_partial(folder: Path, names: re.Pattern[str], last: str) -> None:
    """Remove what a killed process left half written or half moved; only for whoever holds the lock of the folder."""
    for partial in (path for path in folder.glob(f"{PARTIAL}*/") if not path.is_symlink()):
        if (partial / last).is_file() and not (folder / last).exists():  # some of its files are in their place
            for name in written(folder, names):
                (folder / name).unlink()
        for path in partial.iterdir():
            own = path.name == last or path.suffix == ".tmp" or names.fullmatch(path.name)
            if own and (path.is_symlink() or not path.is_dir()):
                path.unlink()
        if not any(partial.iterdir()):  # or else it is somebody else's
            partial.rmdir()


def unreachable(path: str, error: Exception) -> InputError:
    """The error for a path that the system does not let us look at."""
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path} cannot be read ({reason}); check the path and its permissions")


def require_file(path: Path, kind: str = "file", largest: int = LARGEST_FILE) -> None:
    """Raise InputError unless `path` is a regular file that holds something, of at most `largest` bytes.

    Called before a file is opened: reading a pipe would wait for its writer, a device never ends, and files in /proc
    say that they are empty. `kind` is what the message tells the user to pass.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "a link that leads nowhere" if path.is_symlink() else "missing"
        raise InputError(f"{path} is {what}; pass the path of a {kind}") from error
    except (OSError, ValueError) as error:
        raise unreachable(str(path), error) from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise InputError(f"{path} is {what}; pass the path of a {kind}")
    if found.st_size == 0:
        raise InputError(f"{path} is empty; restore it from its source")
    if found.st_size > largest:
        raise InputError(
            f"{path} has {found.st_size / 2**20:.0f} MiB, more than the {largest // 2**20} that a {kind} may have; "
            "pass a smaller one"
        )


def read_json(path: Path, kind: str = "JSON file") -> Any:
    """What a JSON file from outside holds, of any shape.

    Raises:
        InputError: as `require_file`, no JSON, nested too deeply, or more than a million values.
    """
    require_file(path, kind, LARGEST_JSON)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise unreachable(str(path), error) from error
    if sum(text.count(sign) for sign in (b",", b"[", b"{")) > MOST_VALUES:
        raise InputError(f"{path} holds more than {MOST_VALUES} values; make it smaller")
    try:
        return not_too_deep(json.loads(text.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no readable JSON ({error}); write the {kind} again") from error


def not_too_deep(value: Any) -> Any:
    """The value itself. Raises ValueError where lists and mappings nest deeper than a function may call itself."""
    level = [value]
    for _ in range(DEEPEST):
        inside = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = [inner for node in inside for inner in node]
    if level:
        raise ValueError(f"nested more than {DEEPEST} deep")
    return value


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias in line {self.peek_event().start_mark.line + 1}")
        return super().compose_node(parent, index)


def read_yaml(path: Path, kind: str = "YAML file") -> Any:
    """What a YAML file from outside holds, of any shape.

    Raises:
        InputError: as `require_file` (4 MiB at most), no YAML, nested too deeply, or written with aliases.
    """
    require_file(path, kind, LARGEST_YAML)
    try:
        return not_too_deep(yaml.load(path.read_text(encoding="utf-8-sig"), PlainLoader))
    except OSError as error:
        raise unreachable(str(path), error) from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no readable YAML ({reason}); write the {kind} again") from error
