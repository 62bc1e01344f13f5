"""The results of a folder as one page: `python -m evaluation.report OUT` writes OUT/report.html.

The page holds everything it shows, asks for nothing from outside (its content security policy forbids it) and opens
without a server. It is a view of the files in OUT and of the pictures they name; the same files give the same bytes.
Pictures lie in inert JSON blocks, one per item, which the scripts of `report_page/` read when a row comes into view.
"""

import argparse
import base64
import hashlib
import html
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from evaluation.metric import ANNOTATIONS
from evaluation.moved import Pictures, root_of
from evaluation.record import pictures_of, read_record
from evaluation.report_pictures import COLOURS, question_block, thumbnail
from evaluation.reported import other_scales, read_reported
from evaluation.results import Results, embedded, facts, read_results
from evaluation.schemas import cell_folders
from evaluation.tables import CALIBRATION, above, build, labels_of, notes, out_of_order, require_known
from evaluation.wide import KINDS, number, reported_notes
from stylegallery.command import plain_console
from stylegallery.errors import InputError
from stylegallery.files import replacing

PAGE = Path(__file__).parent / "report_page"
SCRIPTS = ("parts", "results", "scatter", "grid", "compare", "dialog")  # in the order in which they run
INPUT_SIDE = 320  # pixels; contents and references are shared by many items, so they may be larger than outputs

Cells = dict[str, dict[str, dict[str, Any] | None]]  # label -> item -> record; None where it is not whole


# --- from records to what the page shows ---


def read_cells(out: Path, root: str | None = None, without: Collection[str] = ()) -> Cells:
    """The record of every cell `without` those of some labels, methods first and calibration rows last; inputs where
    they are now, maybe in `root`."""
    folders = [folder for folder in cell_folders(out) if folder.parent.name not in without]
    labels = sorted({folder.parent.name for folder in folders}, key=lambda label: (label in CALIBRATION, label))
    cells: Cells = {label: {} for label in labels}
    pictures = Pictures(out, root)
    for folder in folders:
        record = read_record(folder)
        cells[folder.parent.name][folder.name] = pictures.relocated(record) if record else None
    return cells


def why_none(cells: Cells, label: str, item: str) -> str | None:
    """Why a cell has no result; None where it has one."""
    if item not in cells[label]:
        return f"{label} has not been run on this item"
    record = cells[label][item]
    if record is None:
        return "the record is damaged or lacks files; run the item again"
    return f"failed: {record['error']}" if "error" in record else None


def inputs_of(cells: Cells, item: str) -> list[tuple[Path, str]]:
    """Path and digest of content and references, by the first record that names them; empty where none does."""
    for records in cells.values():
        inputs = (records.get(item) or {}).get("inputs")
        if inputs:
            return list(pictures_of(records[item] or {}).values())
    return []


def describe_metrics(table: pd.DataFrame, scored: set[str]) -> list[dict[str, Any]]:
    """The columns of the table, grouped by what they measure; `items`: whether single items have scores of it."""
    described = []
    for metric in sorted(set(table["metric"]), key=lambda metric: (KINDS.index(facts(metric).kind), metric)):
        rows, known = table[table["metric"] == metric], facts(metric)
        ours = rows["value"][rows["source"] == "ours"].abs().max()  # reported values are shown as they were printed
        largest = rows["value"].abs().max() if pd.isna(ours) else ours
        digits = 4 if not largest > 0 else int(np.clip(3 - np.floor(np.log10(largest)), 0, 6))
        version = "" if rows["version"].isna().all() else f", version {rows['version'].max()}"
        about = f"{metric}{version}: {known.kind}, {'higher' if known.direction == 'up' else 'lower'} is better"
        described.append(
            {
                "name": metric, "direction": known.direction, "kind": known.kind, "decimals": digits, "about": about,
                "items": metric in scored,
            }
        )  # fmt: skip
    return described


