"""The report page: what it holds, and, in headless Chromium, that it works from file:// without a console message."""

import base64
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import paint, result_record
from PIL import Image
from test_startup import MODELS, imported

from evaluation import report
from evaluation.annotation_files import annotation_digest, write_annotation
from evaluation.metric import Annotation
from evaluation.registry import metric_info
from evaluation.reported import read_reported
from evaluation.results import read_results
from evaluation.table_notes import above
from evaluation.table_page import number
from evaluation.tables import build
from harness.folder import RunFolder
from harness.record import Input, Request
from stylegallery.contract import Match
from stylegallery.environment import LIBRARIES

HOSTILE_ITEM = "0009__a@b=c+d,e.f__1__a"
HOSTILE_LABEL = "__proto__"
HOSTILE_ERROR = "</script><script>window.hacked = 1</script><b>out of memory</b>"
METRICS = {"lpips_alex": (0.2, 0.7), "structure_efficientnet": (0.02, 0.09), "gram_efficientnet": (0.5, 1.5),
           "regional_style_efficientnet": (0.4, 0.9)}  # fmt: skip
MISSING = "missing: python -m stylegallery.weights fetch csd"


def request_of(item: str, content: Path, references: list[Path], path: str = "embedded") -> Request:
    roles = {"content": content} | {f"reference {number}": path for number, path in enumerate(references, 1)}
    inputs = {
        role: Input(str(path), hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "0")
        for role, path in roles.items()
    }
    config = {"_target_": "stylegallery.pipeline.StyleGallery", "model": {"path": path}}
    return Request(item, 7, config, inputs, {}, {"model.path": "d"}, "code")


def write_cell(folder: Path, request: Request, picture: Path, scores: dict[str, float | None] | None) -> None:
    """A cell as run.py and evaluation.score leave it; a score of None is missing its weights."""
    folder.mkdir(parents=True)
    shutil.copyfile(picture, folder / "stylised.png")
    record = result_record(
        folder, digest=request.digest(), **asdict(request), seconds={"regions": 1.25, "guidance": 2.5},
        peak_memory_mib=812.4, environment=dict.fromkeys(LIBRARIES, "1"),
    )  # fmt: skip
    if scores is not None:
        metrics = {
            name: {
                "value": value,
                "version": metric_info(name).version,
                "reason": None if value is not None else MISSING,
            }
            | {"annotation": annotation_digest(RunFolder(folder.parents[2]).annotation("stylegallery", folder.name))}
            for name, value in scores.items()
        }
        about = {"pictures": record.depends_on(folder), "size": None}
        (folder / "scores.json").write_text(json.dumps({"metrics": metrics, **about}))


def write_failed(folder: Path, request: Request, error: str) -> None:
    folder.mkdir(parents=True)
    result_record(folder, digest=request.digest(), **asdict(request), error=error)


