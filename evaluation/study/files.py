"""The files of a study: its key, which says what every question compares, and what participants send back.

The page does not have the key, so that nobody can read off it which method made a picture.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, Field, Strict, TypeAdapter

from evaluation.study.design import KINDS, Question, Shown
from harness.schemas import CHECKED, Amount, Count, Integer, PathText, Text, read
from stylegallery.errors import InputError

PAGE, KEY, RESULTS = "study.html", "key.json", "results.md"  # in the folder of a study
SCHEMA = 1  # of both kinds of files; raised whenever earlier ones can no longer be read
VOTE_COLUMNS = [
    "participant", "kind", "item", "content", "first", "second", "check", "first_chosen", "left_chosen", "seconds",
]  # fmt: skip


def of_this_version(schema: int) -> int:
    if schema != SCHEMA:
        raise ValueError(f"another version of this code wrote it: schema {schema}, not {SCHEMA}")
    return schema


Schema = Annotated[Integer, AfterValidator(of_this_version)]
Participant = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{16}$")]  # drawn by the page


@dataclass(frozen=True)
class Study:
    """key.json.

    runs: folders with the results, as seen from the study's; methods: label -> the run that has it; contents: item ->
    digest of its content; results: item -> label -> SHA-256 of the picture; annotator: whose regions are shown.
    """

    __pydantic_config__ = CHECKED
    schema: Schema
    seed: Count
    annotator: Text
    runs: list[PathText]
    methods: dict[Text, Count]
    contents: dict[Text, Text]
    results: dict[Text, dict[Text, Text]]
    questions: list[Question]
    plans: list[list[Shown]]

    def __post_init__(self) -> None:
        if any(run >= len(self.runs) for run in self.methods.values()):
            raise ValueError("a method is of a run that it does not name")
        if any(not set(self.methods) <= set(self.results.get(item, ())) for item in self.contents):
            raise ValueError("an item lacks the result of a method")
        pairs = set(combinations(self.methods, 2))
        for question in self.questions:
            if question.item not in self.contents or not (question.check or question.pictures in pairs):
                raise ValueError("a question is about an item or a pair of methods that it does not name")
        if any(shown.question >= len(self.questions) for plan in self.plans for shown in plan):
            raise ValueError("a plan has a question that it does not name")
        asked = [[self.questions[shown.question] for shown in plan] for plan in self.plans]
        if not asked or any({one.kind for one in plan if not one.check} != set(KINDS) for plan in asked):
            raise ValueError("a plan does not have questions of both kinds")

    def text(self) -> str:
        """The file, one question and one plan a line."""
        values = asdict(self)
        questions, plans = (",\n  ".join(map(json.dumps, values.pop(name))) for name in ("questions", "plans"))
        head = json.dumps(values, indent=1).removesuffix("\n}")
        return f'{head},\n "questions": [\n  {questions}\n ],\n "plans": [\n  {plans}\n ]\n}}\n'

    def digest(self) -> str:
        """What the page and the votes call the study by."""
        return sha256(self.text().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Answer:
    """seconds: from when both pictures were seen."""

    __pydantic_config__ = CHECKED
    chose: Literal["left", "right"]
    seconds: Amount


@dataclass(frozen=True)
class Ballot:
    """What a participant sends back: the answers to the questions of a plan, in its order."""

    __pydantic_config__ = CHECKED
    schema: Schema
    study: Text
    participant: Participant
    plan: Count
    answers: list[Answer]


STUDY_FILE, BALLOT_FILE = TypeAdapter(Study), TypeAdapter(Ballot)


def read_study(folder: Path) -> Study:
    """Raises InputError where the key is missing or damaged. It never says to delete the key: no vote can be read
    without it."""
    if not os.path.lexists(folder / KEY):
        raise InputError(f"{folder} holds no {KEY}; pass the folder that `python -m evaluation.study export` wrote")
    remedy = "keep it, since no vote can be read without it, and restore a copy or use the code that wrote it"
    return read(folder / KEY, STUDY_FILE, remedy, kept=True)


def ballot_files(paths: Sequence[Path]) -> list[Path]:
    """Each file once; a folder stands for all *.json in it but the key of a study.

    Raises:
        InputError: a path is missing, or a folder without such files.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        inside = sorted(one for one in path.glob("*.json") if one.name != KEY) if path.is_dir() else [path]
        if not inside or not os.path.lexists(inside[0]):
            what = "holds no *.json with votes" if path.is_dir() else "is missing"
            raise InputError(f"{path} {what}; pass files that participants sent back, or a folder of such files")
        for one in inside:
            found.setdefault(one.resolve(), one)
    return list(found.values())


def read_votes(study: Study, paths: Sequence[Path]) -> pd.DataFrame:
    """Every answer of every file, those to checks too, with VOTE_COLUMNS; content: the digest of the item's.

    Raises:
        InputError: a file is damaged, of another study, of a participant whose answers another file has, or a copy of
            another file. Nobody is told to delete it: only the participant may have the answers still.
    """
    rows: list[tuple[object, ...]] = []
    owners: dict[str, Path] = {}
    timed: dict[tuple[float, ...], Path] = {}
    remedy = "keep it and ask the participant for the file again"
    for path in ballot_files(paths):
        ballot = read(path, BALLOT_FILE, remedy, kept=True)
        if ballot.study != study.digest():
            raise InputError(f"{path} has answers to another study, {ballot.study}; import it with the key of that one")
        if ballot.plan >= len(study.plans) or len(ballot.answers) != len(study.plans[ballot.plan]):
            raise InputError(f"{path} does not have an answer to each question of one of the study's plans; {remedy}")
        if (other := owners.setdefault(ballot.participant, path)) is not path:
            raise InputError(f"{path} and {other} are of the same participant, {ballot.participant}; pass one of them")
        # Of two people, no two take the same milliseconds for every answer: whatever else differs, it was edited.
        if (other := timed.setdefault(tuple(answer.seconds for answer in ballot.answers), path)) is not path:
            raise InputError(f"{path} and {other} have the same times in all answers, so that one is a copy; pass one")
        for shown, answer in zip(study.plans[ballot.plan], ballot.answers, strict=True):
            question, left = study.questions[shown.question], answer.chose == "left"
            rows.append(
                (ballot.participant, question.kind, question.item, study.contents[question.item], *question.pictures,
                 question.check, left != shown.flipped, left, answer.seconds)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=VOTE_COLUMNS)
