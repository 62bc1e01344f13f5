"""The record of a result: what was asked, what ran, what came out. Everything else is a view of records on disk."""

import csv
import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.folder import RECORD, ResultFolder
from harness.provenance import code_digest, file_digest, nodes, weights_digests, without_places
from harness.schemas import RESULT_SCHEMA, WRITTEN, load_record
from harness.whole import replaced
from stylegallery.contract import Item, Stylization
from stylegallery.devices import cuda_trouble, pick_device, pick_dtype
from stylegallery.errors import InputError, MachineError, require
from stylegallery.images import to_pixels, write_png
from stylegallery.regions import colours, region_count, write_indexed_png

BY_NAMES = ("captions", "pattern")  # settings of methods that look something up by the names of an item's files
ENVIRONMENT = ("torch", "diffusers", "transformers", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Request:
    """What a result answers to. Equal digests, equal bytes on one machine.

    config: the resolved settings of the method, and nothing that does not decide its result; inputs: role -> path
    and sha256; weights: digests of what the settings load; code: digest of the sources they reach.
    """

    item: str
    seed: int
    config: dict[str, Any]
    inputs: dict[str, dict[str, str]]
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
        inputs = {
            role: {"path": str(path.absolute()), "sha256": file_digest(path)} for role, path in item.files().items()
        }
        return cls(item.id, seed, dict(config), inputs, constraints, weights_digests(config), code_digest(config))

    def digest(self) -> str:
        """Address of the result: names and places of files and items do not matter, contents and order of files do.

        A method that reads prompts or pictures by the names of an item's files is the exception.
        """
        content = asdict(self) | {"inputs": {role: entry["sha256"] for role, entry in self.inputs.items()}}
        content["config"] = without_places(self.config)
        if not any(node.get(key) for _, node in nodes(self.config) for key in BY_NAMES):
            del content["item"]
        else:
            content["names"] = {role: Path(entry["path"]).parts[-2:] for role, entry in self.inputs.items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def require_unchanged(self) -> None:
        """Raises InputError where an input is no longer what it was when the request was made."""
        for entry in self.inputs.values():
            if file_digest(Path(entry["path"])) != entry["sha256"]:
                raise InputError(f"{entry['path']} changed while it was used; run again")


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a result in a folder; None where there is none or a file of the result is gone or was cut short."""
    record = own_record(folder)
    whole = record and all(size_of(folder / name) == facts["bytes"] for name, facts in record["files"].items())
    return record if whole else None


def intact(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether the files of a result are, to the byte, what was written."""
    try:
        return all(file_digest(folder / name) == facts["sha256"] for name, facts in record["files"].items())
    except InputError:
        return False


def own_record(folder: Path) -> dict[str, Any] | None:
    """A record of this program, whatever became of its files; None for anything else of that name."""
    try:
        return load_record(folder)
    except InputError:
        return None


def size_of(path: Path) -> int | None:
    """Bytes of a file; None where there is no regular file."""
    return path.stat().st_size if path.is_file() and not path.is_symlink() else None


def pictures_of(record: Mapping[str, Any]) -> dict[str, tuple[Path, str]]:
    """The content and the references that a record names, in order: role -> path and SHA-256."""
    inputs = record.get("inputs", {})
    count = sum(role.startswith("reference ") for role in inputs)
    roles = ["content", *(f"reference {number}" for number in range(1, count + 1))]
    return {role: (Path(inputs[role]["path"]), inputs[role]["sha256"]) for role in roles if role in inputs}


def depends_on(folder: Path, record: Any) -> dict[str, str | None]:
    """What the scores of a result are made of: role -> SHA-256 of its picture (None where there is none), and of its
    content and its references as the record has them."""
    picture = ResultFolder(folder).picture
    result = {"result": file_digest(picture) if picture.is_file() else None}
    return result | {role: digest for role, (_, digest) in pictures_of(record).items()}


def require_free(folder: Path, item: Item, begun: bool) -> None:
    """Raises InputError where a result in a folder would replace a file that no result left there, or its own input.

    begun: whether a run has begun in the folder before, which takes for its own what a kill or a damaged record left.
    """
    require_apart(folder, item)
    record = own_record(folder)
    if record is None and begun:
        return
    left = {RECORD, *record["files"]} if record else set()
    others = {path.name for path in folder.iterdir() if WRITTEN.fullmatch(path.name) or path.name == RECORD}
    if foreign := sorted(others - left):
        raise InputError(
            f"{folder} holds a file {foreign[0]} that no record of a result names, so it is not replaced; move it away "
            "or pass another out="
        )


def require_apart(folder: Path, item: Item) -> None:
    """Raises InputError where an input of an item is one of the files that its result replaces."""
    for role, path in item.files().items():
        for place in (path.resolve(), path.parent.resolve() / path.name):
            if place.parent == folder.resolve() and WRITTEN.fullmatch(place.name):
                raise InputError(f"{path}, the {role}, would be replaced by the result; move it or pass another out=")


def write_result(
    folder: Path, request: Request, result: Stylization, explain: bool = True, settings: str | None = None
) -> dict[str, Any]:
    """Write all files of a result and, last, its record; `explain` adds figures for the eye, `settings` is the digest
    of the frozen settings of a label.

    Raises:
        MachineError: the disk is full or the folder not writable.
    """
    require(isinstance(result, Stylization), "a method's stylize returns a Stylization", type(result).__name__)
    try:
        with replaced(folder, WRITTEN, RECORD) as partial:
            write_files(partial, request, result, explain)
            record = {
                "schema": RESULT_SCHEMA,
                "digest": request.digest(),
                **asdict(request),
                "settings": settings,
                "size": [result.image.shape[-1], result.image.shape[-2]],
                "seconds": result.seconds,
                "peak_memory_mib": result.peak_memory_mib,
                "environment": environment(request.config),
                "files": {
                    path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
                    for path in sorted(partial.iterdir())
                },
            }
            write_record(partial, record)
    except OSError as error:
        raise not_written(folder, error) from error
    return record


def write_failure(
    folder: Path, item: Item, seed: int, request: Request | None, error: str, settings: str | None = None
) -> dict[str, Any]:
    """Record that an item failed and why; an older result in the folder, which answers to something else, goes.

    `request` is None where an input could not even be read; `settings` as in `write_result`.

    Raises:
        MachineError: the disk is full or the folder not writable.
    """
    record = {
        "schema": RESULT_SCHEMA,
        "digest": request.digest() if request else None,
        **(asdict(request) if request else {"item": item.id, "seed": seed}),
        "settings": settings,
        "error": error,
        "environment": environment(request.config if request else {}),
        "files": {},
    }
    try:
        with replaced(folder, WRITTEN, RECORD) as partial:
            write_record(partial, record)
    except OSError as failure:
        raise not_written(folder, failure) from failure
    return record


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Versions, and what computes by the settings of a method: the device by its maker's name, precision, threads.

    `gpu` is there where one seems to be in the machine and `device: auto` does not use it, and says why. A method
    without the setting `device` has no network and computes on the CPU, one without `dtype` in float32.
    """
    found = [node for _, node in nodes(config)]
    asked = next((str(node["device"]) for node in found if "device" in node), "cpu")
    device = pick_device(asked)
    dtype = pick_dtype(next((str(node["dtype"]) for node in found if "dtype" in node), "float32"), device)
    on_gpu, trouble = device.type == "cuda", cuda_trouble()
    return versions() | {
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "place": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        **({"gpu": f"not used: {trouble}"} if asked == "auto" and trouble and not on_gpu else {}),
    }


def computing_on(environment: Mapping[str, str]) -> str:
    """Where and how, in a line: `NVIDIA H200 (cuda), bfloat16`."""
    gpu = f"; the GPU is {environment['gpu']}" if "gpu" in environment else ""
    return f"{environment['device']} ({environment['place']}), {environment['dtype']}{gpu}"


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()} | {name: version(name) for name in ENVIRONMENT}
    return found | {"cuda": torch.version.cuda or "none"}


@cache
def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # another system, or another architecture
        return platform.processor() or platform.machine()


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """In ASCII alone, other characters escaped: the names of files need not be UTF-8."""
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def not_written(folder: Path, error: OSError) -> MachineError:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free // 2**20
    return MachineError(
        f"the result could not be written to {folder} ({error.strerror or error}, {free} MiB free); "
        "make room or pass another out= and run again"
    )


def write_files(folder: Path, request: Request, result: Stylization, explain: bool) -> None:
    """stylised.png, region maps, matches and energies, as far as the method has them, and figures that explain."""
    provenance = {"config": request.digest(), "seed": str(request.seed), "code": request.code}
    write_png(ResultFolder(folder).picture, to_pixels(result.image), provenance)
    if result.content_labels is not None:
        write_regions(folder, "content", result.content, result.content_labels, explain)
    for number, labels in enumerate(result.reference_labels, 1):
        write_regions(folder, f"reference_{number}", result.references[number - 1], labels, explain)
    if result.matches:
        matches = [asdict(match) for match in result.matches]
        (folder / "matches.json").write_text(json.dumps(matches, indent=1) + "\n", encoding="utf-8")
    if result.energies:
        with (folder / "energies.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([result.energies[0]._fields, *result.energies])
    if explain:
        from stylegallery import figures  # matplotlib takes a second to import, which cells do without

        figures.overview(result, request.item).savefig(ResultFolder(folder).overview, dpi=120)
        if result.matches:
            figures.match_figure(result).savefig(folder / "matches.png", dpi=110)
        if result.energies:
            figures.energy_figure(result.energies).savefig(folder / "energies.png", dpi=110)


def write_regions(folder: Path, name: str, image: Tensor, labels: Tensor, explain: bool) -> None:
    """The label map of a picture as indexed PNG, and coloured over the picture."""
    write_indexed_png(folder / f"regions_{name}.png", labels, (image.shape[-2], image.shape[-1]))
    if explain:
        from stylegallery import figures

        palette = colours(region_count(labels))
        write_png(folder / f"overlay_{name}.png", figures.overlay(image, labels, palette))
