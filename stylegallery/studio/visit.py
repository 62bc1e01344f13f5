"""One visitor: the pictures, what is known of them, and what was decided. Nothing of it is shared with another."""

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
from torch import Tensor

from stylegallery.analysis import Analysis
from stylegallery.constraints import region_at
from stylegallery.contract import MatchConstraints, Region
from stylegallery.errors import InputError
from stylegallery.pipeline import StyleGallery
from stylegallery.plan import Plan
from stylegallery.region_pictures import write_indexed_png
from stylegallery.regions import override, region_count, resize_labels
from stylegallery.studio import brush
from stylegallery.studio.choices import At, Choices, Pair, Point, point_in
from stylegallery.studio.drawing import Outlined, as_jpeg, shrunk
from stylegallery.studio.limits import (
    MOST_REFERENCES,
    keep_picture,
    put,
    require_picture,
    require_size,
    safe_stem,
    shown_name,
)
from stylegallery.studio.wishes import Wishes
from stylegallery.studio.workshop import Workshop

MOST_STEPS_BACK = 100
MOST_SETTINGS = 4  # beside those that regions are shown with
LARGEST_MASK = 2048  # pixels of its longer side
ON_WALL = 768  # pixels of the longer side of a picture as it is shown


@dataclass(frozen=True)
class Shown:
    """A picture of the visitor, and how it looks on the page: uint8 (h, w, 3), so that it is not decoded again."""

    path: Path
    sha256: str
    size: tuple[int, int]  # height and width as it was given, upright
    small: np.ndarray = field(compare=False, repr=False)

    @cached_property
    def address(self) -> str:
        """For the page."""
        return as_jpeg(self.small)


