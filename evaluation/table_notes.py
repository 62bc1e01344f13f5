"""The lines above and below a table."""

from collections import Counter
from collections.abc import Collection

import pandas as pd

from evaluation.calibration import CALIBRATION, different_items
from evaluation.registry import COSTS
from evaluation.results import Results
from evaluation.statistics import FEWEST

INFERENCE = (
    "Intervals and tests take contents for independent draws and items of one content for alike: they say what other "
    "photos would bring, with these references. With fewer than "
    f"{FEWEST} contents there are neither intervals nor tests."
)


def above(results: Results, shown: Collection[str] = ()) -> list[str]:
    """What has to be known before any number is read: benchmark, models, what the labels have in common, what one
    label mixes; of the `shown` labels, all where none are given."""
    labels = [label for label in results.models if not shown or label in shown]
    by_model = Counter(results.models[label] for label in labels)
    models = [
        model if len(by_model) == 1 else f"{model} ({count} {'label' if count == 1 else 'labels'})"
        for model, count in by_model.items()
    ]
    benchmarks = sorted({name or "of lost settings" for name in map(results.benchmarks.get, labels)})
    mixed = [line for line in results.mixed if line.partition(" mixes ")[0] in labels]
    return [f"Benchmark: {', '.join(benchmarks)}. Model: {', '.join(models)}.", *common(results, labels), *mixed]


def common(results: Results, shown: Collection[str]) -> list[str]:
    """Which items count, and which labels keep them from being more; empty without any score. Items of labels that are
    not `shown` decide too, without their names."""
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
    who = " and ".join(least)
    if not set(least) <= set(shown):
        who = "a label that is not shown" if len(least) == 1 else f"{len(least)} labels, not all of them shown,"
    names = f"{who} {'has' if len(least) == 1 else 'have'} least ({fewest})"
    line = f"{len(shared)} of {len(every)} items count, those that all labels with scores have: {names}.{more}"
    return [f"{line} Labels are left out by --without."]


def notes(results: Results, table: pd.DataFrame, complaints: list[str], shown: Collection[str] = ()) -> list[str]:
    """What a reader has to know beside the numbers of the `shown` labels, all where none are given."""
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
    left = table[(table["left_out"] > 0).fillna(False) & table["label"].isin(shown or table["label"])]
    alike: dict[str, list[str]] = {}
    for metric, group in left.groupby("metric", sort=True):
        counts = ", ".join(f"{row.label} {row.left_out}" for row in group.itertuples())
        alike.setdefault(counts, []).append(str(metric))
    for counts, names in alike.items():
        lines.append(f"{', '.join(names)}: items left out because another method lacks them: {counts}.")
    failed = results.items[results.items["reason"].fillna("").str.startswith(("failed: ", "outdated: "))]
    failed = failed[failed["label"].isin(shown or failed["label"])]
    whose: dict[str, list[str]] = {}
    for (label, reason), group in failed.groupby(["label", "reason"], sort=True):
        some = ", ".join(sorted(set(group["item"]))[:3]) + (" ..." if group["item"].nunique() > 3 else "")
        metrics = ", ".join(sorted(set(group["metric"]) - {*COSTS, ""})) or "the item itself"
        count = group["item"].nunique()
        what = f"{metrics} {reason} ({count} {'item' if count == 1 else 'items'}: {some})."
        whose.setdefault(what, []).append(str(label))
    lines += [f"{', '.join(labels)}: {what}" for what, labels in whose.items()]
    for metric, numbers in different_items(results.sets):
        shown = f"N {' and '.join(map(str, numbers))}" if len(numbers) > 1 else "other items of the same number"
        lines.append(f"{metric}: the methods were scored on different items ({shown}), so none is marked.")
    return lines
