"""The scores of the results that a study asked about, as its run folders have them today."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd

from evaluation.registry import COSTS, metric_info
from evaluation.results import read_results
from evaluation.statistics import common_items
from evaluation.study.files import KEY, Study
from evaluation.table_page import KINDS
from harness.folder import RunFolder
from stylegallery.provenance import file_digest

Values = TypeVar("Values", pd.DataFrame, pd.Series)


@dataclass(frozen=True)
class MetricValues:
    """of_items: metric -> items x methods; of_sets: metric of sets -> method -> value of its whole run; both so that
    larger is better. without: metrics that have no value here. changed: results whose pictures are not those that
    people saw, which have no values. absent: run folders that hold no results, whose methods have no values."""

    of_items: dict[str, pd.DataFrame]
    of_sets: dict[str, pd.Series]
    without: list[str]
    changed: list[str]
    absent: list[Path]

    def names(self) -> list[str]:
        """In the order of tables."""
        return sorted({*self.of_items, *self.of_sets}, key=lambda name: (KINDS.index(metric_info(name).kind), name))

    def of_methods(self, metric: str) -> pd.Series:
        """A metric's means over the items that all methods have, or its values of whole runs."""
        return common_items(self.of_items[metric]).mean() if metric in self.of_items else self.of_sets[metric]

    def left_out(self) -> list[str]:
        return [
            f"No results are in {out}, where {KEY} says they are, and so their metrics are left out; put the study and "
            "its run folders where they were to each other, and import again."
            for out in self.absent
        ]

    def notes(self) -> list[str]:
        lines = self.left_out()
        if self.without:
            lines.append(f"Metrics without a value: {', '.join(self.without)}.")
        if self.changed:
            lines.append(f"Without values, since the pictures changed after the study: {', '.join(self.changed)}.")
        return lines


def read_metric_values(folder: Path, study: Study) -> MetricValues:
    """Costs are no metrics. Raises InputError where a file in a run folder cannot be read."""
    items: list[pd.DataFrame] = []
    sets: list[pd.DataFrame] = []
    changed: list[str] = []
    absent: list[Path] = []
    for number, run in enumerate(study.runs):
        out = (folder / run).resolve()
        if not RunFolder(out).results():  # votes need no run
            absent.append(out)
            continue
        labels = [label for label, owner in study.methods.items() if owner == number]
        results = read_results(out)
        items.append(results.items[results.items["label"].isin(labels) & results.items["item"].isin(study.contents)])
        sets.append(results.sets[results.sets["label"].isin(labels)])
        for item, digests in study.results.items():
            pictures = {label: RunFolder(out).result(label, item).picture for label in labels}
            changed += [
                f"{label}/{item}"
                for label, picture in pictures.items()
                if not picture.is_file() or file_digest(picture) != digests[label]
            ]
    if not items:
        return MetricValues({}, {}, [], changed, absent)
    of_items, of_sets = pd.concat(items), pd.concat(sets)
    scored = of_items[(of_items["metric"] != "") & ~of_items["metric"].isin(COSTS)]
    present = scored[scored["value"].notna() & ~(scored["label"] + "/" + scored["item"]).isin(changed)]
    measured = of_sets[of_sets["value"].notna()]
    found = MetricValues(
        {
            str(name): upwards(str(name), rows.pivot(index="item", columns="label", values="value"))
            for name, rows in present.groupby("metric")
        },
        {str(name): upwards(str(name), rows.set_index("label")["value"]) for name, rows in measured.groupby("metric")},
        [],
        changed,
        absent,
    )
    return replace(found, without=sorted({*scored["metric"], *of_sets["metric"]} - set(found.names())))


def upwards(metric: str, values: Values) -> Values:
    return values if metric_info(metric).direction == "up" else -values
