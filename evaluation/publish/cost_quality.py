"""Cost against quality: what more seconds buy, one point per method or setting, and which of them no other beats."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.calibration import CALIBRATION, IDENTITY
from evaluation.metric import STYLEGALLERY
from evaluation.publish.headlines import headlines
from evaluation.publish.panels import Mark, Panel
from evaluation.publish.studies import Study, model_lines
from evaluation.publish.text import bullets, page, pipe_table
from evaluation.registry import metric_info
from evaluation.statistics import FEWEST, common_items, estimate
from evaluation.table_notes import INFERENCE
from evaluation.table_page import ARROWS, number
from evaluation.tables import mean_cells

COST, QUALITIES = "seconds", ("regional style", "regional texture")
RESAMPLES, SEED = 2000, 0
COLUMNS = [
    "experiments", "quality", "metric", "label", "seconds", "seconds_low", "seconds_high", "value", "low", "high", "n",
    "contents", "front", "front_share",
]  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Runs of one folder, of one experiment or of several that are compared by their cost."""

    studies: Sequence[Study]

    @property
    def name(self) -> str:
        """`table1 acceleration`."""
        return " ".join(study.experiment.name for study in self.studies)

    @property
    def figure(self) -> str:
        return f"cost_quality_{self.name.replace(' ', '_')}"

    @property
    def labels(self) -> list[str]:
        """In the order of the experiments; what two of them have is one point."""
        return list(dict.fromkeys(label for study in self.studies for label in study.ran if label not in CALIBRATION))

    def items(self) -> pd.DataFrame:
        """The scores of the compared runs and of the untouched photo."""
        items = self.studies[0].sweep.results.items
        return items[items["label"].isin([*self.labels, IDENTITY])]


def comparisons(studies: Sequence[Study]) -> list[Compared]:
    """The experiments whose costs are compared, those of one folder together."""
    by_folder: dict[object, list[Study]] = {}
    for study in studies:
        if study.experiment.cost:
            by_folder.setdefault(study.sweep.out, []).append(study)
    return [one for group in by_folder.values() if not points(one := Compared(group)).empty]


def points(compared: Compared) -> pd.DataFrame:
    """One row per quality and label, the cheapest first and the untouched photo, which costs nothing, last: means over
    the items that all labels have cost and score of.

    front: no other label is at least as cheap and at least as good, and better in one of the two; front_share: the part
    of resamples of the contents in which that holds, not a number with fewer contents than intervals need.
    """
    items, contents = compared.items(), compared.studies[0].sweep.results.contents()
    seconds, rows = wide(items, COST), list[dict[str, object]]()
    for quality, metric in headlines(items).items():
        photo = items[(items["label"] == IDENTITY) & (items["metric"] == metric)].set_index("item")["value"]
        scores = wide(items[items["label"] != IDENTITY], metric)
        labels = [label for label in compared.labels if label in seconds and label in scores]
        whole = seconds[labels].join(scores[labels], how="inner", lsuffix=" cost").dropna()
        if quality not in QUALITIES or whole.empty:
            continue
        owner = contents[whole.index].to_numpy()
        costs, values = (whole.to_numpy(float)[:, part] for part in (slice(len(labels)), slice(len(labels), None)))
        gains = values if metric_info(metric).direction == "up" else -values
        front = unbeaten(costs.mean(axis=0), gains.mean(axis=0))
        shares = front_shares(costs, gains, owner)
        about = {"experiments": compared.name, "quality": quality, "metric": metric, "front": False}
        for place, label in enumerate(labels):
            cost = estimate(costs[:, place], owner)
            row = about | {"label": label, "seconds": cost.mean, "seconds_low": cost.low, "seconds_high": cost.high}
            row |= mean_cells(estimate(values[:, place], owner))
            rows.append(row | {"front": bool(front[place]), "front_share": shares[place]})
        if len(photo := photo.reindex(whole.index).dropna()):
            untouched = estimate(photo.to_numpy(float), contents[photo.index].to_numpy())
            rows.append(about | {"label": IDENTITY} | mean_cells(untouched))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["quality", "seconds", "label"], ignore_index=True)


