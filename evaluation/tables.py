"""`python -m evaluation.tables OUT [--against METHOD]`: OUT/tables/ from records and scores alone.

table.{csv,parquet} (one row per method and metric), table.{md,tex} (the page: all rows and columns or some),
items.{csv,parquet} (one row per score), tests.csv (paired tests against one method). The same records give the same
bytes.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.latex import latex
from evaluation.reported import of_benchmark, of_other_size, reported_rows
from evaluation.results import COSTS, Results, embedded, facts, read_results
from evaluation.statistics import FEWEST, Estimate, common_items, estimate, mean_ranks, paired_tests
from evaluation.wide import Page, number
from stylegallery.errors import InputError
from stylegallery.files import replacing

IDENTITY, COPY = "identity", "reference_copy"
CALIBRATION = (IDENTITY, COPY)
UNRANKED = ("peak_memory_mib",)  # on a CPU that of the process so far, whichever method needed it
INFERENCE = (
    "Intervals and tests take contents for independent draws and items of one content for alike: they say what other "
    "photos would bring, with these references. With fewer than "
    f"{FEWEST} contents there are neither intervals nor tests."
)
ARTFID_TOLERANCE = 0.006  # what the rounding of published tables leaves
COLUMNS = [
    "source", "label", "metric", "direction", "version", "value", "low", "high", "n", "contents", "left_out",
    "mean_rank", "mark", "reported", "difference", "reason",
]  # fmt: skip
TEST_COLUMNS = [
    "metric", "method", "against", "n", "contents", "left_out", "mean_difference", "low", "high", "rank_biserial", "p",
    "p_holm",
]  # fmt: skip


def build(results: Results) -> pd.DataFrame:
    """One row per method and metric, the paper's rows at the end.

    Means, ranks and marks of a metric are over the items that every method with any value has; `left_out` counts the
    others of a method. A set score is marked only where all methods have the same N.
    """
    rows: list[dict[str, object]] = []
    labels, contents = sorted(set(results.items["label"])), results.contents()
    scored = results.items[results.items["metric"] != ""]
    unscored = (
        results.items[results.items["metric"] == ""]
        .groupby("label")["reason"]
        .agg(lambda found: found.mode().iloc[0])
        .to_dict()
    )
    for metric, group in scored.groupby("metric", sort=True):
        name = str(metric)
        values = group.pivot(index="item", columns="label", values="value").reindex(columns=labels)
        common = common_items(values)
        rivals = common.drop(columns=list(CALIBRATION), errors="ignore")
        ranked = len(rivals) and name not in UNRANKED
        ranks = mean_ranks(rivals, facts(name).direction) if ranked else pd.Series(dtype=float)
        for label in labels:
            here = group[group["label"] == label]
            row = {"label": label, "metric": name, "version": here["version"].max() if len(here) else pd.NA}
            own = int(values[label].notna().sum())
            if label in common and len(common):
                mean = estimate(common[label].to_numpy(dtype=float), contents[common.index].to_numpy())
                row |= mean_cells(mean) | {"left_out": own - mean.n, "mean_rank": ranks.get(label, np.nan)}
            elif own:
                row |= {"reason": "no item in common with the other methods", "n": 0, "left_out": own}
            else:
                reasons = here["reason"].dropna()
                row |= {"reason": reasons.mode().iloc[0] if len(reasons) else unscored.get(label, "not scored")}
            rows.append(row)
    for set_row in results.sets.to_dict("records"):
        rows.append({str(key): value for key, value in set_row.items()})
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"reason": object, "mark": object})
    table["source"] = "ours"
    table["direction"] = [facts(metric).direction for metric in table["metric"]]
    incomparable = {*UNRANKED, *(metric for metric, _ in different_items(results.sets))}
    for metric, group in table[~table["metric"].isin(incomparable)].groupby("metric"):
        for index, mark in marks(group, facts(str(metric)).direction).items():
            table.loc[index, "mark"] = mark
    if of_benchmark(results.benchmarks.values()):
        apart = {*embedded(results.models), *of_other_size(results.sizes)}
        table = pd.concat([table, reported_rows(table, apart)], ignore_index=True)[COLUMNS]
    return table.astype(dict.fromkeys(("version", "n", "contents", "left_out"), "Int64"))


def mean_cells(mean: Estimate) -> dict[str, object]:
    """The columns of a row that its estimate fills."""
    return {"value": mean.mean, "low": mean.low, "high": mean.high, "n": mean.n, "contents": mean.contents}


def different_items(sets: pd.DataFrame) -> list[tuple[str, list[int]]]:
    """Metrics of sets whose methods were scored on different items, with the numbers N of these."""
    found = []
    rivals = sets[~sets["label"].isin(CALIBRATION)].dropna(subset=["value"])
    for metric, group in rivals.groupby("metric", sort=True):
        if len(group[["n", "items"]].drop_duplicates()) > 1:
            found.append((str(metric), sorted({int(n) for n in group["n"]})))
    return found


def marks(group: pd.DataFrame, direction: str) -> dict[int, str]:
    """Index -> best or second. Values that `number` prints alike tie and share the mark; calibration rows get none."""
    rivals = group[~group["label"].isin(CALIBRATION) & group["value"].notna()]
    shown = rivals["value"].map(lambda value: float(number(value)))
    ranked = sorted(shown.unique(), reverse=direction == "up")[:2]
    names = dict(zip(ranked, ("best", "second"), strict=False))
    return {int(index): names[value] for index, value in shown.items() if value in names}


def paired_table(results: Results, against: str) -> pd.DataFrame:
    """Paired tests of every method against one, metric by metric; Holm's correction over the methods of a metric."""
    frames = []
    for metric, group in results.items[results.items["metric"] != ""].groupby("metric", sort=True):
        values = group.pivot(index="item", columns="label", values="value").drop(
            columns=list(CALIBRATION), errors="ignore"
        )
        if facts(str(metric)).kind != "cost" and against in values and values[against].notna().any():
            tests = paired_tests(values, against, results.contents())
            frames.append(tests.assign(metric=metric, against=against))
    return pd.concat(frames)[TEST_COLUMNS] if frames else pd.DataFrame(columns=TEST_COLUMNS)


