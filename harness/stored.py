"""What is read from an output folder: it may come from anybody, so nothing in it chooses code or reaches outside.

Frozen settings name the function that lists their items; it is called only where a file of conf/data declares it.
The class of a method is in them a name to compare and to show: who builds a method takes the settings of the command
line, or asks `require_declared` first.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from harness.folder import LABEL
from harness.provenance import nodes
from stylegallery.errors import InputError
from stylegallery.files import read_yaml

CONFIGS = Path(__file__).parent.parent / "conf"
METHODS = ("method", "model", "encoder", "depth", "segmenter", "condition")  # the groups that a method is made of
FROZEN = ("label", "limit", "seed", "data", "method")
DOTTED = re.compile(r"(?=.{1,200}$)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def read_frozen(path: Path) -> dict[str, Any]:
    """The settings in OUT/config/<label>.yaml: label, limit, seed, data and method, and the overrides of run.py that
    they come from (none in a file of an earlier version).

    Raises:
        InputError: the file is not one that `harness.frozen.freeze` wrote, or names a benchmark that conf/data does
            not have.
    """
    try:
        values = read_yaml(path)
        whole = isinstance(values, dict) and values.keys() >= set(FROZEN)
        overrides = values.get("overrides", []) if whole else None
        if not is_list_of_texts(overrides) or values["label"] != path.stem or not is_frozen(values):
            raise ValueError("it holds other values")
    except ValueError as error:
        raise InputError(
            f"{path} is not the frozen settings of a label ({str(error).removeprefix(f'{path} ')}); restore it, remove "
            "it to run the label again, or pass another out="
        ) from error
    require_declared(values["data"], ("data",), path)
    data = {key: value for key, value in values["data"].items() if key != "root"}  # a place on this machine
    return {key: values[key] for key in FROZEN} | {"data": data, "overrides": overrides}


def is_frozen(values: dict[str, Any]) -> bool:
    """Whether every value is of its type, and resolved: nothing is to be looked up in the environment."""
    limit, seed, data, method = (values[key] for key in ("limit", "seed", "data", "method"))
    plain = (limit is None or (type(limit) is int and limit > 0)) and type(seed) is int
    named = isinstance(method, dict) and isinstance(data, dict) and "_target_" in data
    targets = [node["_target_"] for _, node in nodes([data, method]) if "_target_" in node]
    dotted = all(isinstance(target, str) and DOTTED.fullmatch(target) for target in targets)
    return plain and named and dotted and LABEL.fullmatch(values["label"]) is not None and is_plain([data, method])


def is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_plain(value: object) -> bool:
    """Whether a value is made of what JSON knows, and of no text that OmegaConf would replace."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(key) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return "${" not in value if isinstance(value, str) else value is None or isinstance(value, bool | int | float)


def require_declared(settings: object, groups: tuple[str, ...], path: Path) -> None:
    """Raises InputError where settings read from `path` name code that no file of these groups of conf/ declares."""
    named = {str(node["_target_"]) for _, node in nodes(settings) if "_target_" in node}
    if unknown := sorted(named - declared(groups)):
        raise InputError(
            f"{path} names {unknown[0]}, which no file of conf/{groups[0]} declares, so it is not called; add one that "
            "does, or remove the file"
        )


@cache
def declared(groups: tuple[str, ...]) -> frozenset[str]:
    """Every `_target_` in the files of these groups of conf/."""
    files = [read_yaml(path) for group in groups for path in sorted((CONFIGS / group).glob("*.yaml"))]
    return frozenset(str(node["_target_"]) for _, node in nodes(files) if "_target_" in node)
