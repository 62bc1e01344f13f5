"""Request and record of a result: what decides it; with that, what ran and what came out.

Everything else is a view of records on disk. Anybody may have written or damaged a record. What is read
is checked here, once, so that its users need not doubt it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter

from harness.folder import RESULT_FILES, ResultFolder
from harness.schemas import CHECKED, Amount, Count, Integer, Number, PathText, Text, checked, read_any
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.provenance import (
    address,
    code_digest,
    constraints_written,
    deciding,
    file_digest,
    nodes,
    weights_digests,
)

BY_NAMES = ("captions", "pattern")  # settings of methods that read captions or pictures by the names of an item's files
SCHEMA = 2  # raised whenever earlier records can no longer be read
AGAIN = "run the item again"
OUTDATED = f"outdated: another version of this code made it; {AGAIN}"


class OutdatedRecord(InputError):
    """A record that another version of this code wrote."""


def file_name(name: str) -> str:
    if not RESULT_FILES.fullmatch(name):
        raise ValueError(f"no result has a file {name}")
    return name


@dataclass(frozen=True)
class Input:
    """A file that a result was made of, as it was then."""

    __pydantic_config__ = CHECKED
    path: PathText
    sha256: Text

    @classmethod
    def of(cls, path: Path) -> "Input":
        """Raises InputError where the file cannot be read."""
        return cls(str(path.absolute()), file_digest(path))


@dataclass(frozen=True)
class Request:
    """Equal digests, equal bytes on one machine.

    config: the resolved settings of the method, and nothing that does not decide its result; inputs: role -> file;
    weights: digests of what the settings load; code: digest of the sources they reach.
    """

    item: str
    seed: int
    config: dict[str, Any]
    inputs: dict[str, Input]
    constraints: dict[str, Any]
    weights: dict[str, str]
    code: str

    @classmethod
    def of(cls, item: Item, seed: int, config: Mapping[str, Any]) -> "Request":
        """Raises InputError where a file of the item cannot be read or weights are missing."""
        constraints = constraints_written(item.constraints)
        inputs = {role: Input.of(path) for role, path in item.files().items()}
        return cls(item.id, seed, dict(config), inputs, constraints, weights_digests(config), code_digest(config))

    def decides(self) -> dict[str, Any]:
        """What `digest` is of: names and places of files and items do not matter, contents and order of files do.

        A method that reads prompts or pictures by the names of an item's files is the exception.
        """
        digests = {role: file.sha256 for role, file in self.inputs.items()}
        decides = deciding(self.seed, self.config, digests, self.constraints, self.weights, self.code)
        if any(node.get(key) for _, node in nodes(self.config) for key in BY_NAMES):
            decides |= {"item": self.item}
            decides |= {"names": {role: Path(file.path).parts[-2:] for role, file in self.inputs.items()}}
        return decides

    def digest(self) -> str:
        """Address of the result."""
        return address(self.decides())

    def require_unchanged(self) -> None:
        """Raises InputError where an input is no longer what it was when the request was made."""
        for file in self.inputs.values():
            if file_digest(Path(file.path)) != file.sha256:
                raise InputError(f"{file.path} changed while it was used; run again")


@dataclass(frozen=True)
class WrittenFile:
    """A file of a result as it was written; a file of another size or digest is not that file."""

    __pydantic_config__ = CHECKED
    bytes: Count
    sha256: Text


@dataclass(frozen=True, kw_only=True)
class Record:
    """A result, or the failure of an item, which has an `error`.

    digest: address of the request, None where not even an input could be read; settings: digest of the frozen settings
    of the label, None for a single picture; size: width and height; seconds: by stage; steps: of the method's schedule;
    updates: that it made, where patience may end it early; files: name -> as written. The others are those of
    `Request`. Other keys of a file are ignored.
    """

    __pydantic_config__ = CHECKED
    schema: Integer = SCHEMA
    item: Text
    seed: Integer
    digest: Text | None = None
    config: dict[str, Any] = field(default_factory=dict)
    inputs: dict[Text, Input] = field(default_factory=dict)
    constraints: dict[str, Any] = field(default_factory=dict)
    weights: dict[Text, Text] = field(default_factory=dict)
    code: Text = ""
    settings: Text | None = None
    size: tuple[Number, Number] | None = None
    seconds: dict[Text, Amount] = field(default_factory=dict)
    peak_memory_mib: Amount = 0.0
    steps: Count | None = None
    updates: Count | None = None
    environment: dict[Text, Text]
    files: dict[Annotated[Text, AfterValidator(file_name)], WrittenFile]
    error: Text | None = None

    def __post_init__(self) -> None:
        if not self.failed and (self.digest is None or self.size is None or "content" not in self.inputs):
            raise ValueError("a result has a digest, a size and a content")

    @property
    def failed(self) -> bool:
        return self.error is not None

    @property
    def pictures(self) -> dict[str, Input]:
        """The content and the references in order, by role; without masks."""
        roles = ["content", *(f"reference {number}" for number in range(1, len(self.inputs)))]
        return {role: self.inputs[role] for role in roles if role in self.inputs}

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    def depends_on(self, folder: Path) -> dict[str, str | None]:
        """What scores are made of: role -> SHA-256 of the result's picture (None where there is none), and of the
        content and the references as the record has them."""
        picture = ResultFolder(folder).picture
        result = {"result": file_digest(picture) if picture.is_file() else None}
        return result | {role: file.sha256 for role, file in self.pictures.items()}

    def is_whole(self, folder: Path) -> bool:
        """Whether no file of the result is gone or was cut short."""
        return all(size_of(folder / name) == file.bytes for name, file in self.files.items())

    def is_intact(self, folder: Path) -> bool:
        """Whether the files of the result are, to the byte, what was written."""
        try:
            return all(file_digest(folder / name) == file.sha256 for name, file in self.files.items())
        except InputError:
            return False

    def write(self, folder: Path) -> None:
        """In ASCII alone, other characters escaped: the names of files need not be UTF-8."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        ResultFolder(folder).record.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


RECORD_FILE = TypeAdapter(Record)


def load_record(folder: Path) -> Record:
    """The record in a folder, even where files of the result are missing.

    Raises:
        OutdatedRecord: it is of another version of this code.
        InputError: it is missing or damaged.
    """
    path = ResultFolder(folder).record
    values = read_any(path, AGAIN)
    if isinstance(values, dict) and type(values.get("schema")) is int and values["schema"] != SCHEMA:
        raise OutdatedRecord(f"{path} is outdated: another version of this code wrote it; {AGAIN}")
    return checked(path, values, RECORD_FILE, AGAIN)


def own_record(folder: Path) -> Record | None:
    """As `load_record`; None where there is no record of this version that can be read."""
    try:
        return load_record(folder)
    except InputError:
        return None


def read_record(folder: Path) -> Record | None:
    """The record of a folder; None where there is none or a file of the result is gone or was cut short."""
    record = own_record(folder)
    return record if record and record.is_whole(folder) else None


def is_outdated(folder: Path) -> bool:
    """Whether another version of this code wrote the record of a folder."""
    try:
        load_record(folder)
        return False
    except InputError as error:
        return isinstance(error, OutdatedRecord)


def size_of(path: Path) -> int | None:
    """Bytes of a file; None where there is no regular file."""
    return path.stat().st_size if path.is_file() and not path.is_symlink() else None
