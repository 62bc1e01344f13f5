"""Which questions a study asks, and which of them every participant gets, in what order and on which side.

A question shows two pictures of an item. Participants get plans: each plan has the same number of questions of either
kind, all of one kind together, and attention checks among them. Plans take turns in which kind comes first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import Literal

import numpy as np

from harness.schemas import CHECKED, Count, Text

Kind = Literal["content", "style"]
KINDS: tuple[Kind, Kind] = ("content", "style")


@dataclass(frozen=True)
class Question:
    """Which of two pictures of an item keeps its content, or carries the style of its references.

    first, second: labels of methods. Those of a check are roles of the item's own pictures, "content" and "reference
    1", and `first` is the right answer.
    """

    __pydantic_config__ = CHECKED
    kind: Kind
    item: Text
    first: Text
    second: Text
    check: bool = False

    @property
    def pictures(self) -> tuple[str, str]:
        return self.first, self.second


@dataclass(frozen=True)
class Shown:
    """A question (its number) as a plan shows it; flipped: `second` is on the left."""

    __pydantic_config__ = CHECKED
    question: Count
    flipped: bool


def all_questions(items: Sequence[str], methods: Sequence[str], references: Sequence[str]) -> list[Question]:
    """Every pair of methods on every item, and a check of either kind; references: of each item the role of the one
    that its check shows."""
    pairs = list(combinations(methods, 2))
    asked = [Question(kind, item, *pair) for kind in KINDS for item in items for pair in pairs]
    for item, reference in zip(items, references, strict=True):
        asked.append(Question("content", item, "content", reference, check=True))
        asked.append(Question("style", item, reference, "content", check=True))
    return asked


def draw_plans(questions: Sequence[Question], each: int, checks: int, plans: int, seed: int) -> list[list[Shown]]:
    """`plans` plans of `each` questions and `checks` checks of either kind.

    Over all plans every pair of methods is asked equally often, and so is every question, up to the plans' ends; every
    pair has its methods on the left equally often, and so have the checks their right answer. Equal seeds, equal plans.
    """
    rng = np.random.default_rng(seed)
    streams = {kind: Stream(questions, kind, rng) for kind in KINDS}
    found = []
    for plan in range(plans):
        order = KINDS if plan % 2 == 0 else KINDS[::-1]
        found.append([shown for kind in order for shown in streams[kind].part(each, checks)])
    return found


class Stream:
    """The questions of a kind without end: every pair of methods once a round, each time on its next item."""

    def __init__(self, questions: Sequence[Question], kind: Kind, rng: np.random.Generator) -> None:
        self.rng = rng
        by_pair: dict[tuple[str, str], list[int]] = {}
        self.checks: list[int] = []
        for number, question in enumerate(questions):
            if question.kind == kind:
                place = self.checks if question.check else by_pair.setdefault(question.pictures, [])
                place.append(number)
        self.rounds = self.without_end([rng.permutation(numbers).tolist() for numbers in by_pair.values()])
        self.check_rounds = self.without_end([rng.permutation(self.checks).tolist()])

    def without_end(self, orders: list[list[int]]) -> Iterator[Shown]:
        """One of every order a round; the sides alternate along an order, and from pass to pass for each of it."""
        sides = self.rng.integers(0, 2, len(orders))
        for turn in count():
            for pair in self.rng.permutation(len(orders)).tolist():
                passes, place = divmod(turn, len(orders[pair]))
                yield Shown(orders[pair][place], bool((passes + place + sides[pair]) % 2))

    def part(self, each: int, checks: int) -> list[Shown]:
        """A participant's questions of this kind in random order; no check comes first, no question twice."""
        part = list(self.distinct(self.rounds, each))
        part = [part[place] for place in self.rng.permutation(len(part))]
        for check in self.distinct(self.check_rounds, checks):
            part.insert(int(self.rng.integers(1, len(part) + 1)), check)
        return part

    @staticmethod
    def distinct(stream: Iterator[Shown], many: int) -> Iterator[Shown]:
        seen: set[int] = set()
        while len(seen) < many:
            shown = next(stream)
            if shown.question not in seen:
                seen.add(shown.question)
                yield shown