class Visit:
    """The state of one visitor. Pictures are numbered as in `Choices`: 0 is the photo, the references follow."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        """`folder` is the visitor's alone, and goes with the visitor."""
        self.workshop, self.folder = workshop, folder
        # Of the pictures, the choices and what is known. Who has the networks never waits for it.
        self.lock = RLock()
        self.look = Wishes(resolution=workshop.quick_resolution)  # at which regions are shown and changed
        self.pictures: list[Shown | None] = [None]
        self.choices, self.past, self.seed = Choices(), list[Choices](), 0
        self.known: dict[tuple[Wishes, int, str, str], Analysis] = {}
        self.matched: tuple[list[Analysis], MatchConstraints[Region], Plan] | None = None  # the last, and of what
        self.outlines: dict[tuple[Wishes, int, str, str], Outlined] = {}
        self.methods: dict[Wishes, StyleGallery] = {}

    # --- pictures ---

    def take_photo(self, name: str, data: bytes) -> None:
        """The photo to be painted, in place of another. Raises InputError where it cannot be used."""
        self.pictures[0] = self.shown(name, data)
        pins_of_it = replace(self.choices, pins=(), forbidden=()).with_mask(0, None)
        self.choices, self.past = pins_of_it, []
        self.forget()

    def take_reference(self, name: str, data: bytes) -> None:
        """Another painting. Raises InputError where it cannot be used, or there are too many."""
        if len(self.pictures) > MOST_REFERENCES:
            raise InputError(f"there are {MOST_REFERENCES} paintings already; remove one first")
        found = self.shown(name, data)
        if found not in self.pictures[1:]:
            self.pictures.append(found)

    def remove(self, reference: int) -> None:
        """Take a painting away; those after it move up."""
        self.require_reference(reference)
        del self.pictures[reference]
        self.choices, self.past = self.choices.without(reference), []
        self.forget()

    def forget(self) -> None:
        """What is known of pictures that are no longer here; the store has their analyses."""
        here = {picture.sha256 for picture in self.given()}
        self.known = {key: found for key, found in self.known.items() if key[2] in here}
        self.outlines = {key: found for key, found in self.outlines.items() if key[2] in here}
        self.matched = None

    def shown(self, name: str, data: bytes) -> Shown:
        path, pixels = keep_picture(self.folder, name, data)
        size = pixels.shape[0], pixels.shape[1]
        return Shown(path, hashlib.sha256(data).hexdigest(), size, shrunk(pixels, ON_WALL))

    def become(self, other: "Visit") -> None:
        """Take the state of another visit that has its files in the same folder."""
        with self.lock:
            self.pictures, self.choices, self.seed, self.past = other.pictures, other.choices, other.seed, []
            self.known |= other.known
            self.forget()

    def given(self) -> tuple[Shown, ...]:
        """The pictures that are here now."""
        return tuple(picture for picture in self.pictures if picture)

    @property
    def ready(self) -> bool:
        """Whether there is a photo and a painting."""
        return self.pictures[0] is not None and len(self.pictures) > 1

    def require_reference(self, reference: int) -> None:
        if not 1 <= reference < len(self.pictures):
            raise InputError(f"there is no painting {reference}; there are {len(self.pictures) - 1}")

    # --- what is known of them ---

    def method(self, wishes: Wishes) -> StyleGallery:
        """The method with these settings. Of the latest few, what is known at their sizes stays in memory; the store
        has the rest."""
        with self.lock:
            if wishes not in self.methods:
                others = [one for one in self.methods if one != self.look][1 - MOST_SETTINGS :]
                kept = {one: self.methods[one] for one in (self.look, *others) if one in self.methods}
                self.methods = kept | {wishes: self.workshop.method(wishes, self.folder / "store")}
                sizes = {one.resolution for one in (self.look, *self.methods)}
                self.known = {key: found for key, found in self.known.items() if key[0].resolution in sizes}
            return self.methods[wishes]

    def unknown(self, wishes: Wishes | None = None) -> list[int]:
        """Numbers of the pictures that were not analysed yet at the size of these wishes."""
        size = (wishes or self.look).resolution
        with self.lock:  # or a picture may go meanwhile
            numbers = [number for number, picture in enumerate(self.pictures) if picture]
            return [number for number in numbers if self.key(number, size) not in self.known]

    def picture(self, number: int) -> Shown:
        """Raises InputError where there is none of this number."""
        picture = self.pictures[number] if 0 <= number < len(self.pictures) else None
        if picture is None:
            raise InputError(f"there is no painting {number}" if number else "there is no photo yet; choose one")
        return picture

    def analyse(self, wishes: Wishes | None = None) -> Iterator[int]:
        """Analyse what is not known, one picture at a time; tells the number of the next before it begins."""
        while unknown := self.unknown(wishes):  # pictures may come and go meanwhile
            yield unknown[0]
            if unknown[0] in self.unknown(wishes):
                self.analysis(unknown[0], wishes)

    def key(self, number: int, size: int | None, mask: Path | None = None) -> tuple[Wishes, int, str, str]:
        return Wishes(resolution=size), self.seed, self.picture(number).sha256, mask.name if mask else ""

    def analysis(self, number: int, wishes: Wishes | None = None, choices: Choices | None = None) -> Analysis:
        """What is known of a picture, found now where it was not: with the visitor's regions where it has a mask."""
        with self.lock:
            wishes, masks, seed = wishes or self.look, (choices or self.choices).masks, self.seed
            method, picture, mask = self.method(wishes), self.picture(number), masks.get(number)
            plain, own = (self.key(number, wishes.resolution, one) for one in (None, mask))
            if own in self.known:
                return self.known[own]
        with self.workshop.networks:
            found = {plain: self.known.get(plain) or method.analyse(picture.path, seed=seed)}
            if mask:
                given = method.analyser.read_mask(mask, picture.size, found[plain].image.shape[-2:])
                height, width = found[plain].labels.shape
                labels = override(found[plain].labels, resize_labels(given, (height, width)))
                found[own] = method.with_regions(found[plain], labels)
        with self.lock:
            self.known |= found
        return found[own]

    def plan(self, wishes: Wishes | None = None, choices: Choices | None = None) -> Plan:
        """Which region takes its style from which. Raises InputError where a choice leaves one without any."""
        if not self.ready:
            raise InputError("a photo and a painting are needed; choose both")
        content, *references = (self.analysis(number, wishes, choices) for number in range(len(self.pictures)))
        analyses, constraints = [content, *references], (choices or self.choices).constraints()
        if self.matched and self.matched[:2] == (analyses, constraints):
            return self.matched[2]
        found = self.method(wishes or self.look).match(content, references, constraints)
        self.matched = analyses, constraints, found
        return found

    def labels(self, number: int) -> Tensor:
        """The regions of a picture as they are shown, (h, w)."""
        return self.analysis(number).labels

    def at(self, number: int, point: Point) -> int:
        return region_at(point, self.analysis(number))

    # --- decisions; each can be undone ---

    def decide(self, change: Callable[[Choices, At], Choices]) -> None:
        """Change the choices, unless nothing could be painted then.

        Raises:
            InputError: a region would be left without a match, or a mask cannot be used.
        """
        before, changed = self.choices, change(self.choices, self.at)
        self.choices = changed
        try:
            for number in changed.masks:
                self.analysis(number)
            if self.ready:
                self.choices = changed.settled(self.at)
                self.plan()
        except InputError:
            self.choices = before
            raise
        self.past = [*self.past, before][-MOST_STEPS_BACK:]

    def pair(self, region: int, reference: int, target: int) -> Pair:
        self.require_reference(reference)
        content, other = self.labels(0), self.labels(reference)
        brush.require_region(content, region)
        brush.require_region(other, target)
        return point_in(content, region), reference, point_in(other, target)

    def pin(self, region: int, reference: int, target: int) -> None:
        """A content region takes its style from this region of a reference."""
        pair = self.pair(region, reference, target)
        self.decide(lambda choices, at: choices.pinned(pair, at))

    def unpin(self, region: int) -> None:
        brush.require_region(self.labels(0), region)
        self.decide(lambda choices, at: choices.unpinned(region, at))

    def forbid(self, region: int, reference: int, target: int) -> None:
        """A content region may not take this region of a reference, or may again."""
        pair = self.pair(region, reference, target)
        self.decide(lambda choices, at: choices.vetoed(pair, at))

    def leave_out(self, reference: int, out: bool) -> None:
        """No region may take a reference unless it is pinned to it, or may again."""
        self.require_reference(reference)
        self.decide(lambda choices, _: choices.leaving(reference, out))

    def undo(self) -> None:
        """Take the last decision back."""
        if not self.past:
            raise InputError("there is nothing to undo")
        *self.past, self.choices = self.past

    def reset(self) -> None:
        """Take every decision back; this too can be undone."""
        self.decide(lambda *_: Choices())

    # --- regions changed by hand ---

    def join(self, number: int, first: int, second: int) -> None:
        self.redraw(number, brush.joined(self.labels(number), first, second))

    def cut(self, number: int, strokes: list[brush.Stroke]) -> None:
        labels = self.labels(number)
        self.redraw(number, brush.cut(labels, brush.brushed(strokes, labels.shape)))

    def draw(self, number: int, strokes: list[brush.Stroke]) -> None:
        labels = self.labels(number)
        self.redraw(number, brush.drawn(labels, brush.brushed(strokes, labels.shape)))

    def blank(self, number: int) -> None:
        """One region all over, to draw others on."""
        self.redraw(number, self.labels(number) * 0 + 1)

    def as_found(self, number: int) -> None:
        """The regions that were found, in place of the visitor's."""
        self.labels(number)
        self.decide(lambda choices, _: choices.with_mask(number, None))

    def redraw(self, number: int, labels: Tensor) -> None:
        if region_count(labels) > brush.MOST_LABELS:
            raise InputError(f"a picture has {brush.MOST_LABELS} regions of yours at most; load a mask with fewer")
        self.use_mask(number, "regions", ".png", self.mask_png(number, labels))

    def load_mask(self, number: int, name: str, data: bytes) -> None:
        """Regions of a mask file on top of those that were found. Raises InputError where it cannot be used."""
        shown = shown_name(name)
        require_size(data, shown)
        suffix = ".json" if data.lstrip()[:1] == b"{" else require_picture(data, shown)
        self.labels(number)
        self.use_mask(number, shown, suffix, data)

    def use_mask(self, number: int, name: str, suffix: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()[:8]
        mask = put(self.folder, f"mask_{safe_stem(name)}_{digest}.", suffix, data)
        try:
            self.decide(lambda choices, _: choices.with_mask(number, mask))
        except InputError as error:
            raise InputError(str(error).replace(str(mask), name)) from error

    def mask_png(self, number: int, labels: Tensor | None = None) -> bytes:
        """The regions of a picture as a mask in the picture's own aspect, which can be edited and loaded."""
        labels = self.labels(number) if labels is None else labels
        height, width = self.picture(number).size
        scale = min(1.0, LARGEST_MASK / max(height, width))
        size = max(round(scale * height), labels.shape[0]), max(round(scale * width), labels.shape[1])
        stream = io.BytesIO()
        write_indexed_png(stream, brush.enlarged(labels, size), size)
        return stream.getvalue()

    def mask_labelme(self, number: int) -> bytes:
        """The same for labelme."""
        picture = self.picture(number)
        return brush.labelme(self.labels(number), picture.size, picture.path.name)

    def end(self) -> None:
        """Remove all files of the visitor."""
        self.known.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
