"""Figures of the pages: PNG for light and for dark pages, and PDF for a paper.

Names stand beside what they name, where they cover neither a point nor each other.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from evaluation.publish.panels import Panel

DPI, SMALL, POINT = 200, 7, 5  # dots per inch of a PNG; size of names and sides of points, in points of 1/72 inch
OTHERS = ("s", "^", "D", "v")  # shapes of the points of other methods
RADII = (4, 9, 15, 22, 30, 40, 52, 66, 82, 100, 130, 160)  # points between a point and its name, the nearest first
DIRECTIONS = [math.tau * turn / 16 for turn in (0, 8, 4, 12, 1, 15, 7, 9, 2, 14, 6, 10, 3, 13, 5, 11)]  # right, left


@dataclass(frozen=True)
class Theme:
    """Colours: of a page, of text, of what stands back, of the method under test and of others, which are told apart
    without colours too."""

    paper: str
    ink: str
    soft: str
    ours: str
    others: str


LIGHT = Theme("#ffffff", "#1f2328", "#8c959f", "#0060b0", "#b4480f")
DARK = Theme("#0d1117", "#e6edf3", "#6e7681", "#5eb1f7", "#f0a35e")
Draw = Callable[[Theme], Figure]


def drawn(name: str, draw: Draw) -> dict[str, bytes]:
    """File name -> bytes of a figure; equal figures have equal bytes."""
    files = {f"{name}.png": (LIGHT, "png"), f"{name}_dark.png": (DARK, "png"), f"{name}.pdf": (LIGHT, "pdf")}
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    return {path: saved(theme, draw, form, metadata[form]) for path, (theme, form) in files.items()}


def saved(theme: Theme, draw: Draw, form: str, metadata: dict[str, None]) -> bytes:
    data = io.BytesIO()
    colours = {
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
    }
    style: Any = {
        "figure.facecolor": theme.paper, "axes.facecolor": theme.paper, "axes.edgecolor": theme.soft,
        "legend.labelcolor": theme.ink, "font.size": 8, "axes.titlesize": 8, "axes.labelsize": SMALL,
        "figure.dpi": DPI, "savefig.dpi": DPI,
        "pdf.fonttype": 42, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    }  # fmt: skip
    with rc_context(colours | style):
        draw(theme).savefig(data, format=form, metadata=metadata)
    return data.getvalue()


def shown(name: str, about: str) -> str:
    """A figure in Markdown, by the colours that a reader's page has; with a link to it for a paper."""
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{name}_dark.png">'
        f'<img alt="{about}" src="{name}.png"></picture>\n\n[This figure as PDF]({name}.pdf).'
    )


# --- names beside points ---


def name_points(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
) -> None:  # fmt: skip
    """Write the name of every point at the nearest place that covers no point and no other name, and none of the
    upright and level lines where that is possible; a thin line leads to a name that is not just beside its point.

    The layout of the figure must be settled, and its pixels be those of its dpi.
    """
    unit, to_pixels = DPI / 72, axes.transData.transform
    centres, side = to_pixels(points), POINT * unit
    taken = [Bbox.from_bounds(x - side / 2, y - side / 2, side, side) for x, y in centres]
    avoided = [Bbox.null() for _ in lines]
    for box, ends in zip(avoided, lines, strict=True):
        box.update_from_data_xy(to_pixels(ends))
    for index in sorted(range(len(points)), key=lambda one: (centres[one][0], centres[one][1])):
        text = axes.annotate(
            names[index], points[index], (0, 0), textcoords="offset points", ha="center", va="center", fontsize=SMALL,
            color=colours[index], arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": colours[index]},
        )  # fmt: skip
        size = Text.get_window_extent(text)  # without the line
        places = places_of(centres[index], (size.width, size.height), unit)
        open_places = [place for place in places if is_free(place[1], axes.bbox, taken)]
        near, box = next(
            (place for place in open_places if not place[1].count_overlaps(avoided)), (open_places or places)[0]
        )
        taken.append(box)
        text.set_position(tuple((middle - own) / unit for middle, own in zip(centre(box), centres[index], strict=True)))
        if near and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)


def places_of(point: Sequence[float], size: tuple[float, float], unit: float) -> list[tuple[bool, Bbox]]:
    """The places of a text of that size around a point, the nearest first, and whether it is just beside the point."""
    width, height = size[0] + 2 * unit, size[1]
    found = []
    for radius in RADII:
        for angle in DIRECTIONS:
            x = point[0] + math.cos(angle) * (radius * unit + width / 2)
            y = point[1] + math.sin(angle) * (radius * unit + height / 2)
            beside = radius == RADII[0] and abs(math.sin(angle)) < 1e-9
            found.append((beside, Bbox.from_bounds(x - width / 2, y - height / 2, width, height)))
    return found


