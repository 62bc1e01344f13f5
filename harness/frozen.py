"""Settings of a label, resolved and frozen in OUT/config/<label>.yaml: all its results are made with the same.

Frozen settings may come from anybody, so nothing in them chooses code or reaches outside. They name the function that
lists their items; it is called only where a file of conf/data declares it. The class of a method is in them only
a name to compare and to show: methods are built from the command line, or after `require_declared`.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from data.benchmark import PLACES, places
from harness.folder import LABEL, RunFolder, prepare_folder
from harness.locks import holder, lock
from harness.record import read_record
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.files import read_yaml, replacing, writable
from stylegallery.overrides import CONFIGS
from stylegallery.provenance import file_digest, nodes, weights_digests, with_absolute_paths, without_places
from stylegallery.settings import check_values

METHODS = ("method", "model", "encoder", "depth", "segmenter", "condition")  # the groups that a method is made of
FROZEN = ("label", "limit", "seed", "data", "method")
DOTTED = re.compile(r"(?=.{1,200}$)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
OF_A_RUN = {
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "limit": Annotated[int, Field(ge=1)] | None,
    "out": str | int | float | None,  # a name may look like a number
    "label": str | int | float | None,
    "shard": str,
}


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Seed, data and method of a composed config, resolved.

    Raises:
        InputError: a number in them is NaN or infinite, or a setting of the run is not of its type.
    """
    given: Any = OmegaConf.to_container(OmegaConf.create({name: config[name] for name in OF_A_RUN}))
    check_values(given, OF_A_RUN)
    settings: dict[str, Any] = {"seed": config.seed}
    for key in ("data", "method"):
        settings[key] = OmegaConf.to_container(config[key], resolve=True)
    for name in not_finite(settings):
        raise InputError(f"{name} is not a finite number; pass another {name}=")
    return settings


def not_finite(value: object, name: str = "") -> Iterator[str]:
    """Dotted names of the numbers in settings that are NaN or infinite."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from not_finite(inner, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from not_finite(inner, name)
    elif isinstance(value, float) and not math.isfinite(value):
        yield name


def freeze(out: Path, label: str, config: DictConfig, items: Sequence[Item] = ()) -> dict[str, Any]:
    """Write what decides the results of a label to OUT/config/<label>.yaml, or compare it with what is there.

    Returns seed, data, method (resolved, paths absolute), limit and overrides, and under `settings` the digest of what
    is frozen. The root of a benchmark's pictures is left out. The overrides are those that were given last; limit, the
    number of planned items, may change. Paths may change as long as the contents stay (`items` are all of the
    benchmark). Everything may change as long as there are no results. While other processes work with other paths,
    perhaps on other machines, the file keeps theirs.

    Raises:
        InputError: the label was made with other settings, which the message names, or OUT cannot be written.
    """
    now = {"label": label, "limit": config.limit, "overrides": command_line(), **settings_of(config)}
    now["data"] |= places(now["data"])
    now["data"].pop("root", None)
    now["method"] = with_absolute_paths(now["method"])
    prepare_folder(RunFolder(out).configs)
    with writable(out), lock(out, "config"):
        path = RunFolder(out).settings(label)
        if path.exists():
            old = read_frozen(path)
            changed = differences(old | {key: now[key] for key in ("limit", "overrides")}, now)
            if changed and in_use(out, label) and not same_things(out, label, old, now, items):
                raise InputError(
                    f"{out} holds {label} with other settings ({first_of(changed)}); pass label= with a new name or "
                    "another out="
                )
            if changed and at_work(out, label):
                return now | {"settings": settings_digest(old)}
        with replacing(path) as temporary:
            temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(now)), encoding="utf-8")
    return now | {"settings": settings_digest(now)}


def command_line() -> list[str]:
    """The settings that run.py was given, `experiment=table1` among them; none where another program calls."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def deciding(frozen: Mapping[str, Any], weights: Collection[str]) -> dict[str, Any]:
    """Frozen settings without the limit, the places of pictures, and `weights`: the settings that name any."""
    data = {key: value for key, value in frozen["data"].items() if "manifest" in frozen["data"] or key not in PLACES}
    return {"seed": frozen["seed"], "data": data, "method": without_places(frozen["method"], weights)}


