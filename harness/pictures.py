"""Pictures that were moved since a result was made of them, found again by their digests."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from data.benchmark import load_items
from harness.folder import RunFolder
from harness.frozen import read_frozen
from harness.record import Input, Record
from stylegallery.errors import InputError
from stylegallery.picture_files import SUFFIXES
from stylegallery.provenance import file_digest


class Pictures:
    """Where the pictures of a run are now: as its frozen settings list them today, or anywhere below `root`."""

    def __init__(self, out: Path, root: str | None = None) -> None:
        self.out, self.root = out, root
        self.by_digest = lru_cache(maxsize=1)(self.read)  # read when the first picture is missing

    def read(self) -> dict[str, Path]:
        """SHA-256 -> path of every picture that can be read."""
        paths: set[Path] = set()
        for label in RunFolder(self.out).labels():
            with suppress(InputError):
                data = read_frozen(RunFolder(self.out).settings(label))["data"]
                known = {"root": self.root} if self.root and "manifest" in data else {}
                items = load_items(data | known, check=False)
                paths |= {path for item in items for path in item.files().values()}
        if self.root:
            paths |= {path for path in Path(self.root).rglob("*") if path.suffix.lower() in SUFFIXES}
        found = {}
        for path in sorted(path for path in paths if path.is_file()):
            with suppress(InputError):
                found[file_digest(path)] = path
        return found

    def relocated(self, record: Record) -> Record:
        """A record with the paths that its inputs have now; one that is not found keeps the path it had."""
        return replace(record, inputs={role: self.now(file) for role, file in record.inputs.items()})

    def now(self, file: Input) -> Input:
        if Path(file.path).is_file():
            return file
        return replace(file, path=str(self.by_digest().get(file.sha256, file.path)))


def root_of(places: Sequence[str]) -> str | None:
    """The folder in `data.root=FOLDER` at the end of a command line. Raises InputError for any other argument."""
    root = None
    for place in places:
        key, _, root = place.partition("=")
        if key != "data.root" or not root:
            raise InputError(f"{place} is not understood; data.root=FOLDER says where the pictures are now")
    return root
