"""A run folder of painted pictures to ask people about, and simulated people who answer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import paint
from test_report import annotate, request_of, write_cell

from evaluation.study.analysis import SIDES
from evaluation.study.design import Question, Shown
from evaluation.study.files import SCHEMA, Study

TASTE = {"calm": -0.9, "bright": 0.2, "rough": 0.7}  # abilities of the methods of `paint_run`
METRIC, OPPOSITE = "structure_efficientnet", "ms_ssim"  # exactly the taste, where smaller is better, and its reverse
Choice = Callable[[Question], bool]  # whether `first` is chosen


def paint_run(out: Path, contents: int = 10, each: int = 2, taste: Mapping[str, float] = TASTE) -> Path:
    """`each` items of every content, of two references, which the methods and the calibration have done, scored by
    two metrics that rank the methods as `taste` does and in reverse."""
    pictures = out.parent / "pictures"
    pictures.mkdir(parents=True)
    references = [paint(pictures / f"reference{number}.png", 500 + number) for number in range(2)]
    made = {label: paint(pictures / f"{label}.png", 600 + number) for number, label in enumerate([*taste, "identity"])}
    for number in range(contents):
        content = paint(pictures / f"content{number}.png", number, (80, 64))
        for version in range(each):
            request = request_of(f"{number:02d}_{version}", content, references)
            annotate(out, request, len(references))
            for label, picture in made.items():
                ability = taste.get(label, 0.0)
                scores: Mapping[str, float | None] = dict.fromkeys((METRIC, OPPOSITE), 2 - ability + number)
                write_cell(out / "cells" / label / request.item, request, picture, dict(scores))
    return out


def simulated(
    study: Study, taste: Mapping[str, float], people: int, rng: np.random.Generator, own: float
) -> pd.DataFrame:
    """Votes, without checks, of people who each depart from a common taste by normal deviates of deviation `own`."""
    rows = []
    for person in range(people):
        theirs = {label: ability + own * rng.normal() for label, ability in taste.items()}
        for shown in study.plans[person % len(study.plans)]:
            question = study.questions[shown.question]
            content, chosen = study.contents[question.item], prefers(theirs, question, rng)
            rows.append((f"{person:016x}", question.item, content, *question.pictures, chosen))
    return pd.DataFrame(rows, columns=["participant", "item", "content", *SIDES, "first_chosen"])


def prefers(taste: Mapping[str, float], question: Question, rng: np.random.Generator) -> bool:
    """As the model of Bradley and Terry has it."""
    return bool(rng.random() < 1 / (1 + np.exp(taste[question.second] - taste[question.first])))


def ballot(study: Study, person: int, choice: Choice) -> dict[str, object]:
    """What the page would save for someone who gets checks right unless `choice` says otherwise."""
    plan = person % len(study.plans)

    def side(shown: Shown) -> str:
        return "left" if choice(study.questions[shown.question]) != shown.flipped else "right"

    seconds = np.random.default_rng(person).uniform(1, 10, len(study.plans[plan])).round(3).tolist()
    answers = [{"chose": side(shown), "seconds": own} for shown, own in zip(study.plans[plan], seconds, strict=True)]
    return {
        "schema": SCHEMA, "study": study.digest(), "participant": f"{person:016x}", "plan": plan, "answers": answers,
    }  # fmt: skip


def write_ballots(folder: Path, study: Study, people: int, choice: Choice, start: int = 0) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{person}.json" for person in range(start, start + people)]
    for person, path in enumerate(paths, start):
        path.write_text(json.dumps(ballot(study, person, choice)))
    return [str(path) for path in paths]
