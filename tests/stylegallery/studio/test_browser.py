"""The studio in headless Chromium: the whole story, two visitors at once, the keyboard alone, the width of a phone."""

import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from serving import served

from stylegallery.studio.samples import samples
from stylegallery.studio.visits import Visits
from stylegallery.studio.workshop import Workshop

pytest.importorskip("gradio", reason="Gradio is not installed: pip install -e .[studio]")
pytestmark = pytest.mark.slow

STROKE = """
const surface = document.querySelector('[data-layer="0"] .surface'), box = surface.getBoundingClientRect();
surface.setPointerCapture = () => {};
const at = (kind, x, y) => surface.dispatchEvent(new PointerEvent(kind, {bubbles: true, pointerId: 1,
  clientX: box.left + x * box.width, clientY: box.top + y * box.height}));
at('pointerdown', 0.2, 0.3); at('pointermove', 0.5, 0.4); at('pointermove', 0.8, 0.3); at('pointerup', 0.8, 0.3);
"""

CONTRASTS = """
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (part) => part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const found = parts(getComputedStyle(node).backgroundColor);
    if (found.length < 4 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const kinds = ':is(h2, p, button, summary, li, small, label, output)';
const shown = [...document.querySelectorAll(`.wall ${kinds}, .easel ${kinds}`)];
return shown.filter((node) => node.textContent.trim() && node.offsetParent && !node.disabled).map((node) => {
  const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))];
  return [node.textContent.trim().slice(0, 30), Math.max(a, b) / Math.min(a, b)];
});
"""


class Page:
    """A page of the studio in a browser."""

    def __init__(self, browser: Any, address: str, width: int = 1280) -> None:
        self.browser = browser
        browser.switch_to.new_window("window")
        self.window = browser.current_window_handle
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(address)
        self.one("[data-name='sample-coffee'] img")

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def until(self, test: Callable[[], object]) -> None:
        from selenium.common.exceptions import StaleElementReferenceException as Stale  # the page was drawn anew
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 60, 0.1, ignored_exceptions=[Stale]).until(lambda _: test())

    def do(self, selector: str, what: str) -> Any:
        """JavaScript on the element `it`, in one go: the page may be drawn anew at any moment."""
        self.one(selector)
        return self.browser.execute_script(f"const it = document.querySelector(arguments[0]); {what}", selector)

    def one(self, selector: str) -> Any:
        self.until(lambda: self.all(selector))
        return self.all(selector)[0]

    def click(self, *selectors: str) -> None:
        """Regions are clicked at their number, which may lie under a line; so the element itself gets the event."""
        for selector in selectors:
            self.do(selector, "it.dispatchEvent(new MouseEvent('click', {bubbles: true}))")

    def named(self, *names: str) -> None:
        self.click(*(f"[data-name='{name}']" for name in names))

    def says(self, text: str) -> None:
        self.until(lambda: any(text in one.text for one in self.all(".said")))

    def match_of(self, region: int) -> str:
        label: str = self.do(f"[data-name='region-0-{region}']", "return it.getAttribute('aria-label')")
        return label

    def tool(self, name: str) -> None:
        self.do(f"[data-name='tool-{name}']", "it.click()")

    def regions(self) -> int:
        return len(self.all("[data-layer='0'] path.region"))


@pytest.fixture(scope="module")
def address(workshop: Workshop) -> Iterator[str]:
    with ExitStack() as stack:
        yield stack.enter_context(served(stack.enter_context(Visits(workshop))))


def downloaded(folder: Path, pattern: str) -> Path:
    for _ in range(300):
        if found := [path for path in folder.glob(pattern) if path.stat().st_size]:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} came")


