"""Figures show what their names say: every border, a label inside its region, every curve."""

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from stylegallery.contract import Energy, Match, Stylization
from stylegallery.figures import details_of, energy_figure, overlay, overview, regions_figure
from stylegallery.images import to_pixels
from stylegallery.region_pictures import colours, deepest_point


def test_borders_are_drawn_in_every_direction() -> None:
    labels = torch.tensor([[1, 2, 1], [2, 3, 2], [1, 2, 1]])
    pixels = overlay(torch.full((1, 3, 48, 48), 0.4), labels, colours(3))
    white = (pixels == 255).all(-1)
    for edge in (16, 32):
        for middle in (8, 24, 40):
            assert white[middle, edge - 1 : edge + 1].all()
            assert white[edge - 1 : edge + 1, middle].all()
    assert not white[24, 20:28].any()


def test_regions_of_pictures_are_numbered_side_by_side() -> None:
    labels = torch.ones(8, 12, dtype=torch.long)
    labels[:, 8:] = 2
    found: list[Any] = [SimpleNamespace(image=torch.zeros(1, 3, 16, 24), labels=labels)] * 3
    axes = regions_figure(found).axes
    assert [one.get_title() for one in axes] == [
        f"{name}: 2 regions" for name in ("content", "reference 1", "reference 2")
    ]
    for one in axes:
        places = {text.get_text(): text.get_position()[0] for text in one.texts}
        assert places["1"] < 16 < places["2"]


