"""The whole state back from a record.json or a stylised PNG, and from the pictures it was made of."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stylegallery.errors import InputError
from stylegallery.provenance import file_digest, weights_digests, without_places
from stylegallery.studio.brush import require_region
from stylegallery.studio.choices import Choices, Pair, Point, point_in
from stylegallery.studio.limits import put, require_picture
from stylegallery.studio.papers import Asked, Place, read_asked, unlike
from stylegallery.studio.samples import by_digest
from stylegallery.studio.visit import Shown, Visit
from stylegallery.studio.wishes import Wishes

File = tuple[str, bytes]


def open_result(visit: Visit, files: Sequence[File]) -> tuple[Wishes, list[str]]:
    """Bring a visit to the state of a result: one of the files says what it is of, the others are pictures and masks
    that this visit does not have. Analyses its pictures meanwhile, which the visit does not wait for. The wishes, and
    the settings that are others here.

    Raises:
        InputError: no file is of a result, or pictures are missing; nothing is changed then.
    """
    asked, others = result_among(files)
    wishes = Wishes.in_config(asked.config)
    inputs = asked.files()
    known = contents(visit, others, {sha256 for sha256, _ in inputs.values()})
    missing = [name or role for role, (sha256, name) in inputs.items() if sha256 not in known]
    if missing:
        raise InputError(f"choose these files together with the result: {', '.join(missing)}")
    other, masks = Visit(visit.workshop, visit.folder), dict[int, Path]()
    pictures: list[Shown] = []
    for role, (sha256, _) in inputs.items():
        name, data = known[sha256]
        if role.startswith("mask of "):
            suffix = ".json" if data.lstrip()[:1] == b"{" else require_picture(data, name)
            number = int(role.rpartition(" ")[2]) if role != "mask of content" else 0
            masks[number] = put(visit.folder, name, suffix, data)
        else:
            pictures.append(visit.shown(name, data))
    other.pictures, other.seed = [*pictures], asked.seed
    other.choices = Choices(excluded=tuple(asked.constraints.excluded), masks=masks)
    pins = tuple(pair_of(other, wishes, *pin) for pin in asked.constraints.pins)
    forbidden = tuple(pair_of(other, wishes, *veto) for veto in asked.constraints.forbidden)
    other.choices = replace(other.choices, pins=pins, forbidden=forbidden)
    other.plan()
    visit.become(other)
    here: dict[str, Any] = visit.workshop.settings(wishes)
    weights = weights_digests(here)
    differ = unlike(without_places(asked.config, weights), without_places(here, weights))
    return wishes.unlike(visit.workshop.defaults), differ + unlike(asked.weights, weights)


def result_among(files: Sequence[File]) -> tuple[Asked, list[File]]:
    """What the first file that is of a result says, and the other files."""
    problem = InputError("no file was chosen; choose a record.json or a stylised PNG")
    for index, (name, data) in enumerate(files):
        try:
            return read_asked(name, data), [*files[:index], *files[index + 1 :]]
        except InputError as error:
            problem = error
    raise problem


def contents(visit: Visit, files: Sequence[File], wanted: Collection[str]) -> dict[str, File]:
    """SHA-256 -> name and bytes of what is wanted and at hand: files of the visitor, old and new, and bundled
    pictures."""
    own = [path for path in visit.folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    places = by_digest() | {file_digest(path): path for path in own}
    found = {sha256: (path.name, path.read_bytes()) for sha256, path in places.items() if sha256 in wanted}
    return found | {hashlib.sha256(data).hexdigest(): (name, data) for name, data in files}


def pair_of(visit: Visit, wishes: Wishes, region: Place, reference: int, target: Place) -> Pair:
    """A pin or veto by points; numbers are those of the size that the result has."""
    visit.require_reference(reference)

    def point(number: int, place: Place) -> Point:
        if isinstance(place, tuple):
            return place
        labels = visit.analysis(number, wishes).labels
        require_region(labels, place)
        return point_in(labels, place)

    return point(0, region), reference, point(reference, target)
