"""Pictures that explain a run: region overlays, matches, energies and the overview."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from PIL import Image
from torch import Tensor

from stylegallery.contract import SHOWN_REFERENCES, Energy, Match, Stylization
from stylegallery.images import to_pixels
from stylegallery.region_pictures import colours, deepest_point, overlaid
from stylegallery.regions import region_count, resize_labels

if TYPE_CHECKING:  # it imports the stages, which the figures of a result do not need
    from stylegallery.analysis import Analysis
    from stylegallery.plan import Plan

GREY = (0.55, 0.55, 0.55)
# Pixels of the overview: sides of its thumbnails and details, what is between them, what is more between details of two
# places, the room of a line of text, about the least that the longer side of a result is shown with, and the most:
# beside thumbnails of this size a larger one would leave most of the page white, and half of a larger one is the least.
DPI, THUMBNAIL, DETAIL, GAP, APART, TEXT, LEAST_RESULT, MOST_RESULT = 100, 260, 228, 10, 30, 26, 600, 1200
EDGE = 5  # pixels between a label and the edge of its picture, of which its halo takes two
HALO = [patheffects.withStroke(linewidth=2.5, foreground="white")]


def overlay(image: Tensor, labels: Tensor, palette: np.ndarray) -> np.ndarray:
    """Picture (1, 3, H, W) tinted by region, see `overlaid`; labels (h, w)."""
    pixels = to_pixels(image)
    return overlaid(pixels, resize_labels(labels, (pixels.shape[0], pixels.shape[1])).numpy(), palette)


def show(axes: Axes, pixels: np.ndarray, title: str = "") -> None:
    axes.imshow(pixels, interpolation="lanczos")
    axes.set_title(title, fontsize=10)
    axes.axis("off")
    axes.set_anchor("N")  # pictures of all shapes in a row, and their titles, begin at one height


def write(axes: Axes, place: tuple[float, float], text: str, size: int) -> None:
    """A label in the middle of a place of the picture, moved sideways as far as it would reach over the edge."""
    x, y = place
    label = axes.text(x, y, text, ha="center", va="center", fontsize=size, weight="bold", path_effects=HALO)
    axes.apply_aspect()
    box, frame = label.get_window_extent(), axes.get_window_extent()
    over = max(0.0, frame.x0 + EDGE - box.x0) or min(0.0, frame.x1 - EDGE - box.x1)
    left, right = axes.get_xlim()
    label.set_x(x + over * (right - left) / frame.width)


def show_regions(axes: Axes, image: Tensor, labels: Tensor, title: str = "") -> None:
    """A picture (1, 3, H, W) with its regions, labels (h, w), in colours and numbered."""
    palette = colours(region_count(labels))
    pixels = overlay(image, labels, palette)
    show(axes, pixels, title)
    for label in range(1, len(palette) + 1):
        write(axes, deepest_point(labels, label, pixels.shape[:2]), str(label), 11)


def show_content_regions(axes: Axes, result: Stylization) -> None:
    assert result.content_labels is not None
    show_regions(axes, result.content, result.content_labels)


def show_reference_regions(axes: Axes, result: Stylization, number: int) -> None:
    """Regions of a reference in the colour of the content region that takes them, grey where none does."""
    assert result.content_labels is not None
    labels, image = result.reference_labels[number - 1], result.references[number - 1]
    content_colours = colours(region_count(result.content_labels))
    palette = np.tile(GREY, (region_count(labels), 1))
    takers: dict[int, list[int]] = {}
    for match in result.matches:
        if match.reference == number:
            takers.setdefault(match.reference_region, []).append(match.content_region)
    for region, content_regions in takers.items():
        palette[region - 1] = content_colours[content_regions[0] - 1]
    pixels = overlay(image, labels, palette)
    show(axes, pixels)
    for label in range(1, len(palette) + 1):
        text = f"{label} → {', '.join(map(str, takers[label]))}" if label in takers else str(label)
        write(axes, deepest_point(labels, label, pixels.shape[:2]), text, 9)


def overview(result: Stylization, title: str) -> Figure:
    """One page: content and references over their regions in matching colours, the result pixel by pixel, and details
    of all three at 100 %, in which strokes can be judged.

    A small result is enlarged by a whole number, one as large as a photo reduced by one. Pixels are those
    of the page at its own dpi: save it without another.
    """
    used = {match.reference for match in result.matches}
    numbers = result.shown()[:SHOWN_REFERENCES]
    pixels, size = at_a_glance(to_pixels(result.image))
    height, width = pixels.shape[:2]
    details = details_of(result)
    strip = sum(len(row) * (DETAIL + GAP) for row in details) + (len(details) - 1) * APART
    above = TEXT + max(2 * (TEXT + THUMBNAIL), TEXT + height)
    page = Page(GAP + max((1 + len(numbers)) * (THUMBNAIL + GAP) + width + GAP, strip), above + TEXT + DETAIL + GAP)
    x, low = GAP, TEXT + TEXT + THUMBNAIL
    show(page.axes(x, TEXT, THUMBNAIL, THUMBNAIL), to_pixels(result.content), "content")
    if result.content_labels is not None:
        show_content_regions(page.axes(x, low, THUMBNAIL, THUMBNAIL), result)
    for number in numbers:
        x += THUMBNAIL + GAP
        note = "" if number in used or not result.matches else " (unused)"
        axes = page.axes(x, TEXT, THUMBNAIL, THUMBNAIL)
        show(axes, to_pixels(result.references[number - 1]), f"reference {number}{note}")
        if result.reference_labels:
            show_reference_regions(page.axes(x, low, THUMBNAIL, THUMBNAIL), result, number)
    x += THUMBNAIL + GAP
    page.picture(x, TEXT, pixels, f"result{size}")
    x = GAP
    for row in details:
        for name, detail in row:
            page.picture(x, above, detail, f"{name}, 100 %")
            x += DETAIL + GAP
        x += APART
    hidden = len(result.references) - len(numbers)
    more = f"  ·  {hidden} more references not shown" if hidden > 0 else ""
    note = (
        "  ·  colour and “j → i”: region j of the reference gives its style to content region i"
        if result.matches
        else ""
    )
    page.headline(title, more + note)
    return page.figure


def at_a_glance(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Pixels (H, W, 3) at a size that a page has room for, and words for that size where it is another one."""
    longer = max(pixels.shape[:2])
    if longer > MOST_RESULT:
        by = math.ceil(longer / MOST_RESULT)
        return np.asarray(Image.fromarray(pixels).reduce(by)), f", 1/{by} as large"
    times = max(1, round(LEAST_RESULT / longer))
    return pixels.repeat(times, 0).repeat(times, 1), f", {times} times as large" if times > 1 else ""


