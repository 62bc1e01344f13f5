"""Curves of a training from its logs, as `stylegallery.embedded.train` writes them into its work folder.

    python -m benchmarks.learning docs/training/*.csv --plot docs/training.png

A panel for every value of a stage, and a line for every log, over the steps. Thick lines are of pictures held out and
of averaged weights (`held_` in the log), thin ones beside them of the batches that train.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

Curves = dict[str, tuple[list[int], list[float]]]  # name of a value -> steps and values
HELD = "held_"
COLUMNS = 4


def read_log(path: Path) -> Curves:
    """Rows are stage, step, seconds and `name=value`s. Raises SystemExit for other rows."""
    curves: Curves = {}
    for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
        try:
            step, values = int(row[1]), [(name, float(value)) for name, value in (cell.split("=") for cell in row[3:])]
        except (IndexError, ValueError):
            raise SystemExit(f"{path}: {','.join(row)} is no row of a training's log") from None
        for name, value in values:
            steps, found = curves.setdefault(name, ([], []))
            steps.append(step)
            found.append(value)
    return curves


def drawn(logs: dict[str, Curves]) -> Figure:
    """logs: name of a log, `decoder_2` for the second of a stage, -> its curves. Logs of a stage share panels."""
    stages: dict[str, dict[str, Curves]] = {}
    for log, curves in logs.items():
        stages.setdefault(log.split("_")[0], {})[log] = curves
    titles = {
        (stage, name.removeprefix(HELD)) for stage, own in stages.items() for curves in own.values() for name in curves
    }
    rows = -(-len(titles) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis in axes[len(titles) :]:
        axis.set_axis_off()
    for axis, (stage, value) in zip(axes, sorted(titles), strict=False):
        for index, curves in enumerate(stages[stage].values()):
            for name, width in ((value, 0.8 if HELD + value in curves else 1.6), (HELD + value, 1.6)):
                if name in curves:
                    axis.plot(*curves[name], color=f"C{index}", linewidth=width)
        axis.set_title(f"{stage}: {value}", fontsize=8)
        axis.tick_params(labelsize=7)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path, required=True)
    args = parser.parse_args(arguments)
    drawn({path.stem: read_log(path) for path in args.logs}).savefig(args.plot, dpi=90)


if __name__ == "__main__":
    main()