def out_of_order(table: pd.DataFrame) -> list[str]:
    """One sentence per metric whose calibration rows contradict what it claims to measure.

    structure: identity beats reference_copy and no method beats identity; style (and FID, KID): reference_copy beats
    identity. A method may fall below the worse row or, with several references, beat the copy of one of them. A mean
    over references has no order.
    """
    complaints = []
    for metric, group in table[table["source"] == "ours"].groupby("metric", sort=True):
        known, values = facts(str(metric)), group.set_index("label")["value"].dropna()
        known_order = known.ordered and known.kind in ("structure", "style")
        if not known_order or not set(CALIBRATION) <= set(values.index):
            continue
        winner, loser = CALIBRATION if known.kind == "structure" else CALIBRATION[::-1]
        if not known.better(values[winner], values[loser]):
            complaints.append(
                f"{metric} is out of order: {winner} ({values[winner]:.4g}) must beat {loser} ({values[loser]:.4g})"
            )
        elif known.kind == "structure" and any(known.better(value, values[IDENTITY]) for value in values):
            complaints.append(f"{metric} is out of order: a method beats {IDENTITY} ({values[IDENTITY]:.4g})")
    return complaints


def wrong_artfid(table: pd.DataFrame) -> list[str]:
    """One sentence per row whose `artfid` is not (1 + lpips_alex)(1 + fid_art), where the three have the same items."""
    ours = table[table["source"] == "ours"].dropna(subset=["value"]).set_index(["label", "metric"])
    complaints = []
    for label in ours.index.unique("label"):
        rows = ours.loc[label]
        if {"artfid", "lpips_alex", "fid_art"} <= set(rows.index):
            rows = rows.loc[["lpips_alex", "fid_art", "artfid"]]
            lpips, fid, artfid = rows["value"]
            product = (1 + lpips) * (1 + fid)
            if rows["n"].nunique() == 1 and abs(product - artfid) > ARTFID_TOLERANCE:
                complaints.append(f"artfid of {label} is {artfid:.5g}, but its parts make {product:.5g}")
    return complaints


def above(results: Results) -> list[str]:
    """What has to be known before any number is read: benchmark, models, what the labels have in common, what one
    label mixes."""
    by_model = Counter(results.models.values())
    models = [model if len(by_model) == 1 else f"{model} ({count} labels)" for model, count in by_model.items()]
    benchmarks = sorted({name or "of lost settings" for name in results.benchmarks.values()})
    return [f"Benchmark: {', '.join(benchmarks)}. Model: {', '.join(models)}.", *common(results), *results.mixed]


def common(results: Results) -> list[str]:
    """Which items count, and which labels keep them from being more; empty without any score."""
    scored = results.items[~results.items["metric"].isin(["", *COSTS]) & results.items["value"].notna()]
    own = {str(label): set(group["item"]) for label, group in scored.groupby("label", sort=True)}
    if not own:
        return []
    every, shared = set.union(*own.values()), set.intersection(*own.values())
    if every == shared:
        return [f"All labels with scores have the same {len(every)} items."]
    fewest = min(map(len, own.values()))
    least = [label for label, items in own.items() if len(items) == fewest]
    rest = [items for label, items in own.items() if label not in least]
    more = f" Without {'it' if len(least) == 1 else 'them'} {len(set.intersection(*rest))} would." if rest else ""
    names = f"{' and '.join(least)} {'has' if len(least) == 1 else 'have'} least ({fewest})"
    line = f"{len(shared)} of {len(every)} items count, those that all labels with scores have: {names}.{more}"
    return [f"{line} Labels are left out by --without."]


