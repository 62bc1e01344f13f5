"""Rows of numbers that papers report, from reported.yaml, beside ours."""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

PATH = Path(__file__).with_name("reported.yaml")


@cache
def read_reported() -> dict[str, Any]:
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


def columns(ours: set[str]) -> dict[str, str]:
    """The paper's metric -> the column it stands in: our metric, else its twin on another backbone where only that
    has been computed."""
    metrics = read_reported()["metrics"]
    return {
        name: entry["twin"] if entry["ours"] not in ours and entry["twin"] in ours else entry["ours"]
        for name, entry in metrics.items()
    }


def other_scales(ours: set[str]) -> dict[str, str]:
    """The paper's metrics whose numbers are on another scale than the column they stand in: those of a twin, and those
    that the paper does not say enough of."""
    metrics = read_reported()["metrics"]
    return {
        name: column
        for name, column in columns(ours).items()
        if column == metrics[name]["twin"] or not metrics[name]["same_scale"]
    }


def of_benchmark(benchmarks: Collection[str]) -> bool:
    """Whether these benchmarks are all the one that the reported numbers are of."""
    return set(benchmarks) == {read_reported()["benchmark"]["manifest"]}


def of_other_size(sizes: Mapping[str, set[str]]) -> list[str]:
    """The labels with pictures that were scored at another size than the reported numbers are of."""
    return [label for label, own in sizes.items() if own != {read_reported()["benchmark"]["size"]}]


def reported_rows(table: pd.DataFrame, apart: Collection[str]) -> pd.DataFrame:
    """One row per reported number: source (comparison or ablation), label (ours), value, and the difference ours −
    reported, where both are of one scale and ours of all items, and not for labels of a model or size `apart`.
    """
    measured, reported = table.dropna(subset=["value"]), read_reported()
    whole = measured[measured["n"] == reported["benchmark"]["items"]]
    ours = {(row.label, row.metric): row.value for row in whole.itertuples()}
    rows: list[dict[str, object]] = []
    where, scales = columns(set(measured["metric"])), other_scales(set(measured["metric"]))
    for source in ("comparison", "ablation"):
        for label, entry in reported[source].items():
            for (name, metric), value in zip(where.items(), entry["values"], strict=True):
                if value is None:
                    continue
                own = None if name in scales or label in apart else ours.get((label, metric))
                rows.append(
                    {
                        "source": source, "label": label, "metric": metric, "value": value, "reported": entry["name"],
                        "direction": "up" if name == "Style" else "down",
                        "difference": None if own is None else own - value,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=table.columns).astype({"difference": float})
