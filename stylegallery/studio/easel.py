"""Painting for one visitor: update by update, stopped with what is there, and carried on from there."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from inspect import GEN_RUNNING, getgeneratorstate
from pathlib import Path

from torch import Tensor

from stylegallery.contract import Energy, Stylization
from stylegallery.errors import InputError
from stylegallery.images import to_pixels, write_png
from stylegallery.pipeline import Update
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


@dataclass(frozen=True)
class Result:
    """A painting that was finished or stopped: after so many of all updates. `picture` is the file of its PNG, to the
    byte the one that its order gives on the command line."""

    number: int
    started: Started
    stylization: Stylization
    order: Order
    address: str
    picture: Path
    updates: int
    of: int
    seconds: float


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
        self.going: tuple[Started, Generator[Update], float] | None = None  # what was stopped, and its seconds so far
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
        pictures = tuple(picture for picture in visit.pictures if picture)
        started, began = Started(wishes, visit.choices, pictures, visit.seed), time.monotonic()
        method, unknown = visit.method(wishes), len(visit.unknown(wishes))
        for done, number in enumerate(visit.analyse(wishes)):
            left = (time.monotonic() - began) / done * (unknown - done) if done else None
            looking = "looking at the photo" if number == 0 else f"looking at painting {number}"
            yield Moment(f"{looking}, for a picture of this size", done, unknown, left)
            if self.stopping:
                return
        yield Moment("mixing the colours", 0, 0)
        if self.stopping:
            return
        with visit.lock:
            if pictures != tuple(picture for picture in visit.pictures if picture):
                raise InputError("the pictures changed meanwhile; paint again")
            plan = visit.plan(wishes, started.choices)
        self.going = started, method.render_stepwise(plan), 0.0
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
        started, updates, before = self.going
        began, first, update = time.monotonic(), 0, None
        for update in updates:
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
        self.going = None if finished else (started, updates, seconds)
        result = self.kept(started, update, seconds, finished)
        doing = "finished" if finished else "stopped"
        yield Moment(doing, result.updates, result.of, 0.0, update.energies, result.stylization.image, result)

    def kept(self, started: Started, update: Update, seconds: float, finished: bool) -> Result:
        """The result so far, written as a file of the visitor."""
        self.made += 1
        done = len(update.energies)
        wishes = started.wishes if finished else started.wishes.model_copy(update={"updates": done})
        order = self.order(started, wishes)
        config = self.visit.workshop.settings(wishes)
        constraints = constraints_written(started.choices.constraints())
        inputs = self.inputs(started)
        weights, code = weights_digests(config), code_digest(config)
        text = picture_text(deciding(started.seed, config, inputs, constraints, weights, code))
        stylization, path = update.result(), self.visit.folder / f".result_{self.made}.png"
        write_png(path, to_pixels(stylization.image), text)
        result = Result(
            self.made, started, stylization, order, text["config"], path, done, update.updates, round(seconds, 1)
        )
        for old in self.results[: 1 - MOST_RESULTS]:
            old.picture.unlink(missing_ok=True)
        self.results = [*self.results[1 - MOST_RESULTS :], result]
        return result

    def order(self, started: Started, wishes: Wishes) -> Order:
        """The command line that makes a result."""
        content, *references = (picture.path.name for picture in started.pictures)
        names = {number: path.name for number, path in started.choices.masks.items()}
        mask, *own = (names.get(number) for number in range(len(started.pictures)))
        overrides = (*self.visit.workshop.overrides, *wishes.unlike(self.visit.workshop.defaults).overrides())
        constraints = started.choices.constraints()
        return Order(content, references, constraints, mask, own, started.seed, overrides)

    def inputs(self, started: Started) -> dict[str, str]:
        """Digests of all files of a result by their roles, as `Item.files` names them."""
        roles = ["content", *(f"reference {number}" for number in range(1, len(started.pictures)))]
        found = {role: picture.sha256 for role, picture in zip(roles, started.pictures, strict=True)}
        masks = sorted(started.choices.masks.items())
        return found | {f"mask of {roles[number]}": file_digest(path) for number, path in masks}

    def result(self, number: int) -> Result:
        """Raises InputError where the history does not hold it."""
        for result in self.results:
            if result.number == number:
                return result
        raise InputError(f"there is no result {number} in this session")
