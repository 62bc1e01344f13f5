"""The request of a result: item, seed and resolved settings, with digests of all that decides the result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.provenance import code_digest, file_digest, nodes, weights_digests, without_places
from harness.schemas import CHECKED, PathText, Text
from stylegallery.contract import Item
from stylegallery.errors import InputError

BY_NAMES = ("captions", "pattern")  # settings of methods that read captions or pictures by the names of an item's files


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
        constraints = {
            "pins": sorted(([region, *target] for region, target in item.constraints.pins.items()), key=str),
            "excluded": sorted(item.constraints.excluded),
            "forbidden": sorted(map(list, item.constraints.forbidden), key=str),
        }
        inputs = {role: Input.of(path) for role, path in item.files().items()}
        return cls(item.id, seed, dict(config), inputs, constraints, weights_digests(config), code_digest(config))

    def digest(self) -> str:
        """Address of the result: names and places of files and items do not matter, contents and order of files do.

        A method that reads prompts or pictures by the names of an item's files is the exception.
        """
        content = asdict(self) | {"inputs": {role: file.sha256 for role, file in self.inputs.items()}}
        content["config"] = without_places(self.config, self.weights)
        if not any(node.get(key) for _, node in nodes(self.config) for key in BY_NAMES):
            del content["item"]
        else:
            content["names"] = {role: Path(file.path).parts[-2:] for role, file in self.inputs.items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def require_unchanged(self) -> None:
        """Raises InputError where an input is no longer what it was when the request was made."""
        for file in self.inputs.values():
            if file_digest(Path(file.path)) != file.sha256:
                raise InputError(f"{file.path} changed while it was used; run again")
