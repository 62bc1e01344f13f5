"""Scores by groups, cost against quality and the gallery: numbers, figures and cards from hand-made records."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import paint
from made_sweeps import CALIBRATION, REGIONAL, STEP, STRUCTURE, STYLE, Maker, N, listed
from PIL import Image

from evaluation.publish.__main__ import main, publish
from evaluation.publish.cost_quality import front_shares, unbeaten
from evaluation.publish.gallery import APART, BOX, GAP, MOST, SIDE, Shown, card, choose, layout
from evaluation.publish.groups import COLUMNS, grouped, groups_page
from evaluation.publish.groups import panels as group_panels
from evaluation.publish.headlines import HEADLINES, headlines
from evaluation.publish.studies import find_studies, read_sweep
from evaluation.registry import metric_info
from evaluation.report_pictures import COLOURS, UNTAKEN
from evaluation.statistics import FEWEST, estimate
from harness.experiment_files import read_experiments
from harness.folder import RunFolder
from stylegallery.contract import Item, Match
from stylegallery.provenance import file_digest
from stylegallery.region_pictures import write_indexed_png

TEXTURE = "regional_texture_independent"
CONTENTS = 12


# --- by number of references and by family ---


def study_of(score: Callable[[int, int, str, str], float], metric: str, groups: tuple[str, ...]) -> Any:
    """12 contents with 1, 2 and 20 references of a family each, of two labels; score(content, count, family, label)."""
    rows, items = [], []
    for content in range(CONTENTS):
        for count, family in ((1, "Cubism"), (2, "Sketch"), (20, "Sketch")):
            item = f"{content:04}__{family}__{count}"
            items.append(Item(item, Path("c.png"), tuple(Path(family) / f"{one}.png" for one in range(count))))
            for label in ("identity", "stylegallery", "styleid"):
                value = score(content, count, family, label)
                rows.append((label, item, str(content), metric, value, 1, None))
    table = pd.DataFrame(rows, columns=["label", "item", "content", "metric", "value", "version", "reason"])
    experiment = SimpleNamespace(name="e", groups=groups, against="stylegallery", reproduces="E")
    results = SimpleNamespace(items=table, contents=lambda: table.groupby("item")["content"].first())
    ran = ["stylegallery", "styleid", "identity"]
    return SimpleNamespace(experiment=experiment, results=results, planned=lambda: items, ran=ran, manifest="m")


def found(table: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    (row,) = (row for _, row in table.iterrows())
    return row


def test_groups_are_means_over_their_items_with_the_interval_of_the_tables() -> None:
    noise = np.random.default_rng(0).normal(size=(CONTENTS, 30))
    study = study_of(lambda c, n, f, label: n + noise[c, n] * (label == "styleid"), STYLE, ("references", "family"))
    table = grouped(study)
    row = found(table, by="references", group=2, label="styleid", quantity="score")
    expected = estimate(2 + noise[:, 2], np.arange(CONTENTS))
    assert [row["value"], row["low"], row["high"]] == pytest.approx([expected.mean, expected.low, expected.high])
    assert (row["n"], row["contents"]) == (CONTENTS, CONTENTS)
    family = found(table, by="family", group="Sketch", label="stylegallery", quantity="score")
    assert (family["value"], family["n"], family["contents"]) == (11, 2 * CONTENTS, CONTENTS)
    assert list(table.columns) == COLUMNS and set(table["group"]) == {1, 2, 20, "20 − 1", "Cubism", "Sketch"}


@pytest.mark.parametrize(("metric", "sign"), [(STYLE, 1), (TEXTURE, -1)])
def test_a_gain_is_how_much_better_than_the_photo_on_the_same_items(metric: str, sign: int) -> None:
    """The photo itself is nearer to more references, by more than the method gains."""
    gains = {"stylegallery": 0.3, "styleid": 0.1, "identity": 0.0}
    study = study_of(
        lambda c, n, f, label: sign * (c + n + gains[label] * (2 if n == 20 else 1)), metric, ("references",)
    )
    table = grouped(study)
    own = table[(table["quantity"] == "gain over the photo") & (table["label"] == "stylegallery")]
    assert own.set_index("group")["value"].to_dict() == pytest.approx({1: 0.3, 2: 0.3, 20: 0.6, "20 − 1": 0.3})
    assert set(table["label"][table["quantity"] == "gain over the photo"]) == {"stylegallery", "styleid"}
    marked = table[table["mark"] == "best"]
    assert set(marked["label"]) == {"stylegallery"} and "20 − 1" not in set(marked["group"])


def test_the_change_from_fewest_to_most_is_paired_by_content() -> None:
    """Contents differ by tens, the change by hundredths: unpaired, it would drown."""
    noise = np.random.default_rng(1).normal(size=CONTENTS) / 100
    study = study_of(lambda c, n, f, label: 10 * c + (n == 20) * (1 + noise[c]), STRUCTURE, ("references",))
    table = grouped(study)
    row, expected = found(table, group="20 − 1", label="styleid"), estimate(1 + noise, np.arange(CONTENTS))
    assert [row["value"], row["low"], row["high"]] == pytest.approx([expected.mean, expected.low, expected.high])
    assert set(table["quantity"]) == {"score"}  # the photo has all of its structure


def test_few_contents_have_neither_interval_nor_mark_and_mixed_references_no_family() -> None:
    study = study_of(lambda c, n, f, label: c + len(label), STYLE, ("family",))
    few = study.results.items[study.results.items["content"].astype(int) < FEWEST - 1]
    study.results = SimpleNamespace(items=few, contents=lambda: few.groupby("item")["content"].first())
    mixed = [Item(one.id, one.content, (*one.references, Path("Print/1.png"))) for one in study.planned()[:3]]
    study.planned = lambda items=study.planned(): [*mixed, *items[3:]]
    table = grouped(study)
    assert len(table) and table[["low", "high", "mark"]].isna().all().all()
    assert found(table, group="Cubism", label="styleid", quantity="score")["contents"] == FEWEST - 2


def test_groups_count_the_items_that_all_methods_have() -> None:
    study = study_of(lambda c, n, f, label: c, STYLE, ("references",))
    items = study.results.items
    items.loc[(items["label"] == "styleid") & (items["item"] == "0003__Cubism__1"), "value"] = np.nan
    table = grouped(study)
    assert set(table["n"][table["group"] == 1]) == {CONTENTS - 1} and set(table["n"][table["group"] == 2]) == {CONTENTS}


def test_more_methods_than_can_be_told_apart_have_no_figure() -> None:
    study = study_of(lambda c, n, f, label: c, STYLE, ("references",))
    parts, groups = group_panels(study, grouped(study))
    assert groups == ["1", "2", "20"] and len(parts) == 1 and parts[0].photo == 0
    assert [(mark.name, mark.x) for mark in parts[0].marks if mark.name == "styleid"] == [
        ("styleid", x) for x in range(3)
    ]
    study.ran += [f"other{number}" for number in range(5)]
    table = pd.concat([grouped(study), *(grouped(study).assign(label=label) for label in study.ran[3:])])
    assert group_panels(study, table) == ([], [])


def test_headlines_are_the_best_metrics_that_were_measured() -> None:
    scores = pd.DataFrame({"metric": [STRUCTURE, "lpips_alex", REGIONAL], "value": [0.1, np.nan, 0.5]})
    assert headlines(scores) == {"structure": STRUCTURE, "regional style": REGIONAL}
    assert all(metric_info(metric).kind for metrics in HEADLINES.values() for metric in metrics)


# --- cost against quality ---


def test_the_front_is_what_nothing_beats_in_both() -> None:
    costs, gains = np.array([1.0, 2, 3, 3, 2, 1]), np.array([1.0, 2, 1.5, 3, 2, 0])
    assert unbeaten(costs, gains).tolist() == [True, True, False, True, True, False]  # equals do not beat each other
    rng = np.random.default_rng(0)
    costs, gains = rng.integers(0, 6, (2, 40)).astype(float)
    slow = [
        not any(c <= cost and g >= gain and (c < cost or g > gain) for c, g in zip(costs, gains, strict=True))
        for cost, gain in zip(costs, gains, strict=True)
    ]
    assert unbeaten(costs, gains).tolist() == slow
    assert unbeaten(np.exp(costs), 3 * gains - 1).tolist() == slow  # orders decide


def test_shares_of_the_front_say_what_contents_decide() -> None:
    """Of three equally fast methods one is best on every content, one on half of them by as much as it loses."""
    contents = np.repeat(np.arange(CONTENTS), 2)
    turn = np.where(contents % 2, 1.0, -1.0)
    gains = np.stack([0 * turn, turn, 0 * turn - 9], axis=1)
    shares = front_shares(np.ones((len(contents), 3)), gains, contents)
    assert shares[0] == pytest.approx(0.6, abs=0.08) and shares[1] == pytest.approx(
        0.6, abs=0.08
    )  # ties count for both
    assert shares[2] == 0 and np.array_equal(shares, front_shares(np.ones((len(contents), 3)), gains, contents))
    shifted = front_shares(np.ones((len(contents), 3)), gains[:, ::-1], contents)
    assert shifted.tolist() == shares[::-1].tolist()
    few = contents < FEWEST - 1
    assert np.isnan(front_shares(np.ones((few.sum(), 3)), gains[few], contents[few])).all()


def quality(base: float, texture: float) -> dict[str, list[float]]:
    return {STYLE: [0.5] * N, REGIONAL: listed(base + STEP), TEXTURE: listed(texture + STEP)}


@pytest.fixture
def costly(make: Maker) -> Path:
    """stylegallery is best and slow, its fast setting good and fast, styleid slow and bad."""
    scores: dict[str, Any] = {
        "stylegallery": quality(0.8, 1.0), "stylegallery@75x1": quality(0.7, 2.0), "styleid": quality(0.4, 3.0),
    }  # fmt: skip
    out = make.sweep("costly", "stylegallery60", scores)
    for label in CALIBRATION:
        for path in (out / "cells" / label).glob("*/scores.json"):
            found = json.loads(path.read_text())
            found["metrics"][TEXTURE] = {"value": 4.0, "version": 1, "reason": None, "annotation": "d"}
            path.write_text(json.dumps(found))
    for label, seconds in {"stylegallery": 20.0, "stylegallery@75x1": 5.0, "styleid": 30.0}.items():
        for path in (out / "cells" / label).glob("*/record.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": {"all": seconds}}))
    return out


@pytest.mark.slow
def test_runs_of_one_folder_are_compared_and_the_page_says_who_is_on_the_front(costly: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    publish([costly], docs, grids=0, side=64, machine="two cores")
    table = pd.read_csv(docs / "cost_quality.csv")
    assert set(table["experiments"]) == {"table1 acceleration"}
    style = table[table["quality"] == "regional style"].set_index("label")
    assert list(style.index) == ["stylegallery@75x1", "stylegallery", "styleid", "identity"]
    assert style["front"].tolist() == [True, True, False, False] and style["seconds"].tolist()[:3] == [5, 20, 30]
    assert style["front_share"].tolist()[:3] == [1, 1, 0]
    assert table[table["metric"] == TEXTURE].set_index("label")["front"].to_dict()["stylegallery"]
    text = (docs / "cost_quality.md").read_text()
    assert "| styleid | 30 [30, 30] | 0.4055 [0.4032, 0.4078] | 0% | 3.006 [3.003, 3.008] | 0% |" in text
    assert "| stylegallery@75x1 | 5 [5, 5] | 0.7055 [0.7032, 0.7078] | **yes** (100%) |" in text
    assert "| identity (calibration) | – | 0.3 [0.3, 0.3] |" in text and "Machine: two cores" in text
    for end in ("_dark.png", ".png", ".pdf"):
        assert f"cost_quality_table1_acceleration{end}" in text
        assert (docs / f"cost_quality_table1_acceleration{end}").stat().st_size > 1000
    links = (docs / "README.md").read_text()
    assert "[cost_quality.md](cost_quality.md)" in links and "[groups.md](groups.md)" in links
    groups = (docs / "groups.md").read_text()
    assert "## Table 1 by number of references" in groups and "## Table 1 by style family" in groups


# --- figures ---


@pytest.mark.slow
def test_names_cover_neither_points_nor_each_other() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation, Text

    from evaluation.publish.plots import DPI, POINT, name_points

    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.random((14, 2)) ** 3] + [(0.5, 0.5)] * 3
    names = [f"stylegallery@setting={number}" for number in range(len(points))]
    figure = Figure(figsize=(4, 3.7), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), "o")
    figure.draw_without_rendering()
    name_points(axes, points, names, ["black"] * len(points), [(points[0], (points[0][0], 1.0))])
    figure.canvas.draw()  # moves the names to their places
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert [text.get_text() for text in axes.texts if isinstance(text, Annotation)] != []
    for place, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:place]), names[place]
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        for x, y in axes.transData.transform(points):
            half = POINT * DPI / 72 / 2 - 1
            apart = x + half < box.x0 or x - half > box.x1 or y + half < box.y0 or y - half > box.y1
            assert apart, names[place]


@pytest.mark.slow
def test_a_figure_is_made_for_light_and_dark_pages_and_the_same_again() -> None:
    from evaluation.publish.panels import Mark, Panel
    from evaluation.publish.plots import drawn, front_figure

    marks = [Mark("a", 1, 0.5, 0.4, 0.6, True, True), Mark("b", 10, 0.4, np.nan, np.nan, False, False)]
    draw = front_figure([Panel("one", "a", True, marks, 0.3), Panel("two", "b", False, marks, None)], "seconds")
    files = drawn("figure", draw)
    assert set(files) == {"figure.png", "figure_dark.png", "figure.pdf"} and files == drawn("figure", draw)
    corners = [
        Image.open(io.BytesIO(files[f"figure{end}.png"])).convert("RGB").getpixel((0, 0)) for end in ("", "_dark")
    ]
    assert min(corners[0]) == 255 and max(corners[1]) < 40  # type: ignore[type-var]


# --- the gallery ---


def shown(study: Any, label: str = "stylegallery") -> set[str]:
    return set(study.sweep.records.done(label))


def studies(*outs: Path) -> list[Any]:
    return find_studies(read_experiments(), [read_sweep(out) for out in outs])


@pytest.mark.slow
def test_cards_are_chosen_in_turns_and_evenly_whatever_the_scores(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "content_of", lambda item: Maker.content_of(make, item[:4]))
    good, bad = {REGIONAL: listed(0.9 - STEP), STYLE: listed(STEP)}, {REGIONAL: listed(STEP), STYLE: listed(1 - STEP)}
    one, two = (
        [make.sweep(f"{name}{turn}", manifest, {"stylegallery": own, "global_style": own}) for name, manifest in names]
        for turn, (own, names) in enumerate(
            [(good, (("a", "stylegallery60"), ("b", "mixed60"))), (bad, (("a", "stylegallery60"), ("b", "mixed60")))]
        )
    )
    chosen = choose(studies(*one), 6)
    assert Counter(card.study.manifest for card in chosen) == {"stylegallery60": 3, "mixed60": 3}
    assert set(Counter(card.item[:4] for card in chosen).values()) == {2}  # three photos
    assert [card.item for card in choose(studies(*two), 6)] == [card.item for card in chosen]
    assert len(choose(studies(*one), 1000)) == 2 * N and choose(studies(*one), 0) == []


@pytest.mark.parametrize(("pairs", "expected"), [(2, (222, 2)), (3, (222, 3)), (4, (165, 4)), (6, (146, 2))])
def test_tiles_are_as_large_as_fit(pairs: int, expected: tuple[int, int]) -> None:
    side, across, upright = layout(pairs)
    assert (side, across) == expected
    rows = -(-pairs // across)
    columns, rows = (across, 2 * rows) if upright else (2 * across, rows)
    assert columns * (side + GAP) <= BOX + GAP and rows * (side + GAP) <= SIDE + GAP and columns * rows >= 2 * pairs


def write_regions(make: Maker, out: Path, item: str, references: int, matches: list[Match]) -> Shown:
    """A result of two regions, left and right, and references of two, upper and lower."""
    folder = RunFolder(out).result("stylegallery", item)
    halves = np.repeat([[1, 2]], 8, axis=0).repeat(4, axis=1)
    write_indexed_png(folder.regions("content"), halves, (64, 64))
    record = json.loads(folder.record.read_text())
    for number in range(1, references + 1):
        path = paint(make.root / "styles" / f"{number}.png", 10 + number) if number > 1 else make.reference
        record["inputs"][f"reference {number}"] = {"path": str(path), "sha256": file_digest(path)}
        write_indexed_png(folder.regions(f"reference_{number}"), halves.T, (64, 64))
    folder.record.write_text(json.dumps(record))
    folder.matches.write_text(json.dumps([asdict(match) for match in matches]))
    (study,) = studies(out)
    return Shown(study, item, study.sweep.records.done("stylegallery")[item])


def match(content: int, reference: int, region: int) -> Match:
    return Match(content, reference, region, 1.0, 0.0, 0.0, 0.0, False)


def near(colour: tuple[int, ...], tint: np.ndarray | tuple[int, ...]) -> bool:
    """Whether a pixel under a tint has its hue: what it has more of, the pixel has more of."""
    pixel, wanted = np.array(colour[:3], float), np.array(tint, float)
    return bool(np.abs((pixel - pixel.mean()) - 0.55 * (wanted - wanted.mean())).max() < 60)


@pytest.fixture
def single(make: Maker) -> Path:
    (make.root / "styles").mkdir()
    return make.sweep(
        "single", "stylegallery60", {"stylegallery": {STYLE: [0.5] * N, REGIONAL: [0.5] * N}, "styleid": {}}
    )


def test_regions_of_references_have_the_colour_of_the_region_that_takes_them(make: Maker, single: Path) -> None:
    item = "0001__ChineseStyle__1__a"
    data = card(write_regions(make, single, item, 3, [match(1, 3, 2), match(2, 1, 1)]))
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGBA")
    assert picture.size == (SIDE + APART + BOX, SIDE) and len(data) < 150_000
    side, across, upright = layout(3)  # the content and two of three references
    assert upright and across == 3
    assert picture.getpixel((SIDE + APART // 2, 5))[3] == 0  # type: ignore[index]

    def pixel(column: int, x: float, y: float) -> Any:
        left = SIDE + APART + column * (side + GAP)
        return picture.getpixel((int(left + x * side), int((side + GAP) + y * side)))

    assert near(pixel(0, 0.2, 0.15), COLOURS[0]) and near(pixel(0, 0.8, 0.15), COLOURS[1])
    assert near(pixel(1, 0.2, 0.15), COLOURS[1]) and near(pixel(1, 0.2, 0.85), UNTAKEN)  # reference 1
    assert near(pixel(2, 0.2, 0.85), COLOURS[0]) and near(pixel(2, 0.2, 0.15), UNTAKEN)  # reference 3
    assert not near(pixel(0, 0.2, 0.15), COLOURS[1])


def test_of_many_references_those_that_give_most_are_shown(make: Maker, single: Path) -> None:
    from evaluation.publish.gallery import pairs_of

    one = write_regions(make, single, "0001__ChineseStyle__1__a", 8, [match(1, 8, 2), match(2, 8, 1)])
    assert [pair.picture.name for pair in pairs_of(one)[1:]] == ["8.png"]
    one.folder.matches.write_text(json.dumps([asdict(match(1, 9, 1)), asdict(match(2, 300, 1))]))  # there are eight
    assert len(pairs_of(one)) == 1 + MOST
    one.folder.matches.write_text("damaged")
    one.folder.regions("content").write_text("damaged")
    assert len(card(one)) > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_gallery_page_says_its_rule_and_compares_its_items_with_all(
    make: Maker, single: Path, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    for path in (single / "cells" / "stylegallery").glob("*/scores.json"):
        found = json.loads(path.read_text())
        found["metrics"][REGIONAL]["value"] = 0.25 if "Cyberpunk" in str(path) else 0.5
        path.write_text(json.dumps(found))
    publish([single], docs, grids=0, side=64, machine="", gallery=4)
    text = (docs / "gallery.md").read_text()
    cards = sorted(path.stem.removeprefix("stylegallery60__") for path in (docs / "gallery").iterdir())
    assert len(cards) == 4 and all(f"![{item}](gallery/stylegallery60__{item}.webp)" in text for item in cards)
    assert "Chosen by a rule that knows no score" in text and "SHA-256 of seed 0" in text
    own = np.mean([0.25 if "Cyberpunk" in item else 0.5 for item in cards])
    assert f"stylegallery60: 4 of {N} results, mean" in text and f"regional style ↑ {own:.4g} of these and" in text
    (docs / "gallery" / "mine.webp").write_text("mine")
    publish([single], docs, grids=0, side=64, machine="", gallery=2)
    assert len(list((docs / "gallery").iterdir())) == 3  # two cards, and a picture that no page names


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_gallery_may_be_of_other_folders_than_the_tables(
    make: Maker, single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with nothing but StyleGallery's results has no table, and can be shown."""
    docs = tmp_path / "docs"
    larger = make.sweep("larger", "mixed60", {"stylegallery": {STYLE: [0.5] * N}})

    def published(*arguments: object) -> int:
        return main([str(single), "--docs", str(docs), "--grids", "0", *map(str, arguments)])

    assert published("--gallery", 3, "--gallery-of", larger) == 0
    text = (docs / "gallery.md").read_text()
    assert f"mixed60: 3 of {N} results" in text and "stylegallery60" not in text and f"score {larger}" in text
    assert f"--gallery-of {larger}" in (docs / "README.md").read_text()
    assert published("--gallery", 0) == 0 and "gallery.md" not in (docs / "README.md").read_text()
    capsys.readouterr()
    other = make.sweep("other", "mixed60", {"global_style": {STYLE: [0.5] * N}})
    twin = make.sweep("twin", "mixed60", {"stylegallery": {STYLE: [0.5] * N}})
    for arguments, sentence in (
        (("--gallery-of", other), f"{other}: has no results of stylegallery on a benchmark"),
        (("--gallery-of", larger, "--gallery-of", twin), f"{larger} and {twin} are both of mixed60; pass one"),
        (("--gallery-of", larger, "--without", "stylegallery"), f"{larger}: has no results of stylegallery"),
        (("--gallery-of", larger, "--gallery", 0), "--gallery is at least 1 with --gallery-of"),
    ):
        with pytest.raises(SystemExit, match="2"):
            published(*arguments)
        assert sentence in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_an_item_of_two_benchmarks_has_a_card_of_each(make: Maker, single: Path, tmp_path: Path) -> None:
    subset = make.sweep("all", "stylegallery", {"stylegallery": {STYLE: [0.5] * N}, "global_style": {}})
    publish([single], tmp_path, grids=0, side=64, machine="", gallery=1000, gallery_of=[single, subset])
    cards = re.findall(r"!\[\S+\]\((\S+)\)", (tmp_path / "gallery.md").read_text())
    assert len(cards) == len(set(cards)) == 2 * N and all((tmp_path / card).is_file() for card in cards)


def test_the_page_of_groups_names_methods_groups_and_numbers() -> None:
    study = study_of(lambda c, n, f, label: n + len(label), STYLE, ("references", "family"))
    study.sweep = SimpleNamespace(
        records=SimpleNamespace(labels=[], done=lambda label: {}), results=SimpleNamespace(models={}),
    )  # fmt: skip
    text = groups_page([study], grouped(study), {"e": "FIGURE"})
    assert "|  | 1 (N=12) | 2 (N=12) | 20 (N=12) | 20 − 1 |" in text and "FIGURE" in text
    assert "| **13 [13, 13]** |" in text and "| Sketch (N=24) |" in text
