"""Rows of numbers that papers report, from reported.yaml, beside ours."""

from collections.abc import Collection
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


def other_backbones(ours: set[str]) -> dict[str, str]:
    """The paper's metrics that stand in the column of a twin: their scales differ."""
    metrics = read_reported()["metrics"]
    return {name: column for name, column in columns(ours).items() if column == metrics[name]["twin"]}


def reported_rows(table: pd.DataFrame, small: Collection[str]) -> pd.DataFrame:
    """One row per reported number: source (comparison or ablation), label (ours), value, and the difference ours −
    reported, which says something only where both are of one scale: not of a twin, nor of the `small` model's labels.
    """
    measured = table.dropna(subset=["value"])
    ours = {(row.label, row.metric): row.value for row in measured.itertuples()}
    reported, rows = read_reported(), []
    where, twins = columns(set(measured["metric"])), other_backbones(set(measured["metric"]))
    for source in ("comparison", "ablation"):
        for label, entry in reported[source].items():
            for (name, metric), value in zip(where.items(), entry["values"], strict=True):
                if value is None:
                    continue
                own = None if name in twins or label in small else ours.get((label, metric))
                rows.append(
                    {
                        "source": source, "label": label, "metric": metric, "value": value, "reported": entry["name"],
                        "direction": "up" if name == "Style" else "down",
                        "difference": None if own is None else own - value,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=table.columns).astype({"difference": float})
