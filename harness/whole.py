"""Files put into a folder together: a reader sees all of them or none, whatever happens to the process that writes.
Pages say in their first line which command generated them, so that no other file is replaced."""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stylegallery.errors import InputError

PARTIAL = ".partial-"


@contextmanager
def replaced(folder: Path, names: re.Pattern[str], last: str) -> Iterator[Path]:
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


def generated(path: Path, mark: str) -> bool:
    """Whether a page is one that the command of this mark wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark.encode())) == mark.encode()


def require_own(page: Path, mark: str, files: Iterable[Path]) -> None:
    """Raises InputError where one of the files that a command writes beside its page is there, and no page with the
    mark of the command."""
    if not generated(page, mark) and (others := [path for path in files if os.path.lexists(path)]):
        raise InputError(
            f"{others[0]} is not replaced, as {page.name} does not say that this command wrote it; move it away"
        )