def table_rows(table: pd.DataFrame, metrics: Sequence[str], models: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of the results table: methods, calibration, and what papers report."""
    rows = []
    ours = table[table["source"] == "ours"]
    for label, model in models.items():
        own = ours[ours["label"] == label].set_index("metric")
        cells = [table_cell(own.loc[metric] if metric in own.index else None) for metric in metrics]
        group = "calibration" if label in CALIBRATION else "method"
        rows.append({"label": label, "group": group, "model": model, "cells": cells})
    scales = set(other_scales(set(ours["metric"][ours["value"].notna()])).values())
    for (_, name), reported in table[table["source"] != "ours"].groupby(["source", "reported"], sort=False):
        values = reported.set_index("metric")
        cells = [
            table_cell(values.loc[metric] if metric in values.index else None) | {"otherScale": metric in scales}
            for metric in metrics
        ]
        rows.append({"label": name, "group": "paper", "model": "", "cells": cells})
    return rows


def table_cell(row: pd.Series | None) -> dict[str, Any]:
    if row is None or pd.isna(row["value"]):
        reason = "not scored" if row is None or pd.isna(row["reason"]) else str(row["reason"])
        return {"mean": None, "low": None, "high": None, "n": None, "reason": reason}
    texts = {"text": number(row["value"]) if row["source"] == "ours" else f"{row['value']:.5g}"}
    if not pd.isna(row["low"]):
        texts["interval"] = f"{number(row['low'])} – {number(row['high'])}"
    if not pd.isna(row["difference"]):
        texts["ours"] = f"ours {row['difference']:+.4g}"
    cell = {key: None if pd.isna(row[key]) else float(row[key]) for key in ("low", "high", "difference")}
    n = None if pd.isna(row["n"]) else int(row["n"])
    mark = row["mark"] if isinstance(row["mark"], str) else None
    return cell | texts | {"mean": float(row["value"]), "n": n, "mark": mark}


def score_arrays(
    results: Results, cells: Cells, items: Sequence[str], metrics: Sequence[str]
) -> tuple[list[list[list[Any]]], list[str]]:
    """scores[metric][label][item], each a number or [index of a reason], and the reasons."""
    reasons: dict[str, int] = {}
    found = {
        (row.metric, row.label, row.item): (row.value, row.reason) for row in results.items.itertuples(index=False)
    }

    def score(metric: str, label: str, item: str) -> Any:
        value, reason = found.get((metric, label, item), (np.nan, None))
        if not pd.isna(value):
            return float(f"{value:.6g}")
        unscored = found.get(("", label, item), (np.nan, None))[1]
        known = (text for text in (why_none(cells, label, item), reason, unscored) if isinstance(text, str))
        text = next(known, "not scored")
        return [reasons.setdefault(text, len(reasons))]

    scores = [[[score(metric, label, item) for item in items] for label in cells] for metric in metrics]
    return scores, list(reasons)


def warning(models: dict[str, str]) -> str:
    """What must be said above all numbers; empty where nothing must."""
    small = embedded(models)
    if not small:
        return ""
    which = "These results are" if len(small) == len(models) else f"{', '.join(small)}: these results are"
    return (
        f"{which} of the small embedded model of this repository. They say how methods and settings compare on it and "
        "must not be read as the paper's, which are of Stable Diffusion 1.5."
    )


def page_notes(results: Results, table: pd.DataFrame, models: dict[str, str]) -> list[str]:
    """What a reader has to know beside the numbers."""
    lines = [f"Models: {'; '.join(f'{label}: {model}' for label, model in models.items())}."]
    lines.append(
        "Scores of regions ask all methods about the same regions and matches: those of stages 1 and 2 of "
        "StyleGallery, which favour StyleGallery, or, where the name ends in _independent, some that owe nothing to it."
    )
    lines += notes(results, table, out_of_order(table)) + reported_notes(table)
    return [line.replace("**", "") for line in lines]


# --- the page ---


def write_report(out: Path, side: int, root: str | None = None, without: Collection[str] = ()) -> Path:
    """Write OUT/report.html with outputs made to fit side x side pixels, `without` some labels.

    Raises:
        InputError: no records, damaged files, or the page cannot be written.
    """
    require_known(without, labels_of([out]), "label")
    results = read_results(out, without)
    table, cells = build(results), read_cells(out, root, without)
    items = sorted({item for records in cells.values() for item in records})
    models = {label: results.models[label] for label in cells}
    metrics = describe_metrics(table, set(results.items["metric"]))
    names = [metric["name"] for metric in metrics]
    scores, reasons = score_arrays(results, cells, items, names)
    pictures: dict[tuple[Path, str], int] = {}  # each is stored once, however many items show it
    data = {
        "metrics": metrics,
        "methods": [
            {"label": label, "model": model, "calibration": label in CALIBRATION} for label, model in models.items()
        ],
        "rows": table_rows(table, names, models),
        "reported": read_reported()["source"],
        "items": [describe_item(cells, item, pictures) for item in items],
        "families": sorted({family for item in items for family in families(inputs_of(cells, item))}),
        "scores": scores,
        "reasons": reasons,
        "colours": ["#" + bytes(colour).hex() for colour in COLOURS.tolist()],
        "warning": warning(models),
        "above": above(results),
        "notes": page_notes(results, table, models),
    }
    path = out / "report.html"
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
            head, middle, tail = page_parts(f"StyleGallery-Bench · {out.resolve().name}")
            file.write(head + embed(data) + middle)
            for block in blocks(out, cells, items, pictures, side):
                file.write(block)
            file.write(tail)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); make room or fix its rights"
        ) from error
    return path


def families(inputs: Sequence[tuple[Path, str]]) -> list[str]:
    """The folders that the references come from."""
    return sorted({path.parent.name for path, _ in inputs[1:]})


def describe_item(cells: Cells, item: str, pictures: dict[tuple[Path, str], int]) -> dict[str, Any]:
    """What the grid knows of an item before its pictures are read; adds these to `pictures`."""
    inputs = inputs_of(cells, item) or [(Path("no record names the pictures of this item"), "")]
    numbers = [pictures.setdefault(entry, len(pictures)) for entry in inputs]
    return {
        "id": item,
        "content": numbers[0],
        "references": numbers[1:],
        "names": [path.name for path, _ in inputs],
        "families": families(inputs),
        "failed": [index for index, label in enumerate(cells) if why_none(cells, label, item)],
    }


def item_block(out: Path, cells: Cells, item: str, side: int) -> dict[str, Any]:
    """What is read of an item when it comes into view: outputs and facts by method, its regions and matches."""
    outputs: list[dict[str, str]] = []
    about: list[dict[str, Any]] = []
    for label, records in cells.items():
        missing, record = why_none(cells, label, item), records.get(item)
        if missing or record is None:
            outputs.append({"reason": missing or ""})
            about.append({"reason": missing})
        else:
            outputs.append(thumbnail(out / "cells" / label / item / "stylised.png", side))
            about.append(
                {key: record[key] for key in ("seed", "seconds", "size", "digest")}
                | {"memory": record["peak_memory_mib"]}
            )
    question, independent = (question_block(out / folder / item) for folder in ANNOTATIONS.values())
    return {"outputs": outputs, "facts": about, "question": question, "independent": independent}


def blocks(
    out: Path, cells: Cells, items: Sequence[str], pictures: dict[tuple[Path, str], int], side: int
) -> Iterator[str]:
    """The inert blocks of all pictures, shared ones first; Pillow works in threads."""
    with ThreadPoolExecutor() as pool:
        shared = pool.map(lambda entry: thumbnail(entry[0], INPUT_SIDE, entry[1]), pictures)
        for index, found in enumerate(shared):
            yield as_block(f"picture-{index}", found)
        own = pool.map(lambda item: item_block(out, cells, item, side), items)
        for index, found in enumerate(track(own, "items", len(items), console=plain_console(stderr=True))):
            yield as_block(f"item-{index}", found)


def as_block(name: str, content: dict[str, Any]) -> str:
    return f'<script type="application/json" id="{name}">{embed(content)}</script>\n'


def embed(content: dict[str, Any]) -> str:
    """JSON that no file name or error can break out of: nothing in it reads as a tag."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def page_parts(title: str) -> tuple[str, str, str]:
    """The page before its data, between data and blocks, and after them."""
    script = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script, style = f'"use strict";\n{script}', (PAGE / "page.css").read_text(encoding="utf-8")
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    for name, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        page = page.replace(f"{{{{{name}_digest}}}}", f"sha256-{digest}").replace(f"{{{{{name}}}}}", text)
    head, rest = page.split("{{data}}")
    middle, tail = rest.split("{{blocks}}")
    return head.replace("{{title}}", html.escape(title)), middle, tail


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m evaluation.report", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of a benchmark run")
    parser.add_argument("--side", type=int, default=160, help="larger side of embedded outputs in pixels (default 160)")
    parser.add_argument("--without", action="append", default=[], metavar="LABEL", help="a label to leave out")
    parser.add_argument(
        "places", nargs="*", metavar="data.root=FOLDER", help="where the pictures are now, if elsewhere"
    )
    options = parser.parse_args(arguments)
    try:
        path = write_report(options.out, options.side, root_of(options.places), options.without)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{path} ({path.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    main()