class Page:
    """A figure filled by pixels, counted from its upper left corner. Whatever is on it has a line of TEXT pixels, for
    what it is called, between its `y` and itself."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def axes(self, x: int, y: int, width: int, height: int) -> Axes:
        low = self.height - y - TEXT - height
        return self.figure.add_axes(
            (x / self.width, low / self.height, width / self.width, height / self.height), label=f"{x}, {y}"
        )

    def headline(self, title: str, rest: str) -> None:
        """A line above all, of which the title loses its end where the page is too narrow for both."""
        line = self.figure.suptitle(title + rest, fontsize=10, y=1 - GAP / self.height, va="top")
        line.set_parse_math(False)  # a file may be called price_$5_or_$6.jpg
        while title and line.get_window_extent().width > self.width - 2 * GAP:
            title = title[:-1]
            line.set_text(f"{title}…{rest}")

    def picture(self, x: int, y: int, pixels: np.ndarray, name: str) -> None:
        """Pixels (H, W, 3) as they are."""
        height, width = pixels.shape[:2]
        axes = self.axes(x, y, width, height)
        axes.imshow(pixels, interpolation="nearest", aspect="auto", label=name)
        axes.axis("off")
        middle, line = (x + width / 2) / self.width, 1 - (y + TEXT - TEXT // 4) / self.height
        self.figure.text(middle, line, name, ha="center", va="baseline", fontsize=10)


def details_of(result: Stylization) -> list[list[tuple[str, np.ndarray]]]:
    """Rows of crops of at most DETAIL pixels: content, reference and result around the same place, for the largest
    content region of each of the two references that give most; from the middles where nothing is matched. A content
    of another size than the result is left out."""
    height, width = result.image.shape[-2:]
    if result.matches and result.content_labels is not None:
        labels = result.content_labels
        sizes = {match: int((labels == match.content_region).sum()) for match in result.matches}
        chosen: list[Match] = []
        for match in sorted(sizes, key=lambda match: -sizes[match]):
            if len(chosen) < 2 and match.reference not in [other.reference for other in chosen]:
                chosen.append(match)
        places = []
        for match in chosen:
            shape = result.references[match.reference - 1].shape[-2:]
            reference_labels = result.reference_labels[match.reference - 1]
            there = deepest_point(reference_labels, match.reference_region, shape)
            places.append((deepest_point(labels, match.content_region, (height, width)), match.reference, there))
    else:
        number = result.shown()[0] if result.references else 0
        rows, columns = result.references[number - 1].shape[-2:] if number else (0, 0)
        places = [((width / 2, height / 2), number, (columns / 2, rows / 2))]
    found = []
    for here, number, there in places:
        row = [("result", crop(result.image, here))]
        if number:
            row.insert(0, (f"reference {number}", crop(result.references[number - 1], there)))
        if result.content.shape == result.image.shape:
            row.insert(0, ("content", crop(result.content, here)))
        found.append(row)
    return found


def crop(image: Tensor, centre: tuple[float, float]) -> np.ndarray:
    """At most DETAIL x DETAIL pixels of an image (1, 3, H, W) around a point (x, y), as near to it as they fit."""
    (height, width), (x, y) = image.shape[-2:], centre
    top, left = (
        round(min(max(0, middle - DETAIL / 2), max(0, length - DETAIL))) for middle, length in ((y, height), (x, width))
    )
    return to_pixels(image[..., top : top + DETAIL, left : left + DETAIL])


def regions_figure(analyses: "Sequence[Analysis]", height: float = 2.6) -> Figure:
    """What was found in pictures, a content and its references: their numbered regions side by side."""
    widths = [analysis.image.shape[-1] / analysis.image.shape[-2] for analysis in analyses]
    figure = Figure(figsize=(height * sum(widths), height + 0.3), layout="constrained")
    grid = figure.add_gridspec(1, len(analyses), width_ratios=widths)
    for number, analysis in enumerate(analyses):
        name = f"reference {number}" if number else "content"
        title = f"{name}: {region_count(analysis.labels)} regions"
        show_regions(figure.add_subplot(grid[number]), analysis.image, analysis.labels, title)
    return figure


def plan_figure(plan: "Plan") -> Figure:
    """`match_figure` of a plan, before there is a result."""
    return match_figure(plan.with_image(plan.content.image))


def match_figure(result: Stylization) -> Figure:
    """The content's regions joined by lines to the reference regions they take their style from, with scores."""
    assert result.content_labels is not None
    used = sorted({match.reference for match in result.matches})
    rows = len(used)
    figure = Figure(figsize=(8.5, max(4.5, 3.2 * rows)), layout="constrained")
    grid = figure.add_gridspec(rows, 2, width_ratios=[1, 1], wspace=0.35)
    left = figure.add_subplot(grid[:, 0])
    show_content_regions(left, result)
    left.set_title("content", fontsize=10)
    palette = colours(region_count(result.content_labels))
    right = {}
    for row, number in enumerate(used):
        right[number] = figure.add_subplot(grid[row, 1])
        show_reference_regions(right[number], result, number)
        right[number].set_title(f"reference {number}", fontsize=10)
    for match in result.matches:
        labels, image = result.reference_labels[match.reference - 1], result.references[match.reference - 1]
        start = deepest_point(result.content_labels, match.content_region, result.content.shape[-2:])
        end = deepest_point(labels, match.reference_region, image.shape[-2:])
        line = ConnectionPatch(
            start, end, "data", "data", axesA=left, axesB=right[match.reference], arrowstyle="<-", linewidth=2.2,
            color=palette[match.content_region - 1], path_effects=HALO, shrinkA=8, shrinkB=24,  # labels stay legible
        )  # fmt: skip
        figure.add_artist(line)
    legend = "   ".join(f"{m.content_region}: {'pinned' if m.pinned else f'{m.score:.2f}'}" for m in result.matches)
    figure.suptitle(f"score of every content region's match   {legend}", fontsize=9)
    return figure


def energy_figure(energies: Sequence[Energy]) -> Figure:
    """The energy and the two losses that it weighs, over the updates."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    steps = [energy.step for energy in energies]
    axes.plot(steps, [energy.energy for energy in energies], label="energy, their weighted sum", color="black")
    axes.plot(steps, [energy.style for energy in energies], label="regional style loss")
    axes.plot(steps, [energy.content for energy in energies], label="global content loss")
    axes.set(xlabel="update", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