def notes(results: Results, table: pd.DataFrame, complaints: list[str]) -> list[str]:
    """What a reader has to know beside the numbers."""
    lines = [
        "Means over the items that all methods with the metric have (N in the header), with 95 % intervals; "
        "the best method is bold, the second underlined; calibration and reported rows are not ranked.",
        INFERENCE,
        "Memory on a CPU is that of the process so far, other methods included, and is not ranked.",
        "Methods that take one reference get the first reference of each item.",
    ]
    if any(str(metric).endswith("_mean") for metric in table["metric"]):
        lines.append(
            "Of several references, a style score is that of the nearest (of `style_blocks` of the best choice of all "
            "their blocks), which can only get better with their number; `_mean` is the mean over all of them."
        )
    missing = [label for label in CALIBRATION if label not in set(table["label"])]
    if missing:
        lines.append(
            f"Not calibrated: run {' and '.join(f'method={label}' for label in missing)} into the same folder."
        )
    lines += [f"**{complaint}.**" for complaint in complaints]
    left = table[(table["left_out"] > 0).fillna(False)]
    alike: dict[str, list[str]] = {}
    for metric, group in left.groupby("metric", sort=True):
        counts = ", ".join(f"{row.label} {row.left_out}" for row in group.itertuples())
        alike.setdefault(counts, []).append(str(metric))
    for counts, names in alike.items():
        lines.append(f"{', '.join(names)}: items left out because another method lacks them: {counts}.")
    failed = results.items[results.items["reason"].fillna("").str.startswith("failed: ")]
    for (label, reason), group in failed.groupby(["label", "reason"], sort=True):
        some = ", ".join(sorted(set(group["item"]))[:3]) + (" ..." if group["item"].nunique() > 3 else "")
        metrics = ", ".join(sorted(set(group["metric"]) - {*COSTS, ""})) or "the item itself"
        lines.append(f"{label}: {metrics} {reason} ({group['item'].nunique()} items: {some}).")
    for metric, numbers in different_items(results.sets):
        shown = f"N {' and '.join(map(str, numbers))}" if len(numbers) > 1 else "other items of the same number"
        lines.append(f"{metric}: the methods were scored on different items ({shown}), so none is marked.")
    return lines


def write_tables(
    out: Path, against: str, without: Collection[str] = (), rows: Collection[str] = (), columns: Collection[str] = ()
) -> tuple[list[str], Page]:
    """Write OUT/tables; returns what contradicts itself, and the page.

    `without`: labels that are not read; rows, columns: labels and metrics of the page (table.md, table.tex), all where
    none are named.

    Raises:
        InputError: no records, damaged files, an unknown label or metric, or the folder cannot be written.
    """
    require_known(without, labels_of([out]), "label")
    results = read_results(out, without)
    table = build(results)
    require_known(rows, set(table["label"]), "label")
    require_known(columns, set(table["metric"]), "metric")
    chosen = table[table["label"].isin(rows or table["label"]) & table["metric"].isin(columns or table["metric"])]
    complaints = out_of_order(table) + wrong_artfid(table)
    items = results.items.sort_values(["metric", "label", "item"], ignore_index=True)
    folder = out / "tables"
    lines = notes(results, table, complaints)
    if against not in set(items["label"]):
        lines.append(f"No paired tests: there are no results of {against}; pass --against with another method.")
    page = Page.of(chosen, CALIBRATION, above(results), lines)
    writers: dict[str, Callable[[Path], object]] = {
        "table.csv": lambda path: table.to_csv(path, index=False),
        "table.parquet": lambda path: table.to_parquet(path, index=False),
        "items.csv": lambda path: items.to_csv(path, index=False),
        "items.parquet": lambda path: items.to_parquet(path, index=False),
        "tests.csv": lambda path: paired_table(results, against).to_csv(path, index=False),
        "table.md": lambda path: path.write_text(page.markdown(), encoding="utf-8"),
        "table.tex": lambda path: path.write_text(latex(page), encoding="utf-8"),
    }
    try:
        folder.mkdir(exist_ok=True)
        for name, write in writers.items():
            with replacing(folder / name) as temporary:
                write(temporary)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); make room or fix its rights"
        ) from error
    return complaints, page


def labels_of(outs: Sequence[Path]) -> set[str]:
    """The labels that have any record in these folders."""
    return {path.parent.parent.name for out in outs for path in out.glob("cells/*/*/record.json")}


def require_known(names: Collection[str], known: Collection[str], what: str) -> None:
    """Raises InputError where a name is none of the known ones."""
    if unknown := sorted(set(names) - set(known)):
        raise InputError(f"{unknown[0]} is no {what} here; pass some of: {', '.join(sorted(known))}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m evaluation.tables", description="tables from records on disk")
    parser.add_argument("out", type=Path, help="folder of a benchmark run")
    parser.add_argument("--against", default="stylegallery", help="method that the paired tests compare with")
    parser.add_argument("--without", action="append", default=[], metavar="LABEL", help="a label to leave out")
    parser.add_argument("--rows", nargs="+", default=[], metavar="LABEL", help="labels of the page (default: all)")
    parser.add_argument("--columns", nargs="+", default=[], metavar="METRIC", help="metrics of the page (default: all)")
    arguments = parser.parse_args()
    try:
        complaints, page = write_tables(
            arguments.out, arguments.against, arguments.without, arguments.rows, arguments.columns
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for complaint in complaints:
        print(f"error: {complaint}", file=sys.stderr)
    print(page.text(shutil.get_terminal_size().columns))
    print(arguments.out / "tables")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