def test_a_region_is_labelled_inside_itself() -> None:
    labels = torch.ones(8, 8, dtype=torch.long)
    labels[2:7, 3:8] = 2
    x, y = deepest_point(labels, 2, (80, 80))
    assert labels[int(y // 10), int(x // 10)] == 2


@pytest.mark.parametrize(("height", "width"), [(128, 192), (192, 128)])
def test_labels_stay_on_their_picture(height: int, width: int) -> None:
    """A region at the edge with several takers has a label wider than the region."""
    found = stylization(height, width)
    labels = torch.full((height // 8, width // 8), 3, dtype=torch.long)
    labels[:, :2], labels[:, -2:] = 1, 2
    references = [picture(2, height, width), picture(3, height, width)]
    matches = [Match(number, 1, 1 + number % 2, 1.0, 1.0, 1.0, 1.0, False) for number in (1, 2, 3)]
    figure = overview(
        replace(found, references=references, reference_labels=[labels, labels], matches=matches), "edges"
    )
    FigureCanvasAgg(figure).draw()
    labelled = [axes for axes in figure.axes if any("→" in text.get_text() for text in axes.texts)]
    assert labelled and "2 → 1, 3" in [text.get_text() for text in labelled[0].texts]
    for axes in labelled:
        frame = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1


def test_colours_differ() -> None:
    palette = colours(10)
    distances = np.linalg.norm(palette[:, None] - palette[None], axis=-1) + np.eye(10)
    assert distances.min() > 0.1


def test_every_curve_of_the_energies_is_in_sight() -> None:
    losses = [(2.5, 0.0), (2.0, 0.4), (1.5, 0.5)]  # weighed 0.65 and 0.26, as the embedded model's preset does
    energies = [
        Energy(i, 141, 0.65 * style + 0.26 * content, style, content) for i, (style, content) in enumerate(losses)
    ]
    (axes,) = energy_figure(energies).axes
    low, high = axes.get_ylim()
    drawn = [line.get_ydata() for line in axes.lines]
    np.testing.assert_allclose(drawn, [[e[field] for e in energies] for field in (2, 3, 4)])
    assert low <= np.min(drawn) and np.max(drawn) <= high


# --- the overview ---


def picture(seed: int, height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def stylization(height: int, width: int) -> Stylization:
    """Three content regions of falling size: the first two take from reference 2, the last from reference 1."""
    labels = torch.ones(height // 8, width // 8, dtype=torch.long)
    labels[-3:], labels[-1:] = 2, 3
    other = torch.ones(40, 40, dtype=torch.long)
    other[:, 30:] = 2
    return Stylization(
        image=picture(0, height, width),
        content=picture(1, height, width),
        references=[picture(2, 320, 320), picture(3, 320, 320)],
        content_labels=labels,
        reference_labels=[other, other],
        matches=[
            Match(region, reference, 2, 1.0, 1.0, 1.0, 1.0, False) for region, reference in ((1, 2), (2, 2), (3, 1))
        ],
    )


def shown(figure: Figure, name: str) -> np.ndarray:
    """What the page shows in the place of one of its pictures."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    (image,) = [image for axes in figure.axes for image in axes.images if image.get_label() == name]
    left, bottom, width, height = (round(length) for length in image.axes.get_window_extent().bounds)
    assert left >= 0 and bottom >= 0 and image.get_array().shape[:2] == (height, width)
    return pixels[pixels.shape[0] - bottom - height : pixels.shape[0] - bottom, left : left + width]


@pytest.mark.parametrize("height,width", [(448, 640), (640, 448), (1000, 520)])
def test_the_overview_shows_every_pixel_of_the_result(height: int, width: int) -> None:
    result = stylization(height, width)
    assert np.array_equal(shown(overview(result, "title"), "result"), to_pixels(result.image))


def test_a_notebook_which_cuts_borders_off_shows_the_whole_result() -> None:
    """Its pictures lie where their names are."""
    result, stream = stylization(448, 640), io.BytesIO()
    overview(result, "title").savefig(stream, bbox_inches="tight")
    with Image.open(stream) as page:
        place_of(to_pixels(result.image), np.asarray(page)[..., :3])


def test_a_small_result_is_enlarged_by_a_whole_number() -> None:
    result = stylization(200, 304)
    pixels = shown(overview(result, "title"), "result, 2 times as large")
    assert np.array_equal(pixels[::2, ::2], to_pixels(result.image))
    assert np.array_equal(pixels[::2], pixels[1::2]) and np.array_equal(pixels[:, ::2], pixels[:, 1::2])


def test_a_result_as_large_as_a_photo_is_reduced_and_its_details_are_not() -> None:
    result = replace(stylization(448, 640), image=picture(0, 1500, 4200))
    page = overview(result, "title")
    pixels = to_pixels(result.image).reshape(375, 4, 1050, 4, 3).mean((1, 3))
    assert np.abs(shown(page, "result, 1/4 as large") - pixels).max() < 1
    assert max(page.canvas.get_width_height()) < 1050 + 4 * 300
    first, _ = details_of(result)
    assert [name for name, _ in first] == ["reference 2", "result"]  # the content has another size
    x, y = deepest_point(result.content_labels, 1, (1500, 4200))  # type: ignore[arg-type]
    top, left = place_of(first[1][1], to_pixels(result.image))
    assert (top, left) == (round(y - 114), round(x - 114))


@pytest.mark.parametrize(
    ("side", "seen"),
    [(1024, "result"), (1200, "result"), (1201, "result, 1/2 as large"), (256, "result, 2 times as large")],
)
def test_a_result_a_little_too_large_is_not_shown_smaller_than_a_small_one(side: int, seen: str) -> None:
    page = overview(replace(stylization(448, 640), image=picture(0, 64, side)), "title")
    assert shown(page, seen).shape[1] == {1201: 601, 256: 512}.get(side, side)


def test_dollars_of_a_title_are_dollars() -> None:
    page = overview(stylization(448, 640), "price_$5_or_$6")
    FigureCanvasAgg(page).draw()
    assert page.get_suptitle().startswith("price_$5_or_$6  ·  ")


@pytest.mark.parametrize("title", ["short", "a rather long name of a picture, " * 8, "W" * 255])
def test_a_long_title_ends_before_the_page_does(title: str) -> None:
    page = overview(stylization(448, 640), title)
    canvas = FigureCanvasAgg(page)
    canvas.draw()
    (line,) = [text for text in page.texts if text.get_text().startswith(title[:5])]
    left, right = line.get_window_extent().intervalx
    assert left >= 0 and right <= canvas.get_width_height()[0]
    assert line.get_text().startswith(title) == (title == "short") and "“j → i”" in line.get_text()


def test_details_are_the_same_place_of_content_and_result_and_the_matched_region() -> None:
    result = stylization(448, 640)
    first, second = details_of(result)
    assert [name for name, _ in first] == ["content", "reference 2", "result"]
    assert [name for name, _ in second] == ["content", "reference 1", "result"]
    x, y = deepest_point(result.reference_labels[0], 2, (320, 320))
    top = round(min(max(0, y - 114), 320 - 228))
    rows, columns = slice(top, top + 228), slice(320 - 228, 320)  # the region lies at the right edge
    assert x > 320 - 114
    for number, ((_, content), (_, reference), (_, stylised)) in ((2, first), (1, second)):
        assert np.array_equal(reference, to_pixels(result.references[number - 1])[rows, columns])
        top, left = place_of(content, to_pixels(result.content))
        assert np.array_equal(stylised, to_pixels(result.image)[top : top + 228, left : left + 228])
    highest, lowest = (place_of(row[0][1], to_pixels(result.content))[0] for row in (first, second))
    assert highest < lowest == 448 - 228  # the third content region is the bottom row of cells


def place_of(part: np.ndarray, whole: np.ndarray) -> tuple[int, int]:
    """Row and column of the only place where a part lies in the whole."""
    height, width = part.shape[:2]
    corners = np.argwhere((whole == part[0, 0]).all(-1)).tolist()
    (place,) = [(y, x) for y, x in corners if np.array_equal(whole[y : y + height, x : x + width], part)]
    return place


def test_a_method_without_matches_shows_the_middles() -> None:
    plain = Stylization(image=picture(0, 64, 400), content=picture(1, 64, 400), references=[picture(2, 320, 320)])
    ((_, content), (_, reference), (_, result)), *others = details_of(plain)
    assert not others
    assert np.array_equal(result, to_pixels(plain.image)[:, 86:314])
    assert np.array_equal(content, to_pixels(plain.content)[:, 86:314])
    assert np.array_equal(reference, to_pixels(plain.references[0])[46:274, 46:274])
    overview(plain, "no regions")
