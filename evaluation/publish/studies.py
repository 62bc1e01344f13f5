"""Studies: an experiment of conf/experiment and what a sweep on disk holds of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from data.benchmark import load_items
from evaluation.calibration import CALIBRATION
from evaluation.records import Records, read_records
from evaluation.report import warning
from evaluation.results import Results, read_results
from harness.experiment_files import Experiment
from harness.folder import RunFolder
from harness.frozen import read_frozen
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.provenance import nodes
from stylegallery.weights import FETCH, find


@dataclass(frozen=True)
class Sweep:
    """A folder of results: the frozen settings of its labels, its records and its scores, `without` some labels."""

    out: Path
    frozen: dict[str, dict[str, Any]]
    records: Records
    results: Results
    without: frozenset[str]

    def manifest(self, label: str) -> str:
        return str(self.frozen[label]["data"].get("manifest", "folder")) if label in self.frozen else ""


@dataclass(frozen=True)
class Study:
    """An experiment with the sweep that holds most of it; `absent`: planned runs without any result, and why.

    `results` has only the labels of the experiment; absent ones are rows with their reason, so that tables keep them.
    """

    experiment: Experiment
    sweep: Sweep
    results: Results
    absent: dict[str, str]

    @property
    def labels(self) -> list[str]:
        """In the order of the experiment, calibration rows last."""
        return sorted(self.experiment.runs, key=lambda label: label in CALIBRATION)

    @property
    def ran(self) -> list[str]:
        return [label for label in self.labels if label not in self.absent]

    @property
    def manifest(self) -> str:
        return self.sweep.manifest(self.ran[0])

    def settings(self, label: str) -> tuple[str, int]:
        """What decides the results of a run: its settings and data as text, and its seed."""
        frozen = self.sweep.frozen[label]
        return json.dumps([frozen["method"], frozen["data"]], sort_keys=True), frozen["seed"]

    def planned(self) -> list[Item]:
        """The planned items, in the order of the benchmark."""
        frozen = [self.sweep.frozen[label] for label in self.ran]
        return max((load_items(one["data"], check=False)[: one["limit"]] for one in frozen), key=len)

    def items(self) -> list[str]:
        """The ids of the planned items."""
        return [item.id for item in self.planned()]

    def shared_items(self) -> list[str]:
        """The planned items that every run with results has finished."""
        done = [self.sweep.records.done(label) for label in self.ran]
        return [item for item in self.items() if all(item in records for records in done)]


def read_sweep(out: Path, without: frozenset[str] = frozenset()) -> Sweep:
    """Raises InputError where the folder holds no records or something in it is damaged."""
    results = read_results(out, without)
    frozen = {label: read_frozen(RunFolder(out).settings(label)) for label in RunFolder(out).labels()}
    return Sweep(out, frozen, read_records(out, without=without), results, without)


def find_studies(experiments: Sequence[Experiment], sweeps: Sequence[Sweep]) -> list[Study]:
    """One study for every experiment that a sweep holds runs of; calibration rows and the run that others are held
    against do not count, for other experiments have them too.

    Where several sweeps do, the one with most runs counts, the first of equals.

    Raises:
        InputError: no sweep holds anything of an experiment.
    """
    studies = []
    for experiment in experiments:
        held = {
            index: own_labels(experiment, sweep) - {*CALIBRATION, experiment.against}
            for index, sweep in enumerate(sweeps)
        }
        best = max(held, key=lambda index: (len(held[index]), -index))
        if held[best]:
            studies.append(make_study(experiment, sweeps[best]))
    if not studies:
        outs = " and ".join(str(sweep.out) for sweep in sweeps)
        raise InputError(
            f"{outs}: none of the labels is a run of conf/experiment on its benchmark; "
            f"start one with: python run.py experiment={experiments[0].name} out={sweeps[0].out}"
        )
    return studies


def shown_studies(experiments: Sequence[Experiment], sweeps: Sequence[Sweep]) -> list[Study]:
    """Of every sweep the first experiment that has the run others are held against, whether or not others are there.

    Raises:
        InputError: a sweep holds no such run, or two hold one benchmark.
    """
    studies: dict[str, Study] = {}
    for sweep in sweeps:
        asked = (one for one in experiments if one.against in own_labels(one, sweep))
        if not (experiment := next(asked, None)):
            first = experiments[0]
            raise InputError(
                f"{sweep.out}: has no results of {first.against} on a benchmark of conf/experiment; "
                f"make some with: python run.py experiment={first.name} 'only=[{first.against}]' out={sweep.out}"
            )
        study = make_study(experiment, sweep)
        if other := studies.get(study.manifest):
            raise InputError(f"{other.sweep.out} and {sweep.out} are both of {study.manifest}; pass one of them")
        studies[study.manifest] = study
    return list(studies.values())


def own_labels(experiment: Experiment, sweep: Sweep) -> set[str]:
    return {
        label
        for label in experiment.runs
        if label in sweep.records.by_label and sweep.manifest(label) in experiment.benchmarks
    }


def make_study(experiment: Experiment, sweep: Sweep) -> Study:
    present = own_labels(experiment, sweep)
    absent = {label: why_absent(experiment, sweep, label) for label in experiment.runs if label not in present}
    items, sets = (table[table["label"].isin(present)] for table in (sweep.results.items, sweep.results.sets))
    item_gaps = [{"label": label, "item": "", "metric": "", "reason": reason} for label, reason in absent.items()]
    metrics = sorted(set(sets["metric"]))
    set_gaps = [{"label": label, "metric": m, "reason": why} for label, why in absent.items() for m in metrics]
    results = replace(sweep.results, items=extended(items, item_gaps), sets=extended(sets, set_gaps))
    return Study(experiment, sweep, results, absent)


def extended(table: pd.DataFrame, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A table with further rows and unchanged types."""
    return pd.DataFrame([*table.to_dict("records"), *rows], columns=table.columns).astype(table.dtypes.to_dict())


