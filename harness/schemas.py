"""Checked types of the JSON files in a run folder. Anybody may have written or damaged these files, so they are checked
once, when they are read."""

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, PlainValidator, Strict, TypeAdapter, ValidationError

from stylegallery.errors import InputError, printable
from stylegallery.files import read_json


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


STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")
CHECKED = ConfigDict(allow_inf_nan=False)  # of a dataclass, which strict mode would not make of a mapping
Text = Annotated[str, PlainValidator(text)]
PathText = Annotated[str, PlainValidator(path_text)]
Integer = Annotated[int, Strict()]
Count = Annotated[Integer, Field(ge=0, lt=2**31)]
Number = Annotated[Integer, Field(ge=1, lt=2**31)]
Amount = Annotated[float, Strict(), Field(ge=0, le=1e12)]  # what is added up stays finite


Shape = TypeVar("Shape")


def read(path: Path, shape: TypeAdapter[Shape], remedy: str, *, kept: bool = False) -> Shape:
    """What a file holds, of that shape. The error for a file of ours says to delete it and then the `remedy`; for one
    that is `kept`, since nothing makes it again, it says the remedy alone.

    Raises:
        InputError: it is missing, damaged, or of another shape.
    """
    return checked(path, read_any(path, remedy, kept=kept), shape, remedy, kept=kept)


def read_any(path: Path, remedy: str, *, kept: bool = False) -> Any:
    try:
        return read_json(path)
    except InputError as error:
        reason = str(error).removeprefix(f"{path} ").partition("; ")[0]
        raise unreadable(path, reason, remedy, kept=kept) from error


def checked(path: Path, value: Any, shape: TypeAdapter[Shape], remedy: str, *, kept: bool = False) -> Shape:
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise unreadable(path, f"{place}: {first['msg']}", remedy, kept=kept) from error


def unreadable(path: Path, reason: str, remedy: str, *, kept: bool) -> InputError:
    """What is missing cannot be deleted."""
    deleted = "" if kept or not os.path.lexists(path) else "delete it and "
    return InputError(f"{path} cannot be read ({reason}); {deleted}{remedy}")
