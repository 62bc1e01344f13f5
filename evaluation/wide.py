"""The long table as a page: methods down, metrics across, in Markdown or LaTeX."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evaluation.reported import columns, other_backbones, read_reported
from evaluation.results import facts

KINDS = ("structure", "style", "regional", "set", "cost")  # the order of the columns
ARROWS = {"up": "↑", "down": "↓"}
LATEX = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "λ": r"$\lambda$", "−": "$-$"}


def write_wide(path: Path, table: pd.DataFrame, notes: Sequence[str], calibration: Sequence[str]) -> None:
    """Write table (long, see `tables.build`) as path: *.md or *.tex."""
    cells, styles, footnotes = lay_out(table, calibration)
    everything = [" ".join(note.split()) for note in (*notes, *reported_notes(table), *footnotes)]
    if path.suffix == ".md":
        marked = cells.copy()
        for row, column in ((row, column) for row in cells.index for column in cells.columns):
            mark = {"best": "**{}**", "second": "<u>{}</u>"}.get(styles.loc[row, column], "{}")
            marked.loc[row, column] = mark.format(cells.loc[row, column])
        text = marked.to_markdown(disable_numparse=True) + "\n\n" + "".join(f"- {note}\n" for note in everything)
    else:
        properties = {"best": "textbf:--rwrap", "second": "underline:--rwrap", "": ""}
        escaped = cells.map(escape)
        escaped.index, escaped.columns = escaped.index.map(escape), escaped.columns.map(escape)
        renamed = styles.set_axis(escaped.index).set_axis(escaped.columns, axis=1)
        text = escaped.style.apply(lambda _: renamed.replace(properties), axis=None).to_latex(
            hrules=True, column_format="l" + "r" * len(cells.columns)
        )
        text += "".join(f"% {note}\n" for note in everything)
    path.write_text(text, encoding="utf-8")


def escape(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, f"\\{character}")
    for character, code in LATEX.items():
        text = text.replace(character, code)
    return text


def lay_out(table: pd.DataFrame, calibration: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Cells and marks (same axes) and the footnotes the dashes point to."""
    ours, papers = table[table["source"] == "ours"], table[table["source"] != "ours"]
    metrics = sorted(set(table["metric"]), key=lambda metric: (KINDS.index(facts(metric).kind), metric))
    labels = sorted(set(ours["label"]), key=lambda label: (label in calibration, label))
    headers = {metric: header(table[table["metric"] == metric]) for metric in metrics}
    reasons: list[str] = []
    cells, styles = {}, {}
    for label in labels:
        own = ours[ours["label"] == label].set_index("metric")
        name = f"{label} (calibration)" if label in calibration else label
        cells[name] = {headers[m]: cell(own.loc[m] if m in own.index else None, reasons, headers[m]) for m in metrics}
        styles[name] = {headers[m]: own["mark"].get(m) or "" for m in metrics}
    for (_, reported), group in papers.groupby(["source", "reported"], sort=False):
        values = group.set_index("metric")
        name = f"{reported} (reported)"
        cells[name] = {headers[m]: paper_cell(values.loc[m]) if m in values.index else "" for m in metrics}
        styles[name] = dict.fromkeys(headers.values(), "")
    footnotes = [f"[{number}] {reason}" for number, reason in enumerate(reasons, 1)]
    frames = (pd.DataFrame.from_dict(content, orient="index").fillna("") for content in (cells, styles))
    return *frames, footnotes


def header(rows: pd.DataFrame) -> str:
    """`lpips_alex v1 ↓ (N=30 of 15 contents)`; N only where all methods have the same."""
    measured = rows[(rows["source"] == "ours") & rows["value"].notna()]
    version = f" v{measured['version'].max()}" if measured["version"].notna().any() else ""
    count = f" ({items_of(measured.iloc[0])})" if measured["n"].nunique() == 1 else ""
    return f"{rows['metric'].iloc[0]}{version} {ARROWS[rows['direction'].iloc[0]]}{count}"


def items_of(row: pd.Series) -> str:
    """`N=30`, `N=30 of 15 contents`."""
    few = "" if pd.isna(row["contents"]) or row["contents"] == row["n"] else f" of {row['contents']} contents"
    return f"N={row['n']}{few}"


def cell(row: pd.Series | None, reasons: list[str], column: str) -> str:
    """`0.3716 [0.36, 0.38]`, or a dash with the number of its footnote, added to `reasons` where it is new; with its
    own N where the `header` of its column has none."""
    if row is None or pd.isna(row["value"]):
        reason = "not scored" if row is None or pd.isna(row["reason"]) else str(row["reason"])
        if reason not in reasons:
            reasons.append(reason)
        return f"– [{reasons.index(reason) + 1}]"
    interval = "" if pd.isna(row["low"]) else f" [{row['low']:.4g}, {row['high']:.4g}]"
    return f"{row['value']:.4g}{interval}" + ("" if "(N=" in column or pd.isna(row["n"]) else f" ({items_of(row)})")


def paper_cell(row: pd.Series) -> str:
    """`0.3716 (ours +0.012)`."""
    return f"{row['value']:.5g}" + ("" if pd.isna(row["difference"]) else f" (ours {row['difference']:+.4g})")


def reported_notes(table: pd.DataFrame) -> list[str]:
    measured = set(table[(table["source"] == "ours") & table["value"].notna()]["metric"])
    lines = [
        f"Reported rows: {read_reported()['source']}; in parentheses how much higher our value is, where both have one "
        "backbone and ours is not of the embedded model."
    ]
    lines.append("They stand in the column of " + ", ".join(f"{m} ({p})" for p, m in columns(measured).items()) + ".")
    twins = other_backbones(measured)
    if twins:
        names = ", ".join(f"{name} ({column})" for name, column in twins.items())
        lines.append(f"The backbones differ for {names}: compare orders, not values.")
    lines.append("Model, resolution and items of the reported rows differ from ours unless the run is the paper's own.")
    return lines
