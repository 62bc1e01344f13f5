"""What a file of conf/experiment holds, checked before its runs start and again before they are published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from stylegallery.errors import InputError
from stylegallery.overrides import CONFIGS

EXPERIMENTS = CONFIGS / "experiment"


@dataclass(frozen=True)
class Reported:
    """Rows of evaluation/reported.yaml that stand below an experiment's: of one of its tables, `all` or those of the
    experiment's `runs`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    table: Literal["comparison", "ablation"]
    rows: Literal["all", "runs"]


@dataclass(frozen=True)
class Experiment:
    """conf/experiment/<name>.yaml.

    about: the comment at its head; benchmarks: those it is published on, the first where data= is not given; against:
    the label that paired tests hold the others against; runs: label -> overrides, in order; oracle: the score by which
    a row takes the best run of every item; pictures: whether its items are shown; groups: by what its scores are broken
    down; cost: whether its runs are compared by what they cost.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    about: str
    reproduces: str
    benchmarks: list[str]
    against: str
    runs: dict[str, list[str]]
    reported: Reported | None = None
    oracle: str | None = None
    pictures: bool = False
    groups: tuple[Literal["references", "family"], ...] = ()
    cost: bool = False


EXPERIMENT = TypeAdapter(Experiment)


def experiment_of(values: Mapping[str, Any], name: str, about: str = "") -> Experiment:
    """Raises InputError where something is missing, of another type or unknown, or `against` is none of the runs."""
    where = f"experiment={name}"
    try:
        found = EXPERIMENT.validate_python({"name": name, "about": about, **values})
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, ("experiment", *problem["loc"])))
        raise InputError(f"{where}: {place}: {problem['msg']}; mend conf/experiment/{name}.yaml") from error
    for key, value in (("benchmarks", found.benchmarks), ("runs", found.runs)):
        if not value:
            raise InputError(f"{where}: experiment.{key} is empty; mend conf/experiment/{name}.yaml")
    if found.against not in found.runs:
        raise InputError(f"{where}: experiment.against is {found.against}; make it one of {', '.join(found.runs)}")
    return found


def read_experiments() -> list[Experiment]:
    """Everything in conf/experiment that has runs, in the order of names, the one whose items are shown first.

    Raises:
        InputError: as `experiment_of`.
    """
    found = []
    for path in sorted(EXPERIMENTS.glob("*.yaml")):
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        if values["experiment"]:
            comments = [
                line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")
            ]
            about = " ".join(comment for comment in comments if not comment.startswith("@package"))
            found.append(experiment_of(values["experiment"], path.stem, about))
    return sorted(found, key=lambda experiment: not experiment.pictures)
