"""Scores by number of references and by style family: means over all items hide where methods differ."""

from collections.abc import Iterator, Sequence

import pandas as pd

from evaluation.calibration import CALIBRATION, IDENTITY
from evaluation.publish.headlines import headlines
from evaluation.publish.panels import Mark, Panel
from evaluation.publish.studies import Study, model_lines
from evaluation.publish.text import bullets, page, pipe_table
from evaluation.registry import metric_info
from evaluation.statistics import FEWEST, common_items, estimate
from evaluation.table_notes import INFERENCE
from evaluation.table_page import ARROWS, MARKS, number
from evaluation.tables import marks, mean_cells
from stylegallery.contract import Item

COLUMNS = [
    "experiment", "by", "group", "label", "metric", "quantity", "value", "low", "high", "n", "contents", "mark",
]  # fmt: skip
SCORE, GAIN = "score", "gain over the photo"
TITLES = {"references": "number of references", "family": "style family"}
LINES = 5  # methods of a figure; more lines cannot be told apart
GAINS = ("style", "regional")  # kinds of scores that ask another question of every set of references


def group_of(item: Item, by: str) -> int | str | None:
    """Its number of references, or the folder they all are of; None of references of several folders."""
    if by == "references":
        return len(item.references)
    folders = {path.parent.name for path in item.references}
    return folders.pop() if len(folders) == 1 else None


def grouped(study: Study) -> pd.DataFrame:
    """One row per grouping, group, label, metric (headlines and seconds) and quantity.

    All groups are of the items that every label with the metric has. gain over the photo: of scores that ask about the
    references, how much better than identity on the same item. The group `20 − 1` is the difference between the most
    and the fewest references, a content's items of either averaged first.
    """
    rows: list[dict[str, object]] = []
    items = study.results.items
    items = items[items["metric"].isin([*headlines(items).values(), "seconds"])]
    contents = study.results.contents()
    for by in study.experiment.groups:
        group = pd.Series({item.id: group_of(item, by) for item in study.planned()}, dtype=object).dropna()
        order = sorted(set(group))
        for metric, own in items.groupby("metric", sort=True):
            values = common_items(own.pivot(index="item", columns="label", values="value"))
            values = values[values.index.isin(group.index)]
            for quantity, scores in quantities(str(metric), values):
                about = {"experiment": study.experiment.name, "by": by, "metric": metric, "quantity": quantity}
                for name in order:
                    rows += estimates(
                        scores[(group[scores.index] == name).to_numpy()], contents, about | {"group": name}
                    )
                if by == "references" and len(order) > 1:
                    fewest, most = (
                        scores[(group[scores.index] == name).to_numpy()].groupby(contents).mean()
                        for name in (order[0], order[-1])
                    )
                    difference = (most - fewest).dropna()
                    own_content = pd.Series(difference.index, difference.index)
                    rows += estimates(difference, own_content, about | {"group": f"{order[-1]} − {order[0]}"})
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"mark": object, "n": "Int64", "contents": "Int64"})
    for (metric, quantity, name), own in table.groupby(["metric", "quantity", "group"], sort=False):
        if (own["contents"] >= FEWEST).all() and "−" not in str(name):  # of fewer, the best is chance
            for index, mark in marks(own, metric_info(metric).direction if quantity == SCORE else "up").items():
                table.loc[index, "mark"] = mark
    return table