def same_things(out: Path, label: str, old: Mapping[str, Any], now: Mapping[str, Any], items: Sequence[Item]) -> bool:
    """Whether settings differ in paths alone and the results of a label were made of the pictures and weights that are
    there now, as after a folder was moved."""
    weights = weights_digests(now["method"])
    if differences(deciding(old, weights), deciding(now, weights)):
        return False
    records = [record for place in RunFolder(out).results(label) if (record := read_record(place.path))]
    done = [record for record in records if not record.failed]
    known = {item.id: item for item in items}
    return bool(done) and all(
        record.weights == weights
        and record.item in known
        and inputs_digest(known[record.item]) == digest_of({role: file.sha256 for role, file in record.inputs.items()})
        for record in done
    )


def inputs_digest(item: Item) -> str:
    """Digest of all that an item reads, by roles; "unreadable" where that cannot be done."""
    try:
        return digest_of({role: file_digest(path) for role, path in item.files().items()})
    except InputError:
        return "unreadable"


def settings_digest(frozen: Mapping[str, Any]) -> str:
    """Digest of frozen settings; the limit may change."""
    return digest_of({key: frozen[key] for key in ("seed", "data", "method")})


def digest_of(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def in_use(out: Path, label: str) -> bool:
    """Whether a label has a result, or a process that makes one. Failures do not count: they are done again anyway."""
    records = (read_record(place.path) for place in RunFolder(out).results(label))
    return any(record and not record.failed for record in records) or at_work(out, label)


def at_work(out: Path, label: str) -> bool:
    """Whether a process has the lock of an item of a label."""
    return any(holder(out, label, item) for item in RunFolder(out).locked_items(label))


def differences(old: object, new: object, name: str = "") -> list[str]:
    """`method.guidance.steps: 150 there, 28 now` for every setting that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        inner = (differences(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return [difference for differences in inner for difference in differences]
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)  # as in the digest: 1 is not 1.0
    return [] if same else [f"{name}: {old} there, {new} now"]


def first_of(changed: Sequence[str]) -> str:
    """Up to five differences in a line, and the number of others."""
    return "; ".join([*changed[:5], *([f"{len(changed) - 5} more"] if len(changed) > 5 else [])])


# --- reading ---


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
        texts = isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)
        if not texts or values["label"] != path.stem or not is_frozen(values):
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
    """Whether every value is of its type and resolved, so that none is looked up in the environment."""
    limit, seed, data, method = (values[key] for key in ("limit", "seed", "data", "method"))
    plain = (limit is None or (type(limit) is int and limit > 0)) and type(seed) is int
    named = isinstance(method, dict) and isinstance(data, dict) and "_target_" in data
    targets = [node["_target_"] for _, node in nodes([data, method]) if "_target_" in node]
    dotted = all(isinstance(target, str) and DOTTED.fullmatch(target) for target in targets)
    return plain and named and dotted and LABEL.fullmatch(values["label"]) is not None and is_plain([data, method])


def is_plain(value: object) -> bool:
    """Whether a value holds types of JSON alone, and no text that OmegaConf would replace."""
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
            "does, remove the file, or where an earlier version of this code wrote it run again into another out="
        )


@cache
def declared(groups: tuple[str, ...]) -> frozenset[str]:
    """Every `_target_` in the files of these groups of conf/."""
    files = [read_yaml(path) for group in groups for path in sorted((CONFIGS / group).glob("*.yaml"))]
    return frozenset(str(node["_target_"]) for _, node in nodes(files) if "_target_" in node)
