"""Pictures that explain a run: region overlays, matches, energies and the overview."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from scipy import ndimage
from torch import Tensor

from stylegallery.contract import SHOWN_REFERENCES, Energy, Stylization
from stylegallery.images import to_pixels
from stylegallery.region_pictures import colours, deepest_point
from stylegallery.regions import region_count, resize_labels

if TYPE_CHECKING:  # it imports the stages, which the figures of a result do not need
    from stylegallery.plan import Plan

GREY = (0.55, 0.55, 0.55)
HALO = [patheffects.withStroke(linewidth=2.5, foreground="white")]


def overlay(image: Tensor, labels: Tensor, palette: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """Picture (1, 3, H, W) tinted by region with white borders, uint8 (H, W, 3); palette (R, 3) in [0, 1]."""
    pixels = to_pixels(image) / 255
    labels_large = resize_labels(labels, (pixels.shape[0], pixels.shape[1])).numpy()
    tint = np.vstack([np.zeros((1, 3)), palette])[labels_large]
    grey = pixels.mean(-1, keepdims=True)
    mixed = (1 - strength) * (0.5 * pixels + 0.5 * grey) + strength * tint
    border = ndimage.grey_dilation(labels_large, 3) != ndimage.grey_erosion(labels_large, 3)
    mixed[border] = 1
    return (mixed * 255).round().clip(0, 255).astype(np.uint8)


def show(axes: Axes, pixels: np.ndarray, title: str = "") -> None:
    axes.imshow(pixels, interpolation="lanczos")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def show_content_regions(axes: Axes, result: Stylization) -> None:
    assert result.content_labels is not None
    palette = colours(region_count(result.content_labels))
    pixels = overlay(result.content, result.content_labels, palette)
    show(axes, pixels)
    for label in range(1, len(palette) + 1):
        x, y = deepest_point(result.content_labels, label, pixels.shape[:2])
        axes.text(x, y, str(label), ha="center", va="center", fontsize=11, weight="bold", path_effects=HALO)


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
        x, y = deepest_point(labels, label, pixels.shape[:2])
        text = f"{label} → {', '.join(map(str, takers[label]))}" if label in takers else str(label)
        axes.text(x, y, text, ha="center", va="center", fontsize=9, weight="bold", path_effects=HALO)


def overview(result: Stylization, title: str) -> Figure:
    """Content, regions, references and their regions in matching colours, and the result, on one page."""
    used = {match.reference for match in result.matches}
    numbers = result.shown()[:SHOWN_REFERENCES]
    hidden = len(result.references) - len(numbers)
    columns = 1 + len(numbers)
    figure = Figure(figsize=(2.6 * columns + 5.2, 5.9), layout="constrained")
    grid = figure.add_gridspec(2, columns + 2)
    show(figure.add_subplot(grid[0, 0]), to_pixels(result.content), "content")
    if result.content_labels is not None:
        show_content_regions(figure.add_subplot(grid[1, 0]), result)
    for column, number in enumerate(numbers, 1):
        note = "" if number in used or not result.matches else " (unused)"
        show(figure.add_subplot(grid[0, column]), to_pixels(result.references[number - 1]), f"reference {number}{note}")
        if result.reference_labels:
            show_reference_regions(figure.add_subplot(grid[1, column]), result, number)
    show(figure.add_subplot(grid[:, columns:]), to_pixels(result.image), "result")
    more = f"  ·  {hidden} more references not shown" if hidden > 0 else ""
    note = (
        "  ·  colour and “j → i”: region j of the reference gives its style to content region i"
        if result.matches
        else ""
    )
    figure.suptitle(title + more + note, fontsize=10)
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