def why_absent(experiment: Experiment, sweep: Sweep, label: str) -> str:
    """What the settings of a run need, whether or not this machine has it: the records decide, not the disk."""
    if label in sweep.without:
        return "left out on purpose (--without)"
    config = sweep.frozen.get(label, {}).get("method")
    wanted = [value for _, node in nodes(config) for value in node.values() if isinstance(value, str)]
    names = sorted({entry.name for entry in map(find, wanted) if entry})
    if names:
        return f"not run, needs weights: {FETCH} {' '.join(names)}"
    return "not run yet: the first command of this page does what is missing"


def same_but_seed(study: Study) -> list[list[str]]:
    """Groups of labels whose settings differ in nothing but the seed; of those with one seed, the first."""
    groups: dict[str, dict[int, str]] = {}
    for label in study.ran:
        if label not in CALIBRATION:
            settings, seed = study.settings(label)
            groups.setdefault(settings, {}).setdefault(seed, label)
    return [list(labels.values()) for labels in groups.values() if len(labels) > 1]


def model_lines(sweep: Sweep, labels: Sequence[str] = ()) -> list[str]:
    """Which model made the numbers, of some labels or of all: the first lines of every page."""
    labels = labels or sweep.records.labels
    models = {label: sweep.results.models[label] for label in labels if label in sweep.results.models}
    sizes = {"x".join(map(str, record.size or ())) for label in models for record in sweep.records.done(label).values()}
    bare = [label for label, model in models.items() if model == "none" and label not in CALIBRATION]
    models = {label: model for label, model in models.items() if model != "none"}
    by_model = {name: [label for label in models if models[label] == name] for name in sorted(set(models.values()))}
    names = [name if len(by_model) == 1 else f"{name} ({', '.join(some)})" for name, some in by_model.items()]
    made = "; ".join(names) or "none"
    without = f"; without one: {', '.join(bare)}" if bare and names else ""
    lines = [f"Model: {made}{without}. Results are {', '.join(sorted(sizes)) or 'of unknown size'} px."]
    return [f"**{warning(models)}**", *lines] if warning(models) else lines
