# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Results: from records to tables and figures
#
# Every result of a benchmark is a record on disk, and tables and figures are views of the records. This notebook makes
# a small run of cheap methods on bundled pictures, scores it and looks at it. It then draws the same from the tables
# in [`docs/results`](../docs/results), where there are any.

# %%
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from pandas.io.formats.style import Styler
from rich.console import Console

import stylegallery
from evaluation.annotations import annotate_with_stylegallery
from evaluation.calibration import CALIBRATION
from evaluation.registry import COSTS, metric_files, metric_info
from evaluation.results import read_results
from evaluation.score import score
from evaluation.statistics import estimate
from evaluation.table_page import lay_out
from evaluation.tables import build
from harness.folder import RunFolder
from harness.record import load_record
from stylegallery.figures import show
from stylegallery.images import read_image, resize, to_pixels

ROOT = Path(stylegallery.__file__).parents[1]

# %% [markdown]
# `OUT` is the folder of a run of yours, `EXPERIMENT` names the published tables.

# %% tags=["parameters"]
OUT = None  # "outputs/table1", ...; None: make the small run
PHOTOS = 4  # of the small run
EXPERIMENT = "table1"

# %% [markdown]
# ## A run
#
# Run, annotate, score, read: what `run.py`, `evaluation.annotations` and `evaluation.score` do from the command line.
# `identity` returns the content and `reference_copy` the first reference: they calibrate every score. Annotations are
# the regions and matches that regional scores ask about; a coarse grid and few inversion steps do here.

# %%
METRICS = [
    "edge_f1", "ms_ssim", "structure_efficientnet", "gram_efficientnet", "histogram", "style_blocks_efficientnet",
    "regional_margin_efficientnet", "regional_style_efficientnet",
]  # fmt: skip
scratch = tempfile.TemporaryDirectory()


