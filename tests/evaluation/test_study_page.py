"""The page of a study in headless Chromium: answered by keys and clicks, on a desktop and at the width of a phone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from voting import ballot, paint_run

from evaluation.study.__main__ import main
from evaluation.study.design import Question
from evaluation.study.files import Study, read_study

LEFT, RIGHT, BACKSPACE, ENTER = "\ue012", "\ue014", "\ue003", "\ue007"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = paint_run(tmp_path_factory.mktemp("study") / "run", contents=2)
    sizes = ["--items", "4", "--questions", "3", "--checks", "1", "--plans", "3"]
    main(["export", str(out), "--annotator", "stylegallery", *sizes])
    return out / "study"


class Page:
    """The page as a participant uses it."""

    def __init__(self, browser: Any, folder: Path, plan: int) -> None:
        self.browser, self.folder, self.plan, self.study = browser, folder, plan, read_study(folder)
        self.open()

    def open(self, end: str | None = None) -> None:
        """end: of the address, the number of the plan unless given."""
        self.browser.get("about:blank")  # or else a page at #1 would not be read again
        self.browser.get((self.folder / "study.html").as_uri() + (f"#{self.plan + 1}" if end is None else end))

    def begin(self) -> str:
        return str(self.one("#begin").text)

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def wait(self, test: Callable[[], object]) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 20, 0.05).until(lambda _: test())

    def press(self, key: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(key).perform()

    def main(self) -> str:
        return str(next(main.get_attribute("id") for main in self.all("main") if main.is_displayed()))

    def answer(self, place: int, choice: Callable[[Question], bool], by_key: bool) -> None:
        """Answer the question at a place of the plan, which must be the one that is shown."""
        shown = self.study.plans[self.plan][place]
        if self.main() != "question":
            self.press(ENTER)  # the button that goes on has the focus
        question = self.study.questions[shown.question]
        self.wait(lambda: self.one("#place").text == f"{place + 1} of 8" and not self.all("#stage.loading"))
        assert self.one("#question").get_attribute("class") == question.kind
        left = choice(question) != shown.flipped
        before = self.browser.execute_script("return ballot.answers.length")

        def answered() -> bool:
            if by_key:
                self.press(LEFT if left else RIGHT)
            else:
                self.one("#left" if left else "#right").click()
            return int(self.browser.execute_script("return ballot.answers.length")) > before

        self.wait(answered)  # what comes within the first look does not count


@pytest.fixture
def page(browser: Any, folder: Path, tmp_path: Path) -> Iterator[Page]:
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    opened = Page(browser, folder, plan=1)
    browser.execute_script("localStorage.clear()")
    opened.open()
    yield opened
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.get_log("browser") == []
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {entry["params"]["request"]["url"] for entry in requests if entry["method"] == "Network.requestWillBeSent"}
    assert not [url for url in urls if not url.startswith(("file://", "data:", "about:", "blob:"))]


def first_of(question: Question) -> bool:
    return question.check or question.first == "bright"


def answers_of(study: Study, found: dict[str, Any]) -> dict[str, Any]:
    """A ballot as `voting.ballot` makes it, without what differs from person to person."""
    assert all(0.3 <= answer["seconds"] < 60 for answer in found["answers"])
    return found | {"participant": "", "answers": [answer["chose"] for answer in found["answers"]]}


@pytest.mark.slow
def test_answers_are_saved_as_import_reads_them(page: Page, tmp_path: Path) -> None:
    """By keys and clicks in turn, once taken back, and gone on with after the page was closed."""
    page.press(ENTER)
    assert page.main() == "intro-style"  # the second plan begins with style
    page.answer(0, lambda question: not first_of(question), by_key=True)
    page.wait(lambda: page.one("#place").text == "2 of 8")
    page.press(BACKSPACE)
    for place in range(3):
        page.answer(place, first_of, by_key=place % 2 == 0)
    page.open()
    assert "question 4" in page.one("#begin").text
    page.press(ENTER)
    for place in range(3, 8):
        page.answer(place, first_of, by_key=place % 2 == 0)
    assert page.main() == "end"
    page.one("#save").click()
    page.wait(lambda: list(tmp_path.glob("answers_*.json")))
    (path,) = tmp_path.glob("answers_*.json")
    found = json.loads(path.read_text())
    assert answers_of(page.study, found) == answers_of(page.study, ballot(page.study, 1, first_of))
    assert path.name == f"answers_{found['participant']}.json"
    main(["import", str(page.folder), str(path)])
    assert "1 participants; none answered a check wrongly" in (page.folder / "results.md").read_text()


@pytest.mark.slow
def test_every_number_keeps_its_answers(page: Page) -> None:
    """Of three plans #5 is the second again, for another participant; without a number the page goes on with the
    last."""
    page.open("#5")
    page.press(ENTER)
    assert page.main() == "intro-style"
    page.answer(0, first_of, by_key=True)
    page.wait(lambda: page.one("#place").text == "2 of 8")
    page.answer(1, first_of, by_key=True)
    for end, begins in (("#5", "Go on at question 3"), ("", "Go on at question 3"), ("#2", "Begin"), ("#0", "Begin")):
        page.open(end)
        assert page.begin() == begins
    page.press(ENTER)
    page.wait(lambda: page.main() == "intro-content")  # #0 is the third
    page.browser.execute_script("ballot.answers.push({chose: 'left', seconds: 1}); remember(); location.hash = '#5'")
    page.wait(lambda: page.main() == "start" and page.begin() == "Go on at question 3")
    page.open("#nobody")
    assert page.begin() == "Go on at question 2"  # those of #0


@pytest.mark.slow
def test_who_begins_anew_takes_the_place_of_nobody_else(page: Page) -> None:
    """Answers of all three numbers, of which the last are given up."""
    fill = "number = arguments[0]; ballot = newcomer(); ballot.answers = Array(8).fill({chose: 'left', seconds: 1});"
    for number in (1, 2, 3):
        page.browser.execute_script(f"{fill} remember()", number)
    page.open("")
    assert page.main() == "end"
    page.browser.execute_script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.one("#again").click()
    assert page.begin() == "Begin"
    kept = page.browser.execute_script("return [1, 2, 3].map((number) => kept(store(number))?.answers.length ?? null)")
    number = page.browser.execute_script("return number")
    assert kept[:2] == [8, 8] and number > 2 and kept[2] == (0 if number == 3 else None)


@pytest.mark.slow
def test_parts_are_shown_one_by_one(page: Page) -> None:
    page.press(ENTER)
    page.press(ENTER)
    page.wait(lambda: page.main() == "question" and not page.all("#stage.loading"))
    assert [chip.text for chip in page.all("#chips button")] == ["all", "1", "2", "3", "4"]
    assert len(page.all("#shown figure:first-child .line")) == 4 and not page.all(".choice .line")
    page.press("2")
    for frame in page.all("#shown figure:first-child, .choice"):
        assert len(frame.find_elements("css selector", ".line")) == 1
        assert frame.find_elements("css selector", ".veil")
    assert sum(number.text == "2" for number in page.all("#shown .number")) == 2  # in the original and a painting
    page.all("#chips button")[0].click()
    assert not page.all(".choice .line")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_both_pictures_without_scrolling_sideways(page: Page, scheme: str) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    paper = page.browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(", "))) > 382) == (scheme == "light")
    page.press(ENTER)
    page.press(ENTER)
    page.wait(lambda: page.main() == "question" and not page.all("#stage.loading"))
    inside = page.browser.execute_script(
        "const boxes = [...document.querySelectorAll('.choice')].map((one) => one.getBoundingClientRect());"
        "return [document.documentElement.scrollWidth, ...boxes.flatMap((box) => [box.left, box.right, box.bottom])]"
    )
    assert inside[0] <= 390 and min(inside[1::3]) >= 0 and max(inside[2::3]) <= 390 and max(inside[3::3]) <= 844
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
