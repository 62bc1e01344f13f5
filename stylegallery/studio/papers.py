"""A result in words that the command line understands, and back: command, YAML, records and PNGs."""

import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stylegallery.contract import Item, Region
from stylegallery.decoding import in_one_sentence
from stylegallery.errors import InputError
from stylegallery.files import not_too_deep
from stylegallery.overrides import CONFIGS
from stylegallery.studio.limits import MOST_REFERENCES, require_size

MOST_TEXT = 4 * 2**20  # bytes of a record, or of what a PNG says


@dataclass(frozen=True)
class Order:
    """All of a command line: an item, whose files are in one folder, and settings as overrides."""

    item: Item
    seed: int = 0
    overrides: Sequence[str] = field(default_factory=tuple)

    def settings(self, folder: str = "") -> dict[str, Any]:
        """What a config of the command line has beyond its groups; `folder` is where the files are."""

        def place(path: Path | None) -> str | None:
            return None if path is None else str(PurePosixPath(folder, path.name))

        item, constraints = self.item, self.item.constraints
        given: dict[str, Any] = {"content": place(item.content), "references": [*map(place, item.references)]}
        if item.mask:
            given["mask"] = place(item.mask)
        if any(item.reference_masks):
            given["reference_masks"] = [*map(place, item.reference_masks)]
        if pins := constraints.pins:
            given["pins"] = {written(region): [number, written(j)] for region, (number, j) in pins.items()}
        if constraints.excluded:
            given["excluded"] = list(constraints.excluded)
        if forbidden := constraints.forbidden:
            given["forbidden"] = [[written(i), number, written(j)] for i, number, j in forbidden]
        return given | ({"seed": self.seed} if self.seed else {})

    def command(self, folder: str = "") -> str:
        """One line for a shell, beside the folder."""
        arguments = [f"{name}={flow(value)}" for name, value in self.settings(folder).items()]
        out = PurePosixPath(folder, "out")
        return shlex.join(["python", "run.py", *arguments, *self.overrides, f"out={out}"])

    def yaml(self, folder: str = "") -> str:
        """The same as a config: python run.py --config-dir=FOLDER --config-name=settings."""
        groups, values = [], dict[str, Any]()
        for override in self.overrides:
            name, _, value = override.partition("=")
            if (CONFIGS / name.partition("@")[0]).is_dir():
                groups.append({f"override {name}": yaml.safe_load(value)})
                continue
            node, (*parents, last) = values, name.lstrip("+").split(".")
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = yaml.safe_load(value)
        defaults = ["config", "_self_", *groups]
        content = {"defaults": defaults, **self.settings(folder), **values, "out": str(PurePosixPath(folder, "out"))}
        start = f"# python run.py --config-dir={folder or '.'} --config-name=settings\n"
        return start + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def written(region: Region) -> int | str:
    """A region as the command line has it."""
    return region if isinstance(region, int) else "{:g},{:g}".format(*region)


def flow(value: Any) -> str:
    """A value as Hydra's grammar has it; names of our files need no quotes."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{quoted(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(flow, value)) + "]"
    return "null" if value is None else quoted(value)


def quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) and "," in value else str(value)


# --- read again ---

Name = Annotated[str, Field(max_length=4096)]
Place = int | tuple[float, float]


class Constraints(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    pins: Annotated[list[tuple[Place, int, Place]], Field(max_length=1000)] = []
    excluded: Annotated[list[int], Field(max_length=1000)] = []
    forbidden: Annotated[list[tuple[Place, int, Place]], Field(max_length=10_000)] = []


class Asked(BaseModel):
    """What a result was made of: digests of its files by role, and their names where it knows them."""

    model_config = ConfigDict(extra="ignore")
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    config: dict[str, Any]
    inputs: dict[Name, Any]
    constraints: Constraints
    weights: dict[Name, Name] = {}

    def files(self) -> dict[str, tuple[str, str]]:
        """Role -> SHA-256, and the name of the file or "": the photo, the references by their numbers, masks.

        Raises:
            InputError: no picture and references in it, more than a visitor may have, or files of other roles.
        """
        found = {}
        for role, file in self.inputs.items():
            sha256, path = (file.get("sha256"), file.get("path")) if isinstance(file, dict) else (file, "")
            found[role] = str(sha256), PurePosixPath(str(path or "")).name
        references = sum(role.startswith("reference ") for role in found)
        pictures = ["content", *(f"reference {number}" for number in range(1, references + 1))]
        roles = [*pictures, *(mask for role in pictures if (mask := f"mask of {role}") in found)]
        if not 1 <= references <= MOST_REFERENCES or set(roles) != found.keys():
            raise InputError(
                f"a result of one photo and 1 to {MOST_REFERENCES} paintings can be opened; this one has other inputs"
            )
        return {role: found[role] for role in roles}


def read_asked(name: str, data: bytes) -> Asked:
    """What a record.json or a stylised PNG says of its result.

    Raises:
        InputError: it is neither, or says too little.
    """
    require_size(data, name)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        with in_one_sentence(name), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            text = image.info.get("request")  # of what stands before the pixels, which are not decoded
        if not text:
            raise InputError(f"{name} does not say how it was made; open the record.json beside it")
        data = text.encode()
    if len(data) > MOST_TEXT:
        raise InputError(f"{name} is larger than any record; open a record.json or a stylised PNG")
    try:
        values = not_too_deep(json.loads(data.decode("utf-8-sig")))
        return Asked.model_validate(values)
    except (ValidationError, ValueError, RecursionError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "no readable JSON"
        raise InputError(f"{name} is no record of a result ({reason}); open a record.json or a stylised PNG") from error


def unlike(asked: Mapping[str, Any], here: Mapping[str, Any], name: str = "") -> list[str]:
    """Dotted names of the values that nested mappings do not share."""
    found = []
    for key in sorted({*asked, *here}, key=str):
        one, other, dotted = asked.get(key), here.get(key), f"{name}.{key}".lstrip(".")
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += unlike(one, other, dotted)
        elif one != other:
            found.append(dotted)
    return found
