"""scores.json of a result and sets.json of a label: what they hold, and how they are read and written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, Strict, TypeAdapter

from harness.locks import lock
from harness.schemas import CHECKED, Count, Number, Text, read
from stylegallery.errors import InputError
from stylegallery.files import replacing, writable

AGAIN = "score again"
Value = Annotated[float, Strict(), Field(ge=-1e30, le=1e30)]


@dataclass(frozen=True)
class Score:
    """The value of a metric, or the reason why there is none: "missing: ..." or "failed: ...".

    version: of the metric. annotation: digest of the annotation that a regional score is about. low, high: interval of
    the score of a set, contents: number of different contents in it; with too few there is no interval, and `reason`
    says so.
    """

    __pydantic_config__ = CHECKED
    value: Value | None
    version: Count | None
    reason: Text | None
    annotation: Text | None = None
    low: Value | None = None
    high: Value | None = None
    contents: Count | None = None


def is_about(score: Score, annotation: str | None) -> bool:
    """Whether a regional score is about the annotation of this digest; a value without annotation is about none."""
    return score.annotation == annotation and (annotation is not None or score.value is None)


@dataclass(frozen=True)
class Scores:
    """Metrics of a result by name, made from `pictures` (role -> SHA-256) at `size` (None: at their own)."""

    __pydantic_config__ = CHECKED
    metrics: dict[str, Score]
    pictures: dict[str, Text | None]
    size: Number | None


@dataclass(frozen=True)
class SetScores:
    """Metrics of n results together. pictures: item -> role -> SHA-256; items: digest of the ids."""

    __pydantic_config__ = CHECKED
    metrics: dict[str, Score]
    pictures: dict[str, dict[str, Text | None]]
    items: Text
    size: Number | None
    n: Count


AnyScores = TypeVar("AnyScores", bound=Scores | SetScores)
FILES: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (Scores, SetScores)}


def read_scores(path: Path, kind: type[AnyScores]) -> AnyScores:
    """Raises InputError where there is no file of scores or a damaged one."""
    scores: AnyScores = read(path, FILES[kind], AGAIN)
    return scores


def stored(path: Path, kind: type[AnyScores]) -> AnyScores | None:
    """As `read_scores`; None where the file is missing or damaged."""
    try:
        return read_scores(path, kind)
    except InputError:
        return None


def stored_scores(path: Path, about: Scores | SetScores) -> dict[str, Score]:
    """The scores that a file has of the pictures and the size of `about`; none if it is of others or damaged."""
    found = stored(path, type(about))
    return found.metrics if found and replace(found, metrics={}) == about else {}


def as_json(score: Score) -> dict[str, Any]:
    """Without the fields that other kinds of metrics have."""
    values = asdict(score)
    return {key: value for key, value in values.items() if value is not None or key in ("value", "version", "reason")}


def add_scores(out: Path, path: Path, about: Scores | SetScores, scores: Mapping[str, Score]) -> None:
    """Add scores to a file; those that it has of the same pictures and size stay, other processes' too.

    Raises:
        InputError: the file cannot be written.
    """
    with writable(path, "make room or check permissions"), lock(out, "scores"), replacing(path) as temporary:
        metrics = dict(sorted((stored_scores(path, about) | dict(scores)).items()))
        values = asdict(about) | {"metrics": {name: as_json(score) for name, score in metrics.items()}}
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
