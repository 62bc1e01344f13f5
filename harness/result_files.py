"""The files of a result: written together, the record last, and never in place of files that no result wrote."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from harness.folder import RECORD, RESULT_FILES, ResultFolder
from harness.record import Record, Request, WrittenFile, own_record
from stylegallery.contract import Item, Stylization
from stylegallery.environment import environment
from stylegallery.errors import InputError, MachineError, require
from stylegallery.files import replacing_together
from stylegallery.images import to_pixels, write_png
from stylegallery.provenance import file_digest, picture_text
from stylegallery.region_pictures import colours, write_indexed_png
from stylegallery.regions import region_count


def require_free(folder: Path, item: Item, begun: bool) -> None:
    """Raises InputError where a result in a folder would replace a file that no result left there, or its own input.

    begun: whether a run began in the folder before; what it left at a kill, or beside a damaged record, is replaced.
    """
    require_apart(folder, item)
    record = own_record(folder)
    if record is None and begun:
        return
    left = {RECORD, *record.files} if record else set()
    others = {path.name for path in folder.iterdir() if RESULT_FILES.fullmatch(path.name) or path.name == RECORD}
    if foreign := sorted(others - left):
        raise InputError(
            f"{folder} holds a file {foreign[0]} that no record of a result names, so it is not replaced; move it away "
            "or pass another out="
        )


def require_apart(folder: Path, item: Item) -> None:
    """Raises InputError where an input of an item is one of the files that its result replaces."""
    for role, path in item.files().items():
        for place in (path.resolve(), path.parent.resolve() / path.name):
            if place.parent == folder.resolve() and RESULT_FILES.fullmatch(place.name):
                raise InputError(f"{path}, the {role}, would be replaced by the result; move it or pass another out=")


def write_result(
    folder: Path, request: Request, result: Stylization, explain: bool = True, settings: str | None = None
) -> Record:
    """Write all files of a result and, last, its record; `explain` adds figures for the eye, `settings` is the digest
    of the frozen settings of a label.

    Raises:
        MachineError: the disk is full or the folder not writable.
    """
    require(isinstance(result, Stylization), "a method's stylize returns a Stylization", type(result).__name__)
    with written_whole(folder), replacing_together(folder, RESULT_FILES, RECORD) as partial:
        write_files(partial, request, result, explain)
        made = sorted(partial.iterdir())
        record = Record(
            **vars(request),
            digest=request.digest(),
            settings=settings,
            size=(result.image.shape[-1], result.image.shape[-2]),
            seconds=dict(result.seconds),
            peak_memory_mib=result.peak_memory_mib,
            steps=result.steps,
            updates=len(result.energies) or None,
            environment=environment(request.config),
            files={path.name: WrittenFile(path.stat().st_size, file_digest(path)) for path in made},
        )
        record.write(partial)
    return record


def write_failure(
    folder: Path, item: Item, seed: int, request: Request | None, error: str, settings: str | None = None
) -> Record:
    """Record that an item failed and why; an older result in the folder, of another request, is removed.

    `request` is None where an input could not even be read; `settings` as in `write_result`.

    Raises:
        MachineError: the disk is full or the folder not writable.
    """
    asked = vars(request) | {"digest": request.digest()} if request else {"item": item.id, "seed": seed}
    computing = environment(request.config if request else {})
    record = Record(**asked, settings=settings, error=error, environment=computing, files={})
    with written_whole(folder), replacing_together(folder, RESULT_FILES, RECORD) as partial:
        record.write(partial)
    return record


@contextmanager
def written_whole(folder: Path) -> Iterator[None]:
    """Raises MachineError in place of the system's error where a result cannot be written."""
    try:
        yield
    except OSError as error:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free // 2**20
        raise MachineError(
            f"the result could not be written to {folder} ({error.strerror or error}, {free} MiB free); "
            "make room or pass another out= and run again"
        ) from error


def write_files(folder: Path, request: Request, result: Stylization, explain: bool) -> None:
    """stylised.png, region maps, matches and energies, as far as the method has them, and figures that explain."""
    place = ResultFolder(folder)
    provenance = picture_text(request.decides())
    if not explain:  # the record beside it says this, and a gallery has thousands of inputs
        del provenance["request"]
    write_png(place.picture, to_pixels(result.image), provenance)
    if result.content_labels is not None:
        write_regions(place, "content", result.content, result.content_labels, explain)
    for number in result.shown() if result.reference_labels else ():
        picture, labels = result.references[number - 1], result.reference_labels[number - 1]
        write_regions(place, f"reference_{number}", picture, labels, explain)
    if result.matches:
        matches = [asdict(match) for match in result.matches]
        place.matches.write_text(json.dumps(matches, indent=1) + "\n", encoding="utf-8")
    if result.energies:
        with place.energies.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([result.energies[0]._fields, *result.energies])
    if explain:
        from stylegallery import figures  # matplotlib takes a second to import, which benchmarks save

        figures.overview(result, request.item).savefig(place.overview)
        if result.matches:
            figures.match_figure(result).savefig(place.figure("matches"), dpi=110)
        if result.energies:
            figures.energy_figure(result.energies).savefig(place.figure("energies"), dpi=110)


def write_regions(place: ResultFolder, name: str, image: Tensor, labels: Tensor, explain: bool) -> None:
    """The label map of a picture as indexed PNG, and coloured over the picture."""
    write_indexed_png(place.regions(name), labels, (image.shape[-2], image.shape[-1]))
    if explain:
        from stylegallery import figures

        palette = colours(region_count(labels))
        write_png(place.overlay(name), figures.overlay(image, labels, palette))