def small_run(folder: Path) -> Path:
    """Four methods on a few photos, each with the same two references."""
    samples, references, out = ROOT / "data" / "samples", folder / "references", folder / "run"
    references.mkdir()
    for name in ("painterly_village.jpg", "mosaic_bay.jpg"):
        shutil.copy(samples / "style" / name, references)
    methods = "method=identity,reference_copy,color_transfer,latent_adain"
    data = ["data=folder", f"data.contents={samples / 'content'}", f"data.references={references}"]
    size = ["resolution=128", f"limit={PHOTOS}"]
    command = [sys.executable, str(ROOT / "run.py"), "-m", methods, *data, *size, f"out={out}"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    coarse = ["resolution=128", "method.segmentation.inversion_steps=3", "method.segmentation.clusters=[2,5]"]
    annotate_with_stylegallery(out, coarse, Console(quiet=True))
    score(out, METRICS, None, Console(quiet=True))
    return out


out = ROOT / OUT if OUT else small_run(Path(scratch.name))
results = read_results(out)
table = build(results)

# %% [markdown]
# ## The table
#
# Means over the items that all methods have, with 95 % intervals: contents, not items, count as independent, and below
# ten contents there are none. The best method is bold, the second underlined; the two calibration rows are not ranked.
# They must lie as expected: `identity` leads every score of structure, `reference_copy` every score of style.


# %%
def show_table(table: pd.DataFrame) -> Styler:
    """Metrics down, methods across; what has not been measured is left out."""
    measured = table[(table["source"] == "ours") & table["value"].notna()]
    cells, marks = lay_out(measured.astype({"mark": object}).fillna({"mark": ""}), CALIBRATION, [])
    css = marks.replace({"best": "font-weight: bold", "second": "text-decoration: underline"}).T
    return cells.T.replace(r"– \[\d+\]", "–", regex=True).style.apply(lambda _: css, axis=None)


show_table(table)

# %% [markdown]
# ## Style against structure
#
# Style transfer trades one for the other: a method is good where it gains style without losing structure. Bars are the
# 95 % intervals; hollow marks are the calibration rows, which stand at the two ends.

# %%
STRUCTURE = ("structure_dino", "lpips_alex", "structure_efficientnet")  # the first that was measured
STYLE = ("csd", "style_blocks_vgg19", "style_blocks_efficientnet")


def first_measured(table: pd.DataFrame, metrics: tuple[str, ...]) -> str:
    measured = set(table.loc[(table["source"] == "ours") & table["value"].notna(), "metric"])
    return next(metric for metric in metrics if metric in measured)


def toward(metric: str) -> str:
    """The label of an axis, with an arrow to where the metric is better."""
    return f"{metric}    better →" if metric_info(metric).direction == "up" else f"← better    {metric}"


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels in the order of the table: calibration rows last."""
    return sorted(set(labels), key=lambda label: (label in CALIBRATION, label))


def inks(labels: Iterable[str]) -> dict[str, Any]:
    """The colour of every label, grey for calibration rows."""
    cycle = plt.get_cmap("tab10")
    return {label: "0.45" if label in CALIBRATION else cycle(i % 10) for i, label in enumerate(in_order(labels))}


def scatter(table: pd.DataFrame) -> None:
    """One mark per method, on the left between the calibration rows, on the right the methods alone."""
    metrics = [first_measured(table, STRUCTURE), first_measured(table, STYLE)]
    ours = table[(table["source"] == "ours") & table["metric"].isin(metrics)].dropna(subset=["value"])
    points = ours.pivot(index="label", columns="metric", values=["value", "low", "high"])
    _, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axes in panels:
        for label, color in inks(points.index).items():
            calibration = label in CALIBRATION
            if calibration and axes is panels[1]:
                continue
            x, y = (points.loc[label].xs(metric, level="metric") for metric in metrics)
            bars = {name: [[p.value - p.low], [p.high - p.value]] for name, p in (("xerr", x), ("yerr", y))}
            face = "white" if calibration else color
            axes.errorbar(x.value, y.value, **bars, fmt="o", color=color, markerfacecolor=face, elinewidth=1)
            if calibration or axes is panels[1]:
                place, side = ((-7, -13), "right") if label == "reference_copy" else ((7, -13), "left")
                axes.annotate(
                    label, (x.value, y.value), place, textcoords="offset points", fontsize=9, color=color, ha=side
                )
        axes.set(xlabel=toward(metrics[0]), ylabel=toward(metrics[1]))
        axes.margins(0.12)
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_title("with the calibration rows", fontsize=10)
    panels[1].set_title("methods alone", fontsize=10)


scatter(table)

# %% [markdown]
# ## Item by item
#
# Methods do the same items, so differences of an item say more than differences of means: what makes an item hard is
# hard for all. Each dot is one item, the bar the mean difference with its 95 % interval, if there are ten contents.
# An interval that crosses zero shows no difference at this number of contents.


# %%
def differences(items: pd.DataFrame, against: str) -> None:
    """Score of every method minus that of one, per item, metric by metric."""
    scored = items[~items["metric"].isin(COSTS) & ~items["label"].isin(CALIBRATION)].dropna(subset=["value"])
    wide = scored.pivot(index=["metric", "item"], columns="label", values="value")
    deltas = wide.drop(columns=against).sub(wide[against], axis=0).dropna(how="all")
    metrics, contents = list(deltas.index.unique("metric")), items.groupby("item")["content"].first()
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns, rows * (1 + 0.34 * len(deltas.columns))), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    draw, palette = np.random.default_rng(0), inks(items["label"])
    for axis, metric in zip(axes.flat, metrics, strict=False):
        axis.axvline(0, color="0.6", linewidth=0.8)
        for place, label in enumerate(deltas.columns):
            values = deltas.loc[metric, label].dropna()
            if not len(values):
                continue
            mean, color = estimate(values.to_numpy(), contents[values.index].to_numpy()), palette[label]
            axis.scatter(values, place + draw.uniform(-0.22, 0.22, len(values)), s=14, color=color, alpha=0.45, lw=0)
            axis.plot([mean.low, mean.high], [place, place], color=color, linewidth=3, solid_capstyle="butt")
            axis.plot(mean.mean, place, "|", color="black", markersize=13)
        axis.set(xlabel=toward(metric), yticks=range(len(deltas.columns)), yticklabels=deltas.columns)
        axis.set_ylim(len(deltas.columns) - 0.4, -0.6)
        axis.locator_params(axis="x", nbins=4)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(metrics) :]:
        axis.set_visible(False)
    figure.suptitle(f"score of a method minus score of {against}, item by item", fontsize=10)


def baseline(labels: pd.Series) -> str:
    """The method that others are compared with: StyleGallery where it was run."""
    rivals = [label for label in in_order(labels) if label not in CALIBRATION]
    return "stylegallery" if "stylegallery" in rivals else rivals[0]


differences(results.items, baseline(results.items["label"]))

# %% [markdown]
# ## The pictures
#
# No score replaces a look.


# %%
def pictures(out: Path, items: int = 4, methods: int = 6) -> None:
    """Content, references and what each method makes of them, an item a row."""
    labels = [label for label in in_order(results.items["label"]) if label not in CALIBRATION][:methods]
    run = RunFolder(out)
    found = [[place.item for place in run.results(label) if place.picture.is_file()] for label in labels]
    common = sorted(set.intersection(*map(set, found)))
    chosen = [common[index] for index in np.linspace(0, len(common) - 1, min(items, len(common))).astype(int)]
    rows = []
    for item in chosen:
        inputs = load_record(run.result(labels[0], item).path).pictures
        paths = [(role, Path(one.path)) for role, one in inputs.items()][:4]  # the content and up to three references
        rows.append(paths + [(label, run.result(label, item).picture) for label in labels])
    columns = max(map(len, rows))
    _, axes = plt.subplots(
        len(rows), columns, figsize=(1.9 * columns, 1.95 * len(rows)), squeeze=False, layout="constrained"
    )
    for number, (line, row) in enumerate(zip(axes, rows, strict=True)):
        for axis in line:
            axis.axis("off")
        for axis, (name, path) in zip(line, row, strict=False):
            image = resize(read_image(path), 256, "square", 1)  # as benchmarks show pictures to methods
            show(axis, to_pixels(image), "" if number else name)


pictures(out)

# %% [markdown]
# ## The published tables
#
# `python -m evaluation.publish` writes the tables of whole experiments to `docs/results`. What they say of the method
# is in the pages there; here are the same three views.

# %%
published = ROOT / "docs" / "results" / f"{EXPERIMENT}.csv"
if published.is_file():
    published_table = pd.read_csv(published, dtype=dict.fromkeys(("version", "n", "contents", "left_out"), "Int64"))
    published_items = pd.read_csv(published.with_name(f"{EXPERIMENT}_items.csv"))
    known = [*COSTS, *metric_files()]  # metrics may have been retired since
    published_table, published_items = (one[one["metric"].isin(known)] for one in (published_table, published_items))
    display(show_table(published_table))
    scatter(published_table)
    differences(published_items, baseline(published_items["label"]))
else:
    display(Markdown(f"There are no published tables of `{EXPERIMENT}` yet."))
