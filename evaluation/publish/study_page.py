"""The page of an experiment: what it reproduces, the commands, the tables, the tests, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from evaluation.calibration import CALIBRATION, different_items, out_of_order, wrong_artfid
from evaluation.publish.commands import commands
from evaluation.publish.headlines import headlines
from evaluation.publish.studies import Study, model_lines, same_but_seed
from evaluation.publish.text import bullets, page, pipe_table, shell
from evaluation.registry import COSTS, metric_info
from evaluation.reported import other_scales, read_reported
from evaluation.statistics import ALPHA, common_items, estimate, side
from evaluation.table_notes import above, notes
from evaluation.table_page import MARKS, Page, cell, header, paper_cell
from evaluation.tables import build, mean_cells, paired_table

SECTIONS = {  # title -> kinds of metrics; ArtFID is the paper's summary of style and structure
    "Structure": ("structure",), "Style": ("style", "set"), "Style by region": ("regional",), "Cost": ("cost",),
}  # fmt: skip
KINDS = [kind for kinds in SECTIONS.values() for kind in kinds]
NO_RUN = "picked from other rows: no run of its own"


@dataclass(frozen=True)
class Oracle:
    """A row that takes for every item the run with the best value of `by`; `picks`: item -> label."""

    label: str
    by: str
    picks: dict[str, str]
    rows: pd.DataFrame


@dataclass
class Sheet:
    """The long table of a study and everything the page says about it."""

    study: Study
    table: pd.DataFrame
    complaints: list[str]
    oracle: Oracle | None
    reasons: list[str] = field(default_factory=list)  # of the dashes, numbered over the page


def make_sheet(study: Study) -> Sheet:
    """The table of a study, with reported rows only where they belong."""
    table = build(study.results)
    complaints = out_of_order(table) + wrong_artfid(table)
    ours = table[table["source"] == "ours"]
    reported = study.experiment.reported
    papers = table[table["source"] == (reported and reported.table)]
    if reported and reported.rows == "runs":
        papers = papers[papers["label"].isin(study.experiment.runs)]
    oracle = find_oracle(study, study.experiment.oracle, list(table.columns)) if study.experiment.oracle else None
    parts = [part for part in (ours, oracle and oracle.rows, papers) if part is not None]
    order = {label: position for position, label in enumerate(study.labels)}
    whole = pd.concat(parts, ignore_index=True)
    whole = whole.assign(
        place=whole["source"].map(lambda source: source != "ours"), rank=whole["label"].map(order).fillna(len(order))
    )
    whole = whole.sort_values(["place", "rank", "metric", "reported"], ignore_index=True)
    return Sheet(study, whole[table.columns], complaints, oracle)


def find_oracle(study: Study, by: str, columns: Sequence[str]) -> Oracle | None:
    """Best of all runs but the calibration rows, per item `by` a metric; None where no item has that score of all.

    Its other scores are those of the run that was picked, over the items that count in the other rows too.
    """
    items = study.results.items
    scored = items[~items["metric"].isin(["", *COSTS])]
    rivals = [label for label in study.ran if label not in CALIBRATION]
    own = scored[(scored["metric"] == by) & scored["label"].isin(rivals)]
    order = [label for label in rivals if label in set(own["label"])]
    values = common_items(own.pivot(index="item", columns="label", values="value")[order])
    if values.empty:
        return None
    best = values.idxmax(axis=1) if metric_info(by).direction == "up" else values.idxmin(axis=1)
    picks = {str(item): str(label) for item, label in best.items()}
    label = f"oracle (best of {len(values.columns)})"
    rows: list[dict[str, object]] = []
    contents = study.results.contents()
    for metric, group in items[items["metric"] != ""].groupby("metric", sort=True):
        known = metric_info(str(metric))
        common = common_items(group.pivot(index="item", columns="label", values="value"))
        shared = [item for item in common.index if item in picks and picks[item] in common.columns]
        row: dict[str, object] = {"source": "ours", "label": label, "metric": metric, "direction": known.direction}
        row |= {"reason": NO_RUN}
        if known.kind != "cost" and shared:
            values = np.array([common.loc[item, picks[item]] for item in shared], dtype=float)
            row |= mean_cells(estimate(values, contents[shared].to_numpy())) | {"reason": None}
        rows.append(row)
    for metric in sorted(set(study.results.sets["metric"])):
        row = {"source": "ours", "label": label, "metric": metric, "direction": metric_info(metric).direction}
        rows.append(row | {"reason": NO_RUN})
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("n", "contents", "version"), "Int64"))
    return Oracle(label, by, picks, table)


# --- blocks of the page ---


def study_page(sheet: Sheet) -> str:
    study, experiment = sheet.study, sheet.study.experiment
    tables = [section(sheet, title) for title in SECTIONS]
    blocks = [
        "\n\n".join(model_lines(study.sweep, study.ran)),
        experiment.about,
        bullets(above(study.results)[1:]),
        f"Benchmark {study.manifest}: {len(study.items())} items planned, {len(study.shared_items())} that all runs "
        "with results have. "
        f"[Table as CSV]({experiment.name}.csv), [scores of every item]({experiment.name}_items.csv), "
        f"[few columns in LaTeX]({experiment.name}.tex).",
        shell(commands(study)),
        *tables,
        "## Notes\n\n" + bullets(sheet_notes(sheet)),
        paired_block(sheet),
        *[spread_block(sheet, labels) for labels in same_but_seed(study)],
        runs_block(study),
    ]
    return page(experiment.reproduces, *blocks)


def paper_page(sheet: Sheet) -> Page:
    """The table of a study as a paper shows it: the runs with results, and a column for each thing that is asked."""
    rivals = sheet.table[sheet.table["label"] != oracle_name(sheet)]
    found = headlines(rivals[rivals["source"] == "ours"])
    columns = {metric: f"{asked[0].upper()}{asked[1:]}" for asked, metric in found.items()} | {"seconds": "Seconds"}
    rows = {label: label for label in sheet.study.ran}
    title = f"Results of {sheet.study.experiment.name}"
    return Page.of(rivals, CALIBRATION, above(sheet.study.results), [], rows, columns, title)


def section(sheet: Sheet, title: str) -> str:
    """The metrics of some kinds that have any value, ours or reported; rows are never dropped."""
    table = sheet.table
    metrics = [metric for metric in with_values(table) if metric_info(metric).kind in SECTIONS[title]]
    if not metrics:
        return ""
    ours, papers = table[table["source"] == "ours"], table[table["source"] != "ours"]
    columns = [
        header(table[(table["metric"] == metric) & (table["label"] != oracle_name(sheet))]) for metric in metrics
    ]
    rows = []
    for label in ours["label"].unique():
        own = ours[ours["label"] == label].set_index("metric")
        cells = []
        for metric, column in zip(metrics, columns, strict=True):
            row = own.loc[metric] if metric in own.index else None
            mark = "" if row is None else row["mark"]
            cells.append(MARKS.get(mark, "{}").format(cell(row, sheet.reasons, column)))
        rows.append([shown(label, sheet), *cells])
    for (_, reported), group in papers[papers["metric"].isin(metrics)].groupby(["source", "reported"], sort=False):
        values = group.set_index("metric")
        cells = [paper_cell(values.loc[metric]) if metric in values.index else "" for metric in metrics]
        rows.append([f"*{reported} (reported)*", *cells])
    return f"## {title}\n\n" + pipe_table(["", *columns], rows)


def with_values(table: pd.DataFrame) -> list[str]:
    return sorted(set(table["metric"][table["value"].notna()]))


def oracle_name(sheet: Sheet) -> str:
    return sheet.oracle.label if sheet.oracle else ""


def shown(label: str, sheet: Sheet) -> str:
    if label == oracle_name(sheet):
        return f"*{label}, upper bound of {sheet.study.experiment.oracle}, not ranked*"
    return f"{label} (calibration)" if label in CALIBRATION else label


def sheet_notes(sheet: Sheet) -> list[str]:
    """Call after the tables: these number the reasons."""
    table, ours = sheet.table, sheet.table[sheet.table["source"] == "ours"]
    rivals = ours[ours["label"] != oracle_name(sheet)]
    lines = [f"[{number}] {reason}" for number, reason in enumerate(sheet.reasons, 1)]
    silent: dict[str, list[str]] = {}
    for metric, group in rivals[~rivals["metric"].isin(with_values(table))].groupby("metric", sort=True):
        present = group[~group["label"].isin(sheet.study.absent)]["reason"].dropna()
        silent.setdefault(present.mode().iloc[0] if len(present) else "not scored", []).append(str(metric))
    lines += [f"No column for {', '.join(metrics)}: {reason}." for reason, metrics in sorted(silent.items())]
    lines += notes(sheet.study.results, rivals, sheet.complaints)
    if sheet.oracle:
        picked = pd.Series(list(sheet.oracle.picks.values())).value_counts()
        counts = ", ".join(f"{label} {picked[label]}" for label in sheet.study.labels if label in picked)
        lines.append(
            f"{sheet.oracle.label} takes for every item the run with the best {sheet.oracle.by}: an upper bound of "
            "that score, which no choice made without it reaches. The other columns are those of the picked runs and "
            f"bound nothing. It is left out of ranks and tests. Picked: {counts}."
        )
    if len(table) > len(ours):
        lines.append(f"Reported rows: {read_reported()['source']}. Other model, resolution and items: compare orders.")
        scales = other_scales(set(ours["metric"][ours["value"].notna()]))
        names = ", ".join(f"{name} (in the column of {column})" for name, column in scales.items())
        lines += [f"Reported on another scale: {names}."] if scales else []
    return lines


def paired_block(sheet: Sheet) -> str:
    """Every run against one: mean difference, Holm-corrected p and which is better, where it is certain."""
    against = sheet.study.experiment.against
    tests = paired_table(sheet.study.results, against)
    tests = tests[tests["n"] > 0]
    if tests.empty:
        return f"## Paired tests\n\nNone: no run shares an item and a score with `{against}`."
    metrics = sorted(set(tests["metric"]), key=lambda metric: (KINDS.index(metric_info(metric).kind), metric))
    rows = []
    for label in (label for label in sheet.study.labels if label in set(tests["method"])):
        own = tests[tests["method"] == label].set_index("metric")
        rows.append([label, *[difference_cell(own.loc[m]) if m in own.index else "–" for m in metrics]])
    about = (
        f"Mean difference to `{against}` over the items both have, with the p of a two-sided signed-rank test, "
        f"Holm-corrected over the runs of a metric; *better* or *worse* than `{against}` where p < {ALPHA} and the "
        "95 % interval of the difference and the ranks lie on one side of 0."
    )
    return f"## Paired tests\n\n{about}\n\n" + pipe_table(["", *metrics], rows)


def difference_cell(row: pd.Series) -> str:
    """`+0.012, p 0.003, worse`, of the row named by its metric."""
    p = "too few contents" if pd.isna(row["p_holm"]) else f"p {row['p_holm']:.2g}"
    certain = side(row["low"], row["high"], row["rank_biserial"], row["p_holm"])
    word = f", *{'better' if metric_info(str(row.name)).better(certain, 0) else 'worse'}*" if certain else ""
    return f"{row['mean_difference']:+.3g}, {p}{word}"


def spread_block(sheet: Sheet, labels: Sequence[str]) -> str:
    """Standard deviation over seeds of the mean of a metric, beside the interval over items of the first seed.

    Costs are left out, which do not depend on the seed, and scores of sets of different items, which depend on more.
    """
    ours = sheet.table[(sheet.table["source"] == "ours") & sheet.table["label"].isin(labels)]
    sets = sheet.study.results.sets
    left_out = {*COSTS, *(metric for metric, _ in different_items(sets[sets["label"].isin(labels)]))}
    rows = []
    for metric in (metric for metric in with_values(ours) if metric not in left_out):
        own = ours[(ours["metric"] == metric) & ours["value"].notna()].set_index("label")
        if len(own) > 1:
            first = own.loc[next(label for label in labels if label in own.index)]
            interval = "–" if pd.isna(first["low"]) else f"±{(first['high'] - first['low']) / 2:.3g}"
            deviation = own["value"].std(ddof=1)
            rows.append([metric, str(len(own)), f"{own['value'].mean():.5g}", f"{deviation:.3g}", interval])
    if not rows:
        return ""
    columns = ["metric", "seeds", "mean over seeds", "standard deviation over seeds", "interval over items, one seed"]
    about = f"{', '.join(labels)} differ in nothing but the seed."
    return f"## Spread over seeds\n\n{about}\n\n" + pipe_table(columns, rows)


def runs_block(study: Study) -> str:
    """What every label is, and how much of it is there."""
    planned, rows = study.items(), []
    for label, overrides in study.experiment.runs.items():
        ran, records = label in study.ran, study.sweep.records
        done, failed = (len(records.done(label)), records.failures(label)) if ran else (0, 0)
        there = f"{done} of {len(planned)}" + (f", {failed} failed" if failed else "")
        rows.append([label, f"`{' '.join(overrides)}`" if overrides else "the preset", there])
    return "## Runs\n\n" + pipe_table(["label", "settings", "items"], rows)


def item_scores(study: Study) -> pd.DataFrame:
    """One row per label, item and metric that has a value."""
    items = study.results.items.dropna(subset=["value"])
    items = items[items["metric"] != ""].sort_values(["metric", "label", "item"], ignore_index=True)
    return items[["label", "item", "content", "metric", "value"]]
