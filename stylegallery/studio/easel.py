"""Painting for one visitor: update by update, stopped with what is there, and carried on from there."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import GEN_RUNNING, getgeneratorstate
from pathlib import Path

from torch import Tensor

from stylegallery.contract import Energy, Item, Stylization
from stylegallery.errors import InputError
from stylegallery.images import read_image, to_pixels, write_png
from stylegallery.pipeline import Update
from stylegallery.plan import Plan
from stylegallery.provenance import (
    code_digest,
    constraints_written,
    deciding,
    file_digest,
    picture_text,
    weights_digests,
)
from stylegallery.studio.choices import Choices
from stylegallery.studio.limits import MOST_RESULTS
from stylegallery.studio.papers import Order
from stylegallery.studio.visit import Shown, Visit
from stylegallery.studio.wishes import Wishes

PICTURES = 12  # of a painting on its way


@dataclass(frozen=True)
class Started:
    """What a painting is made of, as it was when it was asked for."""

    wishes: Wishes
    choices: Choices
    pictures: tuple[Shown, ...]
    seed: int

    def item(self) -> Item:
        """As a run has it."""
        content, *references = (picture.path for picture in self.pictures)
        mask, *own = (self.choices.masks.get(number) for number in range(len(self.pictures)))
        return Item("studio", content, tuple(references), mask, tuple(own), self.choices.constraints())


@dataclass(frozen=True)
class Result:
    """A painting that was finished or stopped: after so many of all updates. `picture` is the file of its PNG, to the
    byte the one that its order gives on the command line."""

    number: int
    started: Started
    plan: Plan
    energies: tuple[Energy, ...]
    size: tuple[int, int]  # height and width
    order: Order
    address: str
    picture: Path
    updates: int
    of: int
    seconds: float

    @property
    def stylization(self) -> Stylization:
        """Its picture is read again each time: as large as a photo, a dozen of them would fill the memory."""
        return self.plan.with_image(read_image(self.picture), self.energies)

    @property
    def folder(self) -> str:
        """Of the archive that the command and the settings are for."""
        return f"studio-{self.address}"

    @cached_property  # the page is told of every result at every moment of a painting
    def command(self) -> str:
        return self.order.command(self.folder)

    @cached_property
    def yaml(self) -> str:
        return self.order.yaml(self.folder)


@dataclass(frozen=True)
class Moment:
    """What a visitor sees at a moment of a painting; the picture where there is a new one, the result at the end."""

    doing: str
    done: int
    of: int
    seconds_left: float | None = None
    energies: tuple[Energy, ...] = ()
    picture: Tensor | None = None
    result: Result | None = None


class Easel:
    """Where a visitor's paintings are made and kept, the newest last."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.results, self.made = visit, list[Result](), 0
        self.going: tuple[Started, Generator[Update], float, Plan] | None = None  # what was stopped; its seconds so far
        self.stopping = self.left = False

    def stop(self) -> None:
        """Keep what is there after the update that is being made."""
        self.stopping = True

    def leave(self) -> None:
        """The visitor is gone: end as soon as possible, and keep nothing."""
        self.left = self.stopping = True

    def paint(self, wishes: Wishes) -> Iterator[Moment]:
        """Paint with these wishes.

        Raises:
            InputError: the wishes do not go together, or a choice cannot be used at this size.
            FloatingPointError: energy, gradient or picture are not finite.
        """
        visit, self.going = self.visit, None
        self.stopping = self.left = False
        if not visit.ready:
            raise InputError("a photo and a painting are needed; choose both")
        with visit.lock:
            pictures = visit.given()
            started, began = Started(wishes, visit.choices, pictures, visit.seed), time.monotonic()
        method, unknown = visit.method(wishes), len(visit.unknown(wishes))
        for done, number in enumerate(visit.analyse(wishes)):
            left = (time.monotonic() - began) / done * (unknown - done) if done else None
            looking = "looking at the photo" if number == 0 else f"looking at painting {number}"
            yield Moment(f"{looking}, for a picture of this size", done, unknown, left)
            if self.stopping:
                return
        yield Moment("matching the regions", 0, 0)
        if self.stopping:
            return
        for number in started.choices.masks if pictures == visit.given() else ():
            visit.analysis(number, wishes, started.choices)  # takes seconds, in which the visitor may decide more
        with visit.lock:
            if pictures != visit.given():
                raise InputError("the pictures changed meanwhile; paint again")
            plan = visit.plan(wishes, started.choices)
        self.going = started, method.render_stepwise(plan), 0.0, plan
        yield from self.update()

    def carry_on(self) -> Iterator[Moment]:
        """Go on with what was stopped. Raises InputError where nothing was."""
        if self.going is None:
            raise InputError("nothing was stopped that could be carried on; paint first")
        if getgeneratorstate(self.going[1]) == GEN_RUNNING:  # for a page that was closed meanwhile
            raise InputError("the last update is still being made; go on in a moment")
        self.stopping = self.left = False
        yield from self.update()

    def update(self) -> Iterator[Moment]:
        """Update what is going on until it is finished or stopped."""
        assert self.going is not None
        started, updates, before, plan = self.going
        began, first, update = time.monotonic(), 0, None
        while one := self.next_of(updates):
            update = one
            done, of = len(update.energies), update.updates
            first = first or done
            seconds, each = time.monotonic() - began, max(1, of // PICTURES)
            left = seconds / (done - first + 1) * (of - done)
            shown = update.picture().cpu() if done % each == 0 else None
            yield Moment("painting", done, of, left, update.energies, shown)
            if self.stopping:
                break
        if update is None:
            self.going = None
            raise InputError("this painting is finished; paint again with other settings")
        if self.left:
            return
        seconds = before + time.monotonic() - began
        finished = len(update.energies) == update.updates or not self.stopping
        self.going = None if finished else (started, updates, seconds, plan)
        result = self.kept(started, plan, update, seconds, finished)
        doing = "finished" if finished else "stopped"
        yield Moment(doing, result.updates, result.of, 0.0, update.energies, result=result)

    def next_of(self, updates: Generator[Update]) -> Update | None:
        """The next update; None at the end."""
        with self.visit.workshop.networks:
            return next(updates, None)

    def kept(self, started: Started, plan: Plan, update: Update, seconds: float, finished: bool) -> Result:
        """The result so far, written as a file of the visitor."""
        self.made += 1
        done = len(update.energies)
        wishes = started.wishes if finished else started.wishes.model_copy(update={"updates": done})
        workshop, item = self.visit.workshop, started.item()
        order = Order(item, started.seed, (*workshop.overrides, *wishes.unlike(workshop.defaults).overrides()))
        config = workshop.settings(wishes)
        constraints = constraints_written(item.constraints)
        inputs = {role: file_digest(path) for role, path in item.files().items()}
        weights, code = weights_digests(config), code_digest(config)
        text = picture_text(deciding(started.seed, config, inputs, constraints, weights, code))
        with workshop.networks:
            pixels = to_pixels(update.result().image)
        path = self.visit.folder / f".result_{self.made}.png"
        write_png(path, pixels, text)
        height, width = pixels.shape[:2]
        result = Result(
            self.made, started, plan, update.energies, (height, width), order, text["config"], path, done,
            update.updates, round(seconds, 1),
        )  # fmt: skip
        for old in self.results[: 1 - MOST_RESULTS]:
            old.picture.unlink(missing_ok=True)
        self.results = [*self.results[1 - MOST_RESULTS :], result]
        return result

    def result(self, number: int) -> Result:
        """Raises InputError where the history does not hold it."""
        for result in self.results:
            if result.number == number:
                return result
        raise InputError(f"there is no result {number} in this session")