def annotate(out: Path, request: Request, references: int, size: int = 16) -> None:
    """Four regions of the content as quarters, references split into halves."""
    quarters = torch.ones(size, size, dtype=torch.int64)
    quarters[:, size // 2 :] += 1
    quarters[size // 2 :] += 2
    halves = torch.ones(size, size, dtype=torch.int64)
    halves[size // 3 :] = 2
    matches = [
        Match(region, 1 + (region - 1) % references, 1 + region % 2, 0.5 + region / 10, 0.4, 0.9, 0.3, region == 4)
        for region in range(1, 5)
    ]
    write_annotation(
        RunFolder(out).annotation("stylegallery", request.item),
        Annotation(quarters, [halves] * references, matches),
        request,
    )


@pytest.fixture(scope="module")
def few_contents() -> Iterator[None]:
    """Intervals of three contents already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluation.statistics.FEWEST", 3)
        yield


@pytest.fixture(scope="module")
def results(few_contents: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten items; stylegallery is best on structure, `attention` on odd items; __proto__ failed once; the last item
    has a hostile name, no annotation, and a reference that is gone."""
    root = tmp_path_factory.mktemp("report")
    out, pictures = root / "run <b>1", root / "pictures"
    for family in ("Monet", "Cubism"):
        (pictures / family).mkdir(parents=True)
    contents = [paint(pictures / f"content{n}.png", n, (96, 64)) for n in range(3)]
    styles = {
        family: [paint(pictures / family / f"{family}{n}.png", 10 + n) for n in range(5)]
        for family in ("Monet", "Cubism")
    }
    outputs = [paint(pictures / f"output{n}.png", 20 + n) for n in range(4)]
    rng = np.random.default_rng(0)
    ids = [f"{n:04d}__{'Monet' if n % 2 else 'Cubism'}__{1 + n % 5}__a" for n in range(9)] + [HOSTILE_ITEM]
    for label in ("stylegallery", "attention", HOSTILE_LABEL, "identity"):
        data = {"_target_": "data.benchmark.manifest_items", "manifest": "stylegallery", "files": "stylegallery"}
        frozen = {"label": label, "limit": None, "seed": 7, "data": data, "method": {}}
        (out / "config").mkdir(parents=True, exist_ok=True)
        (out / "config" / f"{label}.yaml").write_text(json.dumps(frozen))
    for n, item in enumerate(ids):
        references = styles["Monet" if n % 2 else "Cubism"][: 1 + n % 5]
        if item == HOSTILE_ITEM:
            references = [pictures / "Cubism" / "gone.png"]
        request = request_of(item, contents[n % 3], references)
        if item != HOSTILE_ITEM:
            annotate(out, request, len(references))
        for method, label in enumerate(("stylegallery", "attention", HOSTILE_LABEL, "identity")):
            folder = out / "cells" / label / item
            values: dict[str, float | None] = {name: float(rng.uniform(*bounds)) for name, bounds in METRICS.items()}
            values["lpips_alex"] = 0.0 if label == "identity" else 0.1 * (1 + method) + 0.01 * n
            if label == "attention" and n % 2:
                values["lpips_alex"] = 0.05
            values["csd"] = None
            if label == HOSTILE_LABEL and n == 2:
                write_failed(folder, request, HOSTILE_ERROR)
            else:
                write_cell(folder, request, outputs[method], None if label == HOSTILE_LABEL and n == 3 else values)
    report.main([str(out)])
    return out


def blocks_of(out: Path) -> dict[str, Any]:
    page = (out / "report.html").read_text()
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


# --- what the page holds ---


@pytest.mark.slow
def test_the_table_is_that_of_evaluation_tables(results: Path) -> None:
    data = blocks_of(results)["data"]
    names = [metric["name"] for metric in data["metrics"]]
    table = build(read_results(results))
    for row in data["rows"]:
        expected = table[(table["label"] == row["label"]) & (table["source"] == "ours")].set_index("metric")
        for metric, cell in zip(names, row["cells"], strict=True):
            if row["group"] != "paper" and cell["mean"] is not None:
                mark = expected["mark"][metric]
                assert (cell["mean"], cell["n"]) == (expected["value"][metric], expected["n"][metric])
                assert cell["text"] == number(cell["mean"])
                assert cell["mark"] == (mark if mark in ("best", "second") else None)
    groups = [row["group"] for row in data["rows"]]
    assert groups[:4] == ["method", "method", "method", "calibration"]
    assert groups.count("paper") == 15
    by_label = {row["label"]: row for row in data["rows"]}
    cell = by_label["stylegallery"]["cells"][names.index("lpips_alex")]
    assert cell["n"] == 8 and cell["low"] < cell["mean"] < cell["high"]  # items 2 and 3 are not common to all
    assert by_label["stylegallery"]["cells"][names.index("csd")]["reason"] == MISSING


@pytest.mark.slow
def test_scores_and_reasons_of_items(results: Path) -> None:
    data = blocks_of(results)["data"]
    labels = [method["label"] for method in data["methods"]]
    assert labels == [HOSTILE_LABEL, "attention", "stylegallery", "identity"]
    metric = [metric["name"] for metric in data["metrics"]].index("lpips_alex")
    scores = dict(zip(labels, data["scores"][metric], strict=True))
    assert scores["stylegallery"] == pytest.approx([0.1 + 0.01 * n for n in range(10)])
    assert data["reasons"][scores[HOSTILE_LABEL][2][0]] == f"failed: {HOSTILE_ERROR}"
    assert data["reasons"][scores[HOSTILE_LABEL][3][0]].startswith("not scored: python -m evaluation.score")


def test_pictures_fit_and_are_stored_once(results: Path) -> None:
    blocks = blocks_of(results)
    data = blocks["data"]
    used = {number for item in data["items"] for number in [item["content"], *item["references"]]}
    assert used == {int(name.split("-")[1]) for name in blocks if name.startswith("picture-")}
    assert len(used) == 3 + 5 + 4 + 1  # contents, Cubism, four of Monet, and the one that is gone
    for block in blocks.values():
        for picture in [block, *block.get("outputs", [])]:
            if "webp" in picture:
                with Image.open(io.BytesIO(base64.b64decode(picture["webp"]))) as image:
                    assert max(image.size) <= 320
    gone = blocks[f"picture-{data['items'][9]['references'][0]}"]
    assert "gone.png" in gone["reason"]


def test_a_changed_picture_is_not_shown_in_place_of_the_old(tmp_path: Path) -> None:
    path = paint(tmp_path / "a.png", 1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    shown = Image.open(io.BytesIO(base64.b64decode(report.thumbnail(path, 32, digest)["webp"])))
    assert shown.size == (32, 32)
    paint(path, 2)
    assert "changed" in report.thumbnail(path, 32, digest)["reason"]


def test_matched_regions_share_their_colour(results: Path) -> None:
    blocks = blocks_of(results)
    annotation = blocks["item-1"]["annotation"]  # two references: regions 1, 3 from the first, 2, 4 from the second
    maps = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")) for data in annotation["maps"]]
    content, first, second = maps
    assert (content[0, 0] == first[-1, 0]).all()  # region 1 takes region 2 of reference 1, below
    assert (content[0, -1] == second[0, 0]).all()
    assert (first[0, 0, :3] == 140).all()  # taken by nobody
    assert [match["share"] for match in annotation["matches"]] == [0.25] * 4
    x, y = annotation["matches"][0]["from"]
    assert x < 0.5 and y < 0.5
    assert "missing" in blocks["item-9"]["annotation"]["reason"]


def test_nothing_from_files_becomes_markup(results: Path) -> None:
    page = (results / "report.html").read_text()
    assert HOSTILE_ERROR not in page and "<img src=x" not in page and "<b>1" not in page
    assert page.count("<script>") == 1
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_a_page_of_the_user_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    page.write_text("<!doctype html>mine")
    with pytest.raises(SystemExit) as ended:
        report.main([str(tmp_path)])
    assert ended.value.code == 2
    assert f"{page} is not replaced, as report.html does not say that this command" in capsys.readouterr().err
    assert page.read_text() == "<!doctype html>mine"


@pytest.mark.slow
def test_the_same_records_give_the_same_page(results: Path) -> None:
    before = (results / "report.html").read_bytes()
    report.main([str(results)])
    assert (results / "report.html").read_bytes() == before


def test_the_embedded_model_is_named(results: Path) -> None:
    data = blocks_of(results)["data"]
    assert "must not be read as the paper's" in data["warning"]
    assert {row["model"] for row in data["rows"] if row["group"] != "paper"} == {"embedded"}
    reported = [cell for row in data["rows"] if row["group"] == "paper" for cell in row["cells"] if cell["mean"]]
    assert len(reported) == 10 * 5 + 5 * 3
    assert all(cell["difference"] is None for cell in reported)  # two models, no difference


def test_what_is_common_and_what_is_mixed_stands_above(results: Path) -> None:
    lines = blocks_of(results)["data"]["above"]
    assert lines == above(read_results(results)) and lines[0] == "Benchmark: stylegallery. Model: embedded."
    assert "items count, those that all labels with scores have: __proto__ has least (" in lines[1]


def test_differences_from_the_paper_are_shown_where_the_model_is_its_own(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = build(read_results(results))
    count = int(found[(found["source"] == "ours") & (found["metric"] == "lpips_alex")]["n"].iloc[0])
    for key, value in (("items", count), ("size", "64x64")):
        monkeypatch.setitem(read_reported()["benchmark"], key, value)
    models = {"stylegallery": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
    table = build(replace(read_results(results), models=models))
    metrics = sorted(set(table["metric"]))
    rows = report.table_rows(table, metrics, models)
    (paper,) = [row for row in rows if row["label"] == "StyleGallery"]
    cells = dict(zip(metrics, paper["cells"], strict=True))
    (ours,) = [row for row in rows if row["group"] == "method"]
    mean = ours["cells"][metrics.index("lpips_alex")]["mean"]
    assert cells["lpips_alex"]["difference"] == pytest.approx(mean - 0.3716)
    assert cells["lpips_alex"]["ours"] == f"ours {mean - 0.3716:+.4g}"
    assert cells["gram_efficientnet"]["otherScale"] and cells["gram_efficientnet"]["difference"] is None


@pytest.mark.slow
@pytest.mark.parametrize("module", ["evaluation.tables", "evaluation.report"])
def test_scores_and_annotations_are_read_without_libraries_of_models(
    results: Path, tmp_path: Path, module: str
) -> None:
    assert not imported("-m", module, str(shutil.copytree(results, tmp_path / "run"))) & MODELS


def test_a_folder_without_records_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main([str(tmp_path)])
    assert stop.value.code == 2
    assert "holds no records" in capsys.readouterr().err


# --- in a real browser ---


class Page:
    """The report as a reader uses it: controls are changed by the keyboard or a click, never by its scripts."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        found = self.all(selector)
        assert found, f"nothing is {selector}"
        return found[0]

    def click(self, selector: str) -> None:
        target = self.one(selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", target)
        target.click()

    def choose(self, selector: str, text: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(selector)).select_by_visible_text(text)

    def wait(self, test: Callable[[], object]) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 20).until(lambda _: test())

    def ids(self, box: str = "#items-box") -> list[str]:
        return [button.text for button in self.all(f"{box} tbody button")]

    def shown(self) -> list[str]:
        """The scores under the pictures of the column of stylegallery, top to bottom."""
        return [row.text for row in self.all("#items-box tbody tr > td:nth-of-type(5) .score")]


@pytest.fixture
def page(browser: Any, results: Path) -> Iterator[Page]:
    browser.get((results / "report.html").as_uri())
    opened = Page(browser)
    opened.wait(lambda: opened.all("#items-box td img"))
    yield opened
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {entry["params"]["request"]["url"] for entry in requests if entry["method"] == "Network.requestWillBeSent"}
    assert not [url for url in urls if not url.startswith(("file://", "data:"))]


@pytest.mark.slow
def test_sort(page: Page) -> None:
    assert page.ids() == sorted(page.ids())
    page.choose("#item-metric", "lpips_alex ↓")
    page.click('th[data-column="2"] button')  # stylegallery: 0.10, 0.11, ... in the order of the ids
    assert page.ids() == sorted(page.ids())
    assert page.one('th[data-column="2"]').get_attribute("aria-sort") == "ascending"
    page.one('th[data-column="2"] button').send_keys("\ue007")  # Enter
    assert page.ids() == sorted(page.ids(), reverse=True)
    page.wait(lambda: page.shown()[:1] == ["0.1900"])
    page.click('th[data-column="0"] button')  # __proto__ has none for items 2 and 3: they come last either way
    assert page.ids()[-2:] == ["0002__Cubism__3__a", "0003__Monet__4__a"]
    page.click('th[data-column="0"] button')
    assert page.ids()[-2:] == ["0002__Cubism__3__a", "0003__Monet__4__a"]
    page.click('th[data-column="references"] button')
    counts = [int(name.split("__")[2]) for name in page.ids()]
    assert counts == sorted(counts)


@pytest.mark.slow
def test_filter(page: Page) -> None:
    page.choose("#item-family", "Monet")
    assert [name.split("__")[1] for name in page.ids()] == ["Monet"] * 4
    page.choose("#item-count", "4")
    assert page.ids() == ["0003__Monet__4__a"]
    assert page.one("#item-number").text == "1 of 10 items"
    page.choose("#item-family", "all")
    page.choose("#item-count", "any number")
    page.one("#item-text").send_keys("GONE.png")
    assert page.ids() == [HOSTILE_ITEM]
    page.one("#item-text").clear()
    page.one("#item-text").send_keys("0002")
    page.choose("#item-results", "with failures")
    assert page.ids() == ["0002__Cubism__3__a"]
    assert HOSTILE_ERROR in page.one("#items-box td .placeholder").get_attribute("title")
    page.click("#item-methods summary")
    before = len(page.all("#items-box thead th"))
    page.click("#item-methods input")
    assert len(page.all("#items-box thead th")) == before - 1
    page.wait(lambda: not page.all("#items-box td .placeholder"))  # it was that of __proto__


@pytest.mark.slow
def test_open_an_item_and_walk_by_keyboard(page: Page) -> None:
    page.wait(lambda: len(page.ids()) == 10)
    page.one("#items-box tbody button").send_keys("\ue007")
    page.wait(lambda: page.one("#drill").is_displayed())
    assert page.one("#drill-title").text == "0000__Cubism__1__a"
    assert len(page.all("#drill svg.lines g[data-region]")) == 4
    assert len(page.all("#drill .outputs img")) == 4
    assert len(page.all("#drill img.regions")) == 2
    row = next(row for row in page.all("#drill .scroll tbody tr") if row.text.startswith("lpips_alex"))
    assert [cell.text for cell in row.find_elements("css selector", "td")] == ["0.3000", "0.2000", "0.1000", "0.0000"]
    assert [cell.text for cell in row.find_elements("css selector", "strong")] == ["0.1000"]  # not the calibration's
    assert "812 MiB" in page.one("#drill").text and "3.8" in page.one("#drill").text
    page.click("#drill-regions")
    assert not page.all("#drill svg.lines g[data-region]")
    page.one("#drill .close").send_keys("\ue014")  # arrow right
    assert page.one("#drill-title").text == "0001__Monet__2__a"
    page.click("#drill .step")
    assert page.one("#drill-title").text == "0000__Cubism__1__a"
    page.one("#drill .close").send_keys("\ue00c")  # Escape
    page.wait(lambda: not page.one("#drill").is_displayed())


@pytest.mark.slow
def test_an_item_with_everything_wrong_opens(page: Page) -> None:
    page.one("#item-text").send_keys("0009")
    page.click("#items-box tbody button")
    assert page.one("#drill-title").text == HOSTILE_ITEM
    text = page.one("#drill").text
    assert "No regions:" in text and "gone.png" in text


@pytest.mark.slow
def test_compare_two_methods(page: Page) -> None:
    page.choose("#compare-metric", "lpips_alex ↓")
    page.choose("#compare-a", "stylegallery")
    page.choose("#compare-b", "attention")
    # attention is 0.05 on the five odd items and 0.1 worse than stylegallery on the even ones
    assert "N = 10" in page.one("#compare-summary").text
    assert "stylegallery better on 5, attention better on 5" in page.one("#compare-summary").text
    page.choose("#compare-order", "B better first")
    odd = [HOSTILE_ITEM, *(f"000{n}__Monet__{1 + n % 5}__a" for n in (7, 5, 3, 1))]
    assert page.ids("#compare-box")[:5] == odd
    page.browser.execute_script("arguments[0].scrollIntoView()", page.one("#compare-box"))
    page.wait(lambda: page.all("#compare-box td.difference"))
    assert page.one("#compare-box td.difference").text == "+0.1400"
    page.choose("#compare-b", "__proto__")
    assert "N = 8" in page.one("#compare-summary").text


def test_table_and_scatter(page: Page) -> None:
    assert len(page.all("#results-box tbody.method tr")) == 3
    assert len(page.all("#results-box tbody.calibration tr")) == 1
    assert len(page.all("#results-box tbody.paper tr")) == 1 + 15  # a heading
    assert any(MISSING in dash.get_attribute("title") for dash in page.all("#results-box .missing"))
    assert [text.text for text in page.all("#scatter-figure .point text")] == [
        "__proto__", "attention", "stylegallery", "identity",
    ]  # fmt: skip
    assert len(page.all("#scatter-figure .point line")) == 8  # both intervals of each
    page.choose("#scatter-x", "gram_efficientnet ↓")
    page.click("#scatter-calibration")
    assert len(page.all("#scatter-figure .point")) == 3
    assert "gram_efficientnet" in page.one("#scatter-figure svg").get_attribute("aria-label")


def test_rows_out_of_sight_hold_no_pictures(page: Page) -> None:
    page.browser.set_window_size(1400, 500)
    page.wait(lambda: 0 < len(page.all("#items-box tbody td:first-of-type img")) < 10)
    page.browser.execute_script("arguments[0].scrollTop = 1e6", page.one("#items-box"))
    page.wait(lambda: page.all("#items-box tbody tr:last-child td img"))
    page.browser.set_window_size(1400, 1000)