def test_the_whole_story(browser: Any, address: str, tmp_path: Path) -> None:
    """From upload over pin, veto and brush to a painting that is stopped, whose command gives the same file."""
    page = Page(browser, address)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    pixels = np.asarray(Image.open(samples("content")["coffee"]).resize((120, 80)))
    photo = tmp_path / "my photo (1).png"
    Image.fromarray(pixels).save(photo)
    page.one("[data-name='choose-content']").send_keys(str(photo))
    page.says("Now choose some paintings")
    paintings = [samples("style")[name] for name in ("mosaic_bay", "ink_mountains")]
    page.one("[data-name='choose-style']").send_keys("\n".join(map(str, paintings)))
    page.says("has found its painting")
    assert not page.all("[data-name='result-1']")  # nothing is painted before it is asked for
    page.named("region-0-1", "region-2-3")
    page.says("Pinned: region 1")
    assert "region 3 of painting 2 (you chose this)" in page.match_of(1)
    before = page.match_of(2)
    page.tool("forbid")
    (target, painting) = before.partition("style of region ")[2][0], before.partition("of painting ")[2][0]
    page.named("region-0-2", f"region-{painting}-{target}")
    page.until(lambda: page.match_of(2) != before)
    regions = page.regions()
    page.tool("cut")
    page.one(".surface")
    browser.execute_script(STROKE)
    page.named("apply")
    page.until(lambda: page.regions() == regions + 1)
    page.named("undo")
    page.until(lambda: page.regions() == regions)
    page.tool("draw")
    page.one(".surface")
    browser.execute_script(STROKE)
    page.named("apply")
    page.until(lambda: page.regions() >= regions)
    page.do("[data-name='wish-steps']", "it.value = 12; it.dispatchEvent(new Event('input', {bubbles: true}))")
    page.do("[data-name='wish-resolution']", "it.value = 256; it.dispatchEvent(new Event('change', {bubbles: true}))")
    page.named("paint")
    stop = page.one("[data-name='stop']")
    page.until(lambda: "painting: 2" in page.one(".progress").text)
    assert stop.is_enabled()  # the same as before the first update: one that is pressed is not replaced meanwhile
    page.named("stop")
    page.one("[data-name='on']:not([hidden])")
    page.until(lambda: "stopped after" in page.one(".result figcaption").text)
    worked_on = page.do("[data-name='wish-steps'] + output", "return it.textContent")
    assert page.one(".result figcaption").text.split(" · ")[-2].endswith(f"of {worked_on}")  # in the same unit
    page.named("fetch-all", "fetch-picture")
    archive, picture = downloaded(tmp_path, "studio-*.zip"), downloaded(tmp_path, "stylised.png")
    page.named("on")
    page.one("[data-name='result-2']")
    assert page.one("[data-name='split']") and page.one(".plot svg")
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    command = next(
        line for line in (tmp_path / archive.stem / "how.txt").read_text().splitlines() if line.startswith("python")
    )
    process = subprocess.run(
        command.replace("python run.py", f"{sys.executable} {ROOT / 'run.py'}", 1),
        shell=True, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert (tmp_path / archive.stem / "out" / "stylised.png").read_bytes() == picture.read_bytes()
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_two_visitors_and_the_keyboard_alone(browser: Any, address: str) -> None:
    """Another visitor sees nothing of it; Tab, Enter and Space do all that a mouse does."""
    from selenium.webdriver import ActionChains, Keys

    page = Page(browser, address)
    assert not page.all(".picture") and not page.all("[data-name='result-1']")

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def focused() -> str:
        name: str = browser.execute_script("return document.activeElement?.dataset?.name ?? ''")
        return name

    def reach(name: str) -> None:
        for _ in range(80):
            if focused() == name:
                return
            press(Keys.TAB)
        raise AssertionError(f"Tab does not reach {name}")

    for name, layer in (("sample-flower", 0), ("sample-mosaic_bay", 1)):
        browser.execute_script("document.querySelector('[data-name=choose-content]').focus()")
        reach(name)
        press(Keys.ENTER)
        page.one(f"[data-layer='{layer}'] path.region")
    reach("region-0-2")
    press(Keys.ENTER)
    page.one("[data-name='region-0-2'].chosen")
    reach("region-1-1")
    press(" ")
    page.says("Pinned: region 2")
    browser.execute_script("document.querySelector('[data-name=tool-draw]').focus()")
    press(" ")
    reach("brush-0")
    regions = page.regions()
    press(Keys.ARROW_LEFT, Keys.ARROW_UP, " ", Keys.ENTER)
    page.until(lambda: page.regions() != regions)


DROP = """
const [selector, files] = arguments, data = new DataTransfer();
for (const [name, bytes] of files) data.items.add(new File([new ArrayBuffer(bytes)], name, {type: 'image/png'}));
const event = new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data});
document.querySelector(selector).dispatchEvent(event);
return event.defaultPrevented;
"""


def test_what_cannot_be_done_is_said(browser: Any, address: str, tmp_path: Path) -> None:
    """Files that are dropped or chosen, and a brush that is of no use, whose strokes stay."""
    page = Page(browser, address)
    drops = [
        (".zone", [["huge.png", 25 * 2**20]], "huge.png (25 MiB): a file may have 24 MiB"),
        (".zone", [["a.png", 10], ["b.png", 10]], "2 files"),
        (".zone:nth-child(2)", [[f"{number}.png", 20 * 2**20] for number in range(3)], "60 MiB, and 48 MiB may"),
        (".zone", [], "no file"),
        ("h1", [["a.png", 10]], "Drop pictures on"),
    ]
    for selector, files, said in drops:
        assert browser.execute_script(DROP, selector, files)  # or the browser opens the file in place of the page
        page.says(said)
    large = tmp_path / "large.png"
    large.write_bytes(b"0" * (25 * 2**20))
    for _ in range(2):  # also a second time
        browser.execute_script("document.querySelector('.said').textContent = ''")
        page.one("[data-name='choose-content']").send_keys(str(large))
        page.says("large.png (25 MiB)")
    page.named("sample-coffee")
    page.one("[data-layer='0'] path.region")
    page.tool("cut")
    page.do("[data-name='radius']", "it.value = 0.01; it.dispatchEvent(new Event('change', {bubbles: true}))")
    page.do("[data-name='brush-0']", """
      it.setPointerCapture = () => {};
      const box = it.getBoundingClientRect();
      const at = (kind, x, button) => it.dispatchEvent(new PointerEvent(kind, {bubbles: true, pointerId: 1, button,
        clientX: box.left + x * box.width, clientY: box.top + 0.5 * box.height}));
      at('pointerdown', 0.9, 2); at('pointerdown', 0.5, 0); at('pointercancel', 0.5, 0); at('pointermove', 0.9, -1);
    """)  # fmt: skip
    points = page.do(".strokes", "return [...it.children].map((line) => line.getAttribute('points').split(' ').length)")
    assert points == [2]  # neither another button nor a touch that was taken away paints on
    page.named("apply")
    page.says("the brush covered nothing")
    assert len(page.all(".strokes polyline")) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone(browser: Any, address: str, theme: str) -> None:
    """At 390 pixels nothing lies beside the screen, and text is as dark, or light, as WCAG asks (4.5 to 1)."""
    page = Page(browser, f"{address}/?__theme={theme}", 390)
    for name, layer in (("sample-coffee", 0), ("sample-ink_mountains", 1)):
        page.named(name)
        page.one(f"[data-layer='{layer}']")
    page.one("[data-name='matches']")
    page.until(lambda: browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"))
    contrasts = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 15 and not [found for found in contrasts if found[1] < 4.5]
    page.named("region-0-1")
    page.do(".paintings", "it.scrollIntoView()")  # what is said, and what is to be done next, stays in sight
    page.says("now choose the region of a painting")
    page.until(lambda: page.do(".wall .said", "return Math.abs(it.getBoundingClientRect().top) < 1"))
    page.named("region-1-1")
    page.says("Pinned")
    page.do("[data-name='menu-1'] summary", "it.click()")
    page.until(lambda: page.do("[data-name='menu-1'] .sheet", "return it.getBoundingClientRect().width > 300"))
    page.do("[data-name='menu-1'] button", "it.click()")
    page.says("One region all over")
    assert not page.all(".menu[open]") and page.all("[data-name='brush-1']")  # one draws at once