def is_free(box: Bbox, around: BboxBase, taken: Sequence[Bbox]) -> bool:
    return bool(around.count_contains(box.corners()) == 4) and not box.count_overlaps(taken)


def centre(box: Bbox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


# --- figures ---


def score_of(panel: Panel) -> str:
    """Name of the vertical axis, which has the better side up."""
    return panel.score if panel.up else f"{panel.score} (lower is better)"


def front_figure(panels: Sequence[Panel], cost: str) -> Draw:
    """Quality over cost, a panel each: the better side is up, what no other beats in both is filled and joined."""

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(3.8 * len(panels), 3.7), layout="constrained")
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(every, panels, strict=True):
            axes.set(xscale="log", xlabel=cost, title=panel.title, ylabel=score_of(panel))
            front = sorted((mark.x, mark.y) for mark in panel.marks if mark.front)
            axes.plot(*zip(*front, strict=True), color=theme.soft, linewidth=0.8, drawstyle="steps-post", zorder=1)
            if panel.photo is not None:
                axes.axhline(panel.photo, color=theme.soft, linewidth=0.8, linestyle=":", zorder=1)
            for mark in panel.marks:
                colour = theme.ours if mark.ours else theme.others
                if math.isfinite(mark.low):
                    axes.plot([mark.x, mark.x], [mark.low, mark.high], color=colour, linewidth=0.7, alpha=0.5, zorder=2)
                axes.plot(
                    mark.x, mark.y, "o" if mark.ours else "s", markersize=POINT, color=colour, zorder=3,
                    markerfacecolor=colour if mark.front else theme.paper,
                )  # fmt: skip
            axes.margins(0.14, 0.1)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
            if not panel.up:
                axes.invert_yaxis()
        handles = [
            Line2D([], [], marker="o", linestyle="", color=theme.ours, markersize=POINT, label="StyleGallery"),
            Line2D([], [], marker="s", linestyle="", color=theme.others, markersize=POINT, label="other methods"),
            Line2D([], [], color=theme.soft, linewidth=0.8, label="Pareto front (filled)"),
            Line2D([], [], color=theme.soft, linewidth=0.8, linestyle=":", label="untouched photo"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=SMALL)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # settled
        for axes, panel in zip(every, panels, strict=True):
            marks, front = panel.marks, sorted((mark.x, mark.y) for mark in panel.marks if mark.front)
            lines = [((mark.x, mark.low), (mark.x, mark.high)) for mark in marks if math.isfinite(mark.low)]
            lines += [(one, (other[0], one[1])) for one, other in pairwise(front)]
            colours = [theme.ours if mark.ours else theme.others for mark in marks]
            name_points(axes, [(mark.x, mark.y) for mark in marks], [mark.name for mark in marks], colours, lines)
        return figure

    return draw


def groups_figure(panels: Sequence[Panel], groups: Sequence[str], about: str) -> Draw:
    """A line per name over the groups in their order, a panel each; x of a mark is the place of its group.

    At most one name more than OTHERS has shapes: lines of more methods could not be told apart.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(2.8 * len(panels), 2.9), layout="constrained")
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        names = {mark.name: mark.ours for panel in panels for mark in panel.marks}
        shapes = iter(OTHERS)
        looks: dict[str, dict[str, Any]] = {
            name: {"marker": "o" if ours else next(shapes), "linestyle": "-" if ours else "--", "markersize": 4}
            | {"linewidth": 1, "color": theme.ours if ours else theme.others}
            for name, ours in names.items()
        }
        for axes, panel in zip(every, panels, strict=True):
            for place, (name, look) in enumerate(looks.items()):
                own = [mark for mark in panel.marks if mark.name == name]
                xs = [mark.x + 0.08 * (place - (len(looks) - 1) / 2) for mark in own]  # intervals side by side
                axes.plot(xs, [mark.y for mark in own], **look)
                low, high = [mark.low for mark in own], [mark.high for mark in own]
                axes.vlines(xs, low, high, color=look["color"], linewidth=0.7, alpha=0.6)
            if panel.photo is not None:
                axes.axhline(panel.photo, color=theme.soft, linewidth=0.8, linestyle=":", zorder=1)
            axes.set(title=panel.title, xlabel=about, ylabel=score_of(panel), xlim=(-0.4, len(groups) - 0.6))
            axes.set_xticks(range(len(groups)), groups)
            if not panel.up:
                axes.invert_yaxis()
        handles = [Line2D([], [], label=name, **look) for name, look in looks.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=SMALL)
        return figure

    return draw
