"""The table as a page to read: methods down, metrics across, one section per kind; in Markdown and as plain text."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType

import pandas as pd

from evaluation.registry import metric_info
from evaluation.reported import columns, other_scales, read_reported

TITLES = {  # kinds of metrics in the order of their sections
    "structure": "Structure", "style": "Style", "regional": "Style by region", "set": "Sets", "cost": "Cost",
}  # fmt: skip
KINDS = tuple(TITLES)
ALL: Mapping[str, str] = MappingProxyType({})  # where no rows or columns are chosen
CHOSEN = "Results"  # title of the section of columns that somebody chose, whatever their kinds
CALIBRATED, REPORTED = " (calibration)", " (reported)"  # ends of the names of rows that are not ranked
ARROWS = {"up": "↑", "down": "↓"}
UNITS = {"seconds": "s", "peak_memory_mib": "MiB"}
INTERVAL = re.compile(r" \[[^\]]*, [^\]]*\]")
MARKS = {"best": "**{}**", "second": "<u>{}</u>"}


def number(value: float) -> str:
    """Four significant digits, and no exponent for large values: what every page prints and what decides ties."""
    return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"


@dataclass(frozen=True)
class Section:
    """Metrics of one kind, or chosen ones: texts of cells and marks (best, second or nothing) with the same axes."""

    title: str
    cells: pd.DataFrame
    marks: pd.DataFrame
    chosen: bool = False


@dataclass(frozen=True)
class Page:
    """above: lines to read first, the first of benchmark and models; notes: explanations. Metrics without any value
    are named in a note only."""

    above: list[str]
    sections: list[Section]
    notes: list[str]

    @classmethod
    def of(
        cls, table: pd.DataFrame, calibration: Sequence[str], above: Sequence[str], notes: Sequence[str],
        rows: Mapping[str, str] = ALL, columns: Mapping[str, str] = ALL, title: str = CHOSEN,
    ) -> "Page":  # fmt: skip
        """Of a long table, see `tables.build`.

        rows, columns: labels and metrics -> the names they are shown by; these alone and in this order where there are
        any. Chosen columns stand in one section with the title.
        """
        table = table[table["label"].isin(rows or table["label"]) & table["metric"].isin(columns or table["metric"])]
        silent = unmeasured(table)
        measured = table[~table["metric"].isin([metric for metrics in silent.values() for metric in metrics])]
        sections: list[Section] = []
        reasons: list[str] = []
        for kind, name in {"": title}.items() if columns else TITLES.items():
            part = measured[[bool(columns) or metric_info(metric).kind == kind for metric in measured["metric"]]]
            if len(part):
                cells = lay_out(part, calibration, reasons, rows, columns)
                sections.append(Section(name, *cells, chosen=bool(columns)))
        lines = [*notes, *reported_notes(measured)]
        lines += [f"No column for {', '.join(metrics)}: {reason}." for reason, metrics in sorted(silent.items())]
        lines += [f"[{number}] {reason}" for number, reason in enumerate(reasons, 1)]
        return cls(flat([*above, *renamed(measured, columns)]), sections, flat(lines))

    def markdown(self) -> str:
        blocks = ["\n".join(f"- {line}" for line in self.above)]
        for section in self.sections:
            marked = section.cells.copy()
            for row, column in ((row, column) for row in marked.index for column in marked.columns):
                mark = MARKS.get(section.marks.loc[row, column], "{}")
                marked.loc[row, column] = mark.format(marked.loc[row, column])
            blocks.append(f"## {section.title}\n\n" + marked.to_markdown(disable_numparse=True))
        notes = (note.replace("<", "&lt;") for note in self.notes)  # reasons may hold any text
        blocks.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes))
        return "\n\n".join(blocks) + "\n"

    def text(self, width: int) -> str:
        """For a terminal or a pipe: means without intervals, as many columns beside each other as fit."""
        wrap = textwrap.TextWrapper(max(width, 40), initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        blocks = ["\n".join(map(wrap.fill, self.above))]
        for section in self.sections:
            found = list(panels(section, width))
            for place, lines in enumerate(found, 1):
                part = f" ({place} of {len(found)})" if len(found) > 1 else ""
                blocks.append("\n".join([f"{section.title}{part}", *lines]))
        blocks.append(
            "* best, + second; intervals are in the files\n"
            + "\n".join(wrap.fill(note.replace("**", "")) for note in self.notes)
        )
        return "\n\n".join(blocks)


def flat(lines: Sequence[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def panels(section: Section, width: int) -> Iterator[list[str]]:
    """The lines of a section, split where its columns together are wider than `width` characters."""
    stars = section.marks.replace({"best": " *", "second": " +"})
    values = section.cells.replace(INTERVAL, "", regex=True) + stars
    first = max(len(line) for label in values.index for line in folded(label, 26))
    columns = [[folded(column, 16), *([text] for text in values[column])] for column in values.columns]
    widths = [first, *(max(len(line) for lines in column for line in lines) for column in columns)]
    start = 0
    while start < len(columns):
        end = start + 1
        while end < len(columns) and sum(widths[start + 1 : end + 2]) + first + 2 * (end + 1 - start) <= width:
            end += 1
        rows = zip([[""], *(folded(label, 26) for label in values.index)], *columns[start:end], strict=True)
        shown = [row for row in rows if any(text for cell in row[1:] for text in cell)]  # reported rows have gaps
        yield [line for row in shown for line in beside(row, [first, *widths[start + 1 : end + 1]])]
        start = end


def beside(row: Sequence[list[str]], widths: Sequence[int]) -> list[str]:
    """The lines of the cells of a row: the first to the left, the others to the right of their columns."""
    lines = []
    for texts in zip_longest(*row, fillvalue=""):
        others = [text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True)]
        lines.append("  ".join([texts[0].ljust(widths[0]), *others]).rstrip())
    return lines


def folded(name: str, width: int) -> list[str]:
    """A name in lines of about `width` characters, broken after _, @ and spaces."""
    lines = [""]
    for piece in re.findall(r"[^_@ ]*[_@ ]?", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def unmeasured(table: pd.DataFrame) -> dict[str, list[str]]:
    """Why metrics have no column: reason -> the metrics that we have no value of."""
    silent: dict[str, list[str]] = {}
    for metric, group in table.groupby("metric", sort=True):
        own = group[group["source"] == "ours"]
        if own["value"].isna().all():
            reasons = own["reason"].dropna()
            silent.setdefault(str(reasons.mode().iloc[0]) if len(reasons) else "not scored", []).append(str(metric))
    return silent


def renamed(table: pd.DataFrame, columns: Mapping[str, str]) -> list[str]:
    """Which metrics the columns are that go by other names; one sentence, or none."""
    versions = table.groupby("metric")["version"].max().dropna()
    full = {metric: f"{metric} v{versions[metric]}" if metric in versions else metric for metric in table["metric"]}
    found = [
        f"{name} is {full[metric]}" for metric, name in columns.items() if metric in full and name.lower() != metric
    ]
    return [f"{', '.join(found)}."] if found else []


def lay_out(
    table: pd.DataFrame, calibration: Sequence[str], reasons: list[str],
    rows: Mapping[str, str] = ALL, columns: Mapping[str, str] = ALL,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Cells and marks (same axes); the footnotes that dashes point to by their number are added to `reasons`. rows,
    columns: as of `Page.of`."""
    ours, papers = table[table["source"] == "ours"], table[table["source"] != "ours"]
    metrics = sorted(set(table["metric"]), key=lambda metric: (KINDS.index(metric_info(metric).kind), metric))
    metrics = [metric for metric in columns or metrics if metric in metrics]
    labels = sorted(set(ours["label"]), key=lambda label: (label in calibration, label))
    labels = [label for label in rows or labels if label in labels]
    headers = {metric: header(table[table["metric"] == metric], columns.get(metric)) for metric in metrics}
    cells, styles = {}, {}
    for label in labels:
        own = ours[ours["label"] == label].set_index("metric")
        name = rows.get(label, label) + (CALIBRATED if label in calibration else "")
        cells[name] = {headers[m]: cell(own.loc[m] if m in own.index else None, reasons, headers[m]) for m in metrics}
        styles[name] = {headers[m]: own["mark"].get(m) or "" for m in metrics}
    for (_, reported), group in papers.groupby(["source", "reported"], sort=False):
        values = group.set_index("metric")
        name = f"{reported}{REPORTED}"
        cells[name] = {headers[m]: paper_cell(values.loc[m]) if m in values.index else "" for m in metrics}
        styles[name] = dict.fromkeys(headers.values(), "")
    frame, marks = (pd.DataFrame.from_dict(content, orient="index").fillna("") for content in (cells, styles))
    return frame, marks


