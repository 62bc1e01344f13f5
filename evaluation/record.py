"""The record of a result: what was asked, what ran, what came out. Everything else is a view of records on disk."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from data.benchmark import Item
from stylegallery import figures
from stylegallery.errors import InputError
from stylegallery.images import to_pixels, write_png
from stylegallery.method import Stylization
from stylegallery.regions import region_count
from stylegallery.weights import locate

SCHEMA = 1
RECORD = "record.json"
ENVIRONMENT = ("torch", "diffusers", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Request:
    """What a result answers to. Equal digests, equal bytes on one machine.

    inputs: role -> path and sha256; config: the resolved method, model and encoder settings; weights: digests of the
    folders they load; code: digest of the sources.
    """

    item: str
    seed: int
    config: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    wishes: dict[str, Any]
    weights: dict[str, str]
    code: str

    @classmethod
    def of(cls, item: Item, seed: int, config: Mapping[str, Any]) -> "Request":
        """Raises InputError where a file of the item cannot be read."""
        wishes = {
            "pins": {str(region): list(target) for region, target in item.pins.items()},
            "excluded": list(item.excluded),
            "forbidden": [list(triple) for triple in item.forbidden],
        }
        inputs = {role: {"path": str(path), "sha256": file_digest(path)} for role, path in item.files().items()}
        weights = {
            name: weights_digest(locate(part["path"])) for name, part in config.items() if part and "path" in part
        }
        return cls(item.id, seed, dict(config), inputs, wishes, weights, code_digest())

    def digest(self) -> str:
        """Address of the result: file names do not matter, their contents and order do."""
        content = asdict(self) | {"inputs": {role: entry["sha256"] for role, entry in self.inputs.items()}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error


def weights_digest(folder: Path) -> str:
    """Digest of the names, sizes and sixteen samples of 64 KiB of every weight file: seconds for any model size."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)} {size}".encode())
        with path.open("rb") as file:
            for index in range(16):
                file.seek(index * size // 16)
                digest.update(file.read(2**16))
    return digest.hexdigest()[:12]


def code_digest() -> str:
    """Digest of the method's sources, so that a result made by other code is never taken for this one's."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in ("stylegallery", "baselines", "data"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a finished result in a folder; None where there is none or it is not whole."""
    try:
        record = json.loads((folder / RECORD).read_text())
        whole = record["schema"] == SCHEMA and all((folder / name).is_file() for name in record["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole else None


def prepare_folder(folder: Path) -> None:
    """Make sure a result can be written before anything is computed.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"out folder {folder} cannot be written ({error.strerror}); pass another out=") from error


def write_result(folder: Path, request: Request, result: Stylization, content_weight: float) -> dict[str, Any]:
    """Write all files of a result and, last, its record; a folder without record is not a result.

    Files are made in a temporary folder beside their place and moved when all are whole, so that a full disk or a
    kill leaves what was there before.

    Raises:
        InputError: the disk is full or the folder not writable.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
            partial = Path(temporary)
            write_files(partial, request, result, content_weight)
            record = {
                "schema": SCHEMA,
                "digest": request.digest(),
                **asdict(request),
                "size": [result.image.shape[-1], result.image.shape[-2]],
                "seconds": result.seconds,
                "peak_memory_mib": result.peak_memory_mib,
                "environment": {"python": platform.python_version()} | {name: version(name) for name in ENVIRONMENT},
                "files": sorted(path.name for path in partial.iterdir()),
            }
            (partial / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
            old = read_record(folder)
            (folder / RECORD).unlink(missing_ok=True)
            for name in set(old["files"] if old else ()) - set(record["files"]):
                (folder / name).unlink(missing_ok=True)
            for name in [*record["files"], RECORD]:
                (partial / name).replace(folder / name)
    except OSError as error:
        free = shutil.disk_usage(folder).free // 2**20
        raise InputError(
            f"the result could not be written to {folder} ({error.strerror or error}, {free} MiB free); "
            "make room or pass another out= and run again"
        ) from error
    return record


def write_regions(folder: Path, name: str, image: Tensor, labels: Tensor) -> None:
    """The label map of a picture as indexed PNG and as coloured overlay."""
    figures.write_indexed_png(folder / f"regions_{name}.png", labels, (image.shape[-2], image.shape[-1]))
    palette = figures.colours(region_count(labels))
    write_png(folder / f"overlay_{name}.png", figures.overlay(image, labels, palette))


def write_files(folder: Path, request: Request, result: Stylization, content_weight: float) -> None:
    """stylised.png, region maps, matches, energies and the explaining figures, as far as the method has them."""
    provenance = {"config": request.digest(), "seed": str(request.seed), "code": request.code, "item": request.item}
    write_png(folder / "stylised.png", to_pixels(result.image), provenance)
    if result.content_labels is not None:
        write_regions(folder, "content", result.content, result.content_labels)
    for number, labels in enumerate(result.reference_labels, 1):
        write_regions(folder, f"reference_{number}", result.references[number - 1], labels)
    figures.overview(result, request.item).savefig(folder / "overview.png", dpi=120)
    if result.matches:
        matches = [asdict(match) for match in result.matches]
        (folder / "matches.json").write_text(json.dumps(matches, indent=1) + "\n")
        figures.match_figure(result).savefig(folder / "matches.png", dpi=110)
    if result.energies:
        pd.DataFrame(result.energies).to_csv(folder / "energies.csv", index=False)
        figures.energy_figure(result.energies, content_weight).savefig(folder / "energies.png", dpi=110)
