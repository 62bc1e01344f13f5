"""The shapes of the JSON files in an output folder. Anybody may have written or damaged them: what is read is checked
here, once, so that whoever uses it need not doubt it."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.folder import RECORD
from stylegallery.errors import InputError, printable
from stylegallery.files import read_json

RESULT_SCHEMA, ANNOTATION_SCHEMA = 2, 1
WRITTEN = re.compile(  # what the files of a result are called
    r"stylised\.png|overview\.png|(matches|energies)\.png|matches\.json|energies\.csv"
    r"|(regions|overlay)_(content|reference_[1-9][0-9]*)\.png"
)


def text(value: Any) -> str:
    """A text that can be shown and written anywhere."""
    if not isinstance(value, str):
        raise ValueError("it is not a text")
    return printable(value)


def path_text(value: Any) -> str:
    """A path as file systems have them: it need not be UTF-8, which pydantic's own check asks for."""
    if not isinstance(value, str) or any(len(name) > 255 for name in os.fsencode(value).split(b"/")):
        raise ValueError("it is not a path")
    return value


def file_name(value: Any) -> str:
    if not isinstance(value, str) or not WRITTEN.fullmatch(value):
        raise ValueError(f"no result has a file {value}")
    return value


STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")
Text = Annotated[str, PlainValidator(text)]
PathText = Annotated[str, PlainValidator(path_text)]
FileName = Annotated[str, PlainValidator(file_name)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[int, Field(ge=1, lt=2**31)]
Amount = Annotated[float, Field(ge=0, le=1e12)]  # what is added up stays finite
Value = Annotated[float, Field(ge=-1e30, le=1e30)]


class Input(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    path: PathText
    sha256: Text


def with_content(inputs: dict[str, Any]) -> dict[str, Any]:
    if "content" not in inputs:
        raise ValueError("there is no content")
    return inputs


class FileFacts(TypedDict):
    """Of a file as it was written: another size or digest is another file."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    bytes: Count
    sha256: Text


class Result(TypedDict):
    """What is read of the record of a result; see `harness.record.Request` for what else it holds."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    schema: int
    digest: Text
    item: Text
    seed: int
    config: dict[str, Any]
    inputs: Annotated[dict[Text, Input], AfterValidator(with_content)]
    weights: NotRequired[dict[Text, Text]]
    code: NotRequired[Text]
    size: Annotated[list[Number], Field(min_length=2, max_length=2)]
    seconds: dict[Text, Amount]
    peak_memory_mib: Amount
    environment: dict[Text, Text]
    files: dict[FileName, FileFacts]


class Failure(TypedDict):
    """The record of an item that failed; without an input that could be read it has no digest, inputs and config."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    schema: int
    digest: Text | None
    item: Text
    seed: int
    error: Text
    config: NotRequired[dict[str, Any]]
    inputs: NotRequired[dict[Text, Input]]
    environment: dict[Text, Text]
    files: dict[FileName, FileFacts]


class Score(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    value: Value | None
    version: Count
    reason: Text | None
    annotation: NotRequired[Text | None]  # of a regional score: the digest of the annotation it is about
    low: NotRequired[Value | None]  # of the score of a set: its interval
    high: NotRequired[Value | None]
    clusters: NotRequired[Count | None]


class Scores(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    metrics: dict[str, Score]
    pictures: dict[str, Text | None]
    size: Number | None


class Sets(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    metrics: dict[str, Score]
    pictures: dict[str, dict[str, Text | None]]
    items: Text
    size: Number | None
    n: Count


class About(TypedDict):
    """annotation.json."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    schema: int
    digest: Text
    references: Annotated[int, Field(ge=1, lt=1000)]
    config: dict[str, Any]


class MatchRow(TypedDict):
    __pydantic_config__ = STRICT | ConfigDict(extra="forbid")  # type: ignore[misc]
    content_region: Number
    reference: Number
    reference_region: Number
    score: float
    statistics: float
    semantics: float
    geometry: float
    pinned: bool


SCORED, SETS_SCORED, ANNOTATED = TypeAdapter(Scores), TypeAdapter(Sets), TypeAdapter(About)
MATCHES, RESULT, FAILURE = TypeAdapter(list[MatchRow]), TypeAdapter(Result), TypeAdapter(Failure)
Shape = TypeVar("Shape")


def read(path: Path, shape: TypeAdapter[Shape], remedy: str) -> Shape:
    """What a file holds, of that shape.

    Raises:
        InputError: it is missing, damaged, or of another shape.
    """
    return checked(path, read_any(path, remedy), shape, remedy)


def read_any(path: Path, remedy: str) -> Any:
    try:
        return read_json(path)
    except InputError as error:
        raise unreadable(path, str(error).removeprefix(f"{path} ").partition("; ")[0], remedy) from error


def checked(path: Path, value: Any, shape: TypeAdapter[Shape], remedy: str) -> Shape:
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise unreadable(path, f"{place}: {first['msg']}", remedy) from error


def unreadable(path: Path, reason: str, remedy: str) -> InputError:
    return InputError(f"{path} cannot be read ({reason}); delete it and {remedy}")


def load_record(folder: Path) -> dict[str, Any]:
    """The record in a folder, of a result or of a failure, which has an `error`.

    Raises:
        InputError: it is missing, damaged or not of this version.
    """
    path, again = folder / RECORD, "run the item again"
    record = read_any(path, again)
    failed = isinstance(record, dict) and "error" in record
    found: Any = checked(path, record, FAILURE, again) if failed else checked(path, record, RESULT, again)
    if found["schema"] != RESULT_SCHEMA:
        raise unreadable(path, "it is of another version of this code", again)
    return dict(found)
