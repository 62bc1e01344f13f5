"""The table of a gallery: which pictures were analysed with which settings, so that those that are as they were need
not be read again. A Parquet file per folder and settings, beside the entries of the store."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stylegallery.files import replacing_beside_others, require_file, writable

OTHER = "make room or pass another --store"  # where a store cannot be written


@dataclass(frozen=True)
class Row:
    """A picture as it was when it was analysed: bytes and time of its file in ns, its SHA-256, the name of its entry in
    the store, and how many regions it has."""

    size: int
    modified: int
    sha256: str
    key: str
    regions: int

    def is_of(self, path: Path) -> bool:
        """Whether a file looks as it did then; one that cannot be reached does not."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.modified)


KINDS = {int: pa.int64(), str: pa.string()}
SCHEMA = pa.schema([("name", pa.binary()), *((part.name, KINDS[part.type]) for part in fields(Row))])  # type: ignore[index]


@dataclass
class Table:
    """The pictures of a folder by their names.

    settings: NAME=VALUE that they were analysed with, the seed among them. recipe: digest of what these settings make
    with the code and weights of then; identity: with the device, threads and library versions too.
    """

    path: Path
    folder: str
    settings: list[str]
    recipe: str
    identity: str
    rows: dict[str, Row] = field(default_factory=dict)

    @classmethod
    def of(cls, place: Path, folder: Path, settings: list[str], recipe: str, identity: str) -> "Table":
        """The table in `place`, the folder of all tables; an empty one where there is none."""
        name = hashlib.sha256(json.dumps([str(folder), identity, *settings]).encode()).hexdigest()[:32]
        path = place / f"{name}.parquet"
        return read(path) or cls(path, str(folder), settings, recipe, identity)

    def write(self) -> None:
        """Raises MachineError where that cannot be done. Of several writers the last one wins."""
        names = [os.fsencode(name) for name in self.rows]
        columns = zip(*map(astuple, self.rows.values()), strict=True) if self.rows else [[] for _ in fields(Row)]
        says = {"folder": self.folder, "settings": self.settings, "recipe": self.recipe, "identity": self.identity}
        table = pa.Table.from_arrays(
            [pa.array(names, pa.binary()), *map(pa.array, columns)],
            schema=SCHEMA.with_metadata({"gallery": json.dumps(says)}),
        )
        with writable(self.path, OTHER):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing_beside_others(self.path) as temporary:
                pq.write_table(table, temporary)

    def remove(self) -> None:
        """The table, and what killed processes left of it. Raises MachineError where that cannot be done."""
        with writable(self.path, OTHER):
            for path in (self.path, *self.path.parent.glob(f".{self.path.stem}-*.tmp")):
                path.unlink(missing_ok=True)


def read(path: Path) -> Table | None:
    """The table of a file; None where there is none, or it is not as one is written."""
    try:
        require_file(path)
        table = pq.read_table(path)
        says = json.loads(table.schema.metadata[b"gallery"])
        names, *columns = (column.to_pylist() for column in table.cast(SCHEMA).columns)
        rows = {os.fsdecode(name): Row(*values) for name, *values in zip(names, *columns, strict=True)}
        folder, recipe, identity = (str(says[name]) for name in ("folder", "recipe", "identity"))
        return Table(path, folder, list(map(str, says["settings"])), recipe, identity, rows)
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException):
        return None


def tables(place: Path) -> Iterator[Table]:
    """All that are in a folder and can be read."""
    yield from filter(None, map(read, sorted(place.glob("*.parquet"))))