def wide(items: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A column per label with any value, a row per item that all these have."""
    return common_items(items[items["metric"] == metric].pivot(index="item", columns="label", values="value"))


def unbeaten(costs: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Of points with costs and gains (..., L): whether none is at least as cheap and as good, and better in one."""
    cheaper, better = costs[..., None] - costs[..., None, :], gains[..., None, :] - gains[..., None]
    beaten = (cheaper >= 0) & (better >= 0) & ((cheaper > 0) | (better > 0))
    return ~beaten.any(axis=-1)


def front_shares(costs: np.ndarray, gains: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """How often (L,) a label is unbeaten where contents are drawn again with replacement; costs and gains (n, L)."""
    names, owner = np.unique(contents, return_inverse=True)
    if len(names) < FEWEST:
        return np.full(costs.shape[1], np.nan)
    member = (owner == np.arange(len(names))[:, None]).astype(float)
    drawn = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    size = (drawn @ member.sum(axis=1))[:, None]
    return unbeaten(drawn @ (member @ costs) / size, drawn @ (member @ gains) / size).mean(axis=0)


def panels(compared: Compared, table: pd.DataFrame) -> list[Panel]:
    """What the figure of a comparison shows."""
    own, against = table[table["experiments"] == compared.name], compared.studies[0].experiment.against
    found = []
    for quality, group in own.groupby("quality", sort=True):
        rivals, photo = group[group["label"] != IDENTITY], group[group["label"] == IDENTITY]["value"]
        shown = [
            Mark(row.label, row.seconds, row.value, row.low, row.high, row.label.startswith(against), row.front)
            for row in rivals.itertuples()
        ]
        metric = str(group["metric"].iloc[0])
        up = metric_info(metric).direction == "up"
        title = f"{str(quality)[0].upper()}{str(quality)[1:]}"
        found.append(Panel(title, metric, up, shown, float(photo.iloc[0]) if len(photo) else None))
    return found


# --- the page ---


def cost_page(compared: Sequence[Compared], table: pd.DataFrame, figures: dict[str, str], machine: str) -> str:
    """figures: name of what is compared -> how its figure is shown."""
    about = [
        f"Machine: {machine or 'not named; pass --machine to the command'}. Seconds are wall-clock per item without "
        "loading the model, as on [costs.md](costs.md); they compare methods on this machine, with this model at this "
        "size.",
        "Means are over the items that all rows have, with 95 % intervals. A row is on the Pareto front where no other "
        "is at least as fast and at least as good, and better in one of the two. Means decide that; the percentage is "
        f"how often it holds where the contents are drawn again, with replacement ({RESAMPLES} times, seed {SEED}); "
        "near 50 % nothing is decided.",
        INFERENCE,
        *(
            f"{metric} asks about StyleGallery's own regions and matches, which favours it."
            for metric in dict.fromkeys(table["metric"])
            if metric_info(metric).annotator == STYLEGALLERY
        ),
        "[The table as CSV](cost_quality.csv).",
    ]
    models = [line for one in compared for line in model_lines(one.studies[0].sweep, one.labels)]
    sections = [section(one, table, figures[one.name]) for one in compared]
    return page("Cost against quality", "\n\n".join(dict.fromkeys(models)), bullets(about), *sections)


def section(compared: Compared, table: pd.DataFrame, figure: str) -> str:
    own = table[table["experiments"] == compared.name]
    metrics = dict(zip(own["quality"], own["metric"], strict=True))
    sizes = {quality: group.iloc[0] for quality, group in own.groupby("quality")}
    cells = {(row["label"], row["quality"]): row for row in own.to_dict("records")}
    labels = list(dict.fromkeys(own.sort_values(["seconds", "label"])["label"]))
    columns = ["", f"seconds {ARROWS['down']}"]
    for quality, metric in metrics.items():
        arrow = ARROWS[metric_info(metric).direction]
        columns += [f"{quality}: {metric} {arrow} (N={sizes[quality]['n']})", f"on the front of {quality}"]
    rows = []
    for label in labels:
        first = next(cells[label, quality] for quality in metrics if (label, quality) in cells)
        row = [
            f"{label} (calibration)" if label in CALIBRATION else label,
            interval(first, "seconds", "seconds_low", "seconds_high"),
        ]
        for quality in metrics:
            found = cells.get((label, quality))
            row += [interval(found, "value", "low", "high"), on_front(found)] if found else ["–", ""]
        rows.append(row)
    pages = ", ".join(f"[{study.experiment.name}]({study.experiment.name}.md)" for study in compared.studies)
    title = " and ".join(study.experiment.reproduces for study in compared.studies)
    return "\n\n".join(
        [f"## {title}", f"Runs of {pages} on {compared.studies[0].manifest}.", figure, pipe_table(columns, rows)]
    )


def interval(row: dict[str, float], value: str, low: str, high: str) -> str:
    if pd.isna(row[value]):
        return "–"
    bounds = "" if pd.isna(row[low]) else f" [{number(row[low])}, {number(row[high])}]"
    return f"{number(row[value])}{bounds}"


def on_front(row: dict[str, float]) -> str:
    share = "" if pd.isna(row["front_share"]) else f"{row['front_share']:.0%}"
    return f"**yes**{f' ({share})' if share else ''}" if row["front"] else share