def quantities(metric: str, values: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The scores, one column per label, and what they gain over the photo where that is a question."""
    yield SCORE, values
    known = metric_info(metric)
    if known.kind in GAINS and IDENTITY in values:
        gains = values.drop(columns=[*CALIBRATION], errors="ignore").sub(values[IDENTITY], axis=0)
        yield GAIN, gains if known.direction == "up" else -gains


def estimates(values: pd.DataFrame, contents: pd.Series, about: dict[str, object]) -> list[dict[str, object]]:
    """A row per label; none without items."""
    if values.empty:
        return []
    owner = contents[values.index].to_numpy()
    return [about | {"label": label} | mean_cells(estimate(values[label].to_numpy(float), owner)) for label in values]


def panels(study: Study, table: pd.DataFrame) -> tuple[list[Panel], list[str]]:
    """What the figure by number of references shows, and the numbers: what style gains over the photo, and structure;
    nothing for too many methods."""
    own = table[(table["experiment"] == study.experiment.name) & (table["by"] == "references")]
    groups = [str(group) for group in dict.fromkeys(own["group"]) if "−" not in str(group)]
    rivals = [label for label in study.ran if label in set(own["label"]) - set(CALIBRATION)]
    if not groups or len(rivals) > LINES:
        return [], []
    found = []
    for asked, metric in headlines(own).items():
        gain, up = GAIN in set(own["quantity"][own["metric"] == metric]), metric_info(metric).direction == "up"
        rows = own[
            (own["metric"] == metric) & (own["quantity"] == (GAIN if gain else SCORE)) & own["label"].isin(rivals)
        ]
        shown = [
            Mark(
                row.label,
                groups.index(str(row.group)),
                row.value,
                row.low,
                row.high,
                row.label == study.experiment.against,
            )
            for label in rivals
            for row in rows[rows["label"] == label].itertuples()
            if str(row.group) in groups
        ]
        title = f"{asked[0].upper()}{asked[1:]}" + (f": {GAIN}" if gain else "")
        found.append(Panel(title, metric, gain or up, shown, 0.0 if gain else None))
    return found, groups


# --- the page ---


def groups_page(studies: Sequence[Study], table: pd.DataFrame, figures: dict[str, str]) -> str:
    """figures: experiment -> how its figure is shown."""
    about = [
        "A cell is a mean over the items of its group that all methods of its table have, with a 95 % interval. Groups "
        f"of fewer than {FEWEST} contents have neither interval nor mark: which method leads there is chance.",
        INFERENCE,
        "Other references ask another question: the photo itself is nearer to some references than to others, and with "
        f"more of them to the nearest. Only the {GAIN}, how much better a method's score is than that of the untouched "
        "photo on the same items, compares groups; scores compare methods within a group.",
        "[These numbers as CSV](groups.csv).",
    ]
    sections = [
        block(study, by, table[(table["experiment"] == study.experiment.name) & (table["by"] == by)], figures)
        for study in studies
        for by in study.experiment.groups
    ]
    models = "\n\n".join(dict.fromkeys(line for study in studies for line in model_lines(study.sweep, study.ran)))
    return page("Scores by number of references and by style family", models, bullets(about), *sections)


def block(study: Study, by: str, table: pd.DataFrame, figures: dict[str, str]) -> str:
    name, experiment = study.experiment.name, study.experiment
    lines = [f"## {experiment.reproduces} by {TITLES[by]}", f"Runs of [{name}]({name}.md) on {study.manifest}."]
    chosen = headlines(table)
    if by == "references":
        lines += [figures[name]] if name in figures else []
        chosen |= {"cost": "seconds"} if "seconds" in set(table["metric"]) else {}
    for asked, metric in chosen.items():
        arrow = ARROWS[metric_info(metric).direction]
        lines.append(f"### {asked[0].upper()}{asked[1:]} by {TITLES[by]}: {metric} {arrow}")
        for quantity in (SCORE, GAIN) if by == "references" else (SCORE,):
            own = table[(table["metric"] == metric) & (table["quantity"] == quantity)]
            if len(own):
                lines += ["Gain over the photo ↑"] if quantity == GAIN else []
                lines.append(across(own, study) if by == "references" else down(own, study))
    return "\n\n".join(lines)


def across(table: pd.DataFrame, study: Study) -> str:
    """Methods down, groups across."""
    groups = list(dict.fromkeys(table["group"]))
    cells = {(row["label"], row["group"]): row for row in table.to_dict("records")}
    labels = [label for label in study.ran if label in set(table["label"])]
    rows = [[named(label), *(shown(cells.get((label, group))) for group in groups)] for label in labels]
    sizes = table.groupby("group")["n"].first()
    columns = [f"{group}" if "−" in str(group) else f"{group} (N={sizes[group]})" for group in groups]
    return pipe_table(["", *columns], rows)


def down(table: pd.DataFrame, study: Study) -> str:
    """Groups down, methods across: there are more families than methods."""
    cells = {(row["label"], row["group"]): row for row in table.to_dict("records")}
    labels = [label for label in study.ran if label in set(table["label"])]
    sizes = table.groupby("group", sort=False)["n"].first()
    rows = [
        [f"{group} (N={size})", *(shown(cells.get((label, group))) for label in labels)]
        for group, size in sizes.items()
    ]
    return pipe_table(["", *map(named, labels)], rows)


def named(label: str) -> str:
    return f"{label} (calibration)" if label in CALIBRATION else label


def shown(row: dict[str, object] | None) -> str:
    if row is None:
        return "–"
    value, low, high = (float(str(row[name])) for name in ("value", "low", "high"))
    interval = "" if pd.isna(low) else f" [{number(low)}, {number(high)}]"
    return MARKS.get(str(row["mark"]), "{}").format(f"{number(value)}{interval}")