def header(rows: pd.DataFrame, name: str | None = None) -> str:
    """`lpips_alex v1 ↓ (N=30 of 15 contents)`, `LPIPS ↓ (N=30)` of a column by another name; N only where all methods
    have the same."""
    measured = rows[(rows["source"] == "ours") & rows["value"].notna()]
    version = f" v{measured['version'].max()}" if measured["version"].notna().any() else ""
    count = f" ({items_of(measured.iloc[0])})" if measured["n"].nunique() == 1 else ""
    metric = str(rows["metric"].iloc[0])
    unit = f" ({UNITS[metric]})" if metric in UNITS else ""
    shown = f"{metric}{unit}{version}" if name in (None, metric) else name
    return f"{shown} {ARROWS[rows['direction'].iloc[0]]}{count}"


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
    interval = "" if pd.isna(row["low"]) else f" [{number(row['low'])}, {number(row['high'])}]"
    return f"{number(row['value'])}{interval}" + ("" if "(N=" in column or pd.isna(row["n"]) else f" ({items_of(row)})")


def paper_cell(row: pd.Series) -> str:
    """`0.3716 (ours +0.012)`."""
    return f"{row['value']:.5g}" + ("" if pd.isna(row["difference"]) else f" (ours {row['difference']:+.4g})")


def reported_notes(table: pd.DataFrame) -> list[str]:
    """About the rows of papers; none where there are none."""
    if not (table["source"] != "ours").any():
        return []
    measured = set(table[(table["source"] == "ours") & table["value"].notna()]["metric"])
    reported = read_reported()
    places = {name: column for name, column in columns(measured).items() if column in measured}
    others = [f"{name} ({column})" for name, column in other_scales(measured).items() if name in places]
    return [
        f"Reported rows: {reported['source']}; in parentheses how much higher our value is, where ours is of all "
        f"{reported['benchmark']['items']} items, scored at {reported['benchmark']['size']} px, of one scale and not "
        "of the embedded model.",
        "They stand in the column of " + ", ".join(f"{column} ({name})" for name, column in places.items()) + ".",
        *([f"The scales differ for {', '.join(others)}: compare orders, not values."] if others else []),
    ]
