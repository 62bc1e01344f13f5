"""What the studio costs: python -m benchmarks.studio [NAME=VALUE ...]

Starts it as a user does, and does over HTTP what its page does: seconds until the page answers, memory when it is idle,
seconds from a photo and two paintings to their regions and matches, of a pin, and of a quick look. Beside them stand
the seconds of a core that its process computed for: on a machine that does other things too, they say more. Then, where
there is a Chromium, the seconds in its page from a click to the pin that is shown.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median_low as median
from typing import Any

import psutil

from benchmarks.browser import chromium

ROOT = Path(__file__).parent.parent
PICTURES = [("content", "coffee"), ("style", "pencil_still_life"), ("style", "ink_mountains")]
PINS = 10
CLICK = """
const [reference, done] = arguments, find = (name) => document.querySelector(`[data-name="${name}"]`);
const click = (name) => find(name).dispatchEvent(new MouseEvent("click", {bubbles: true}));
click("region-0-1");
const began = performance.now();
new MutationObserver((_, observer) => {
  const label = find("region-0-1")?.getAttribute("aria-label") ?? "";
  if (!label.includes(`region 1 of painting ${reference} (you chose this)`)) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - began) / 1000)));
}).observe(document.body, {subtree: true, childList: true});
click(`region-${reference}-1`);
"""


class Visitor:
    """Does what the page does, and keeps a connection open as that does unless it is `deaf`. `session` is what a page
    would have drawn."""

    def __init__(self, address: str, session: str = "benchmark", deaf: bool = False) -> None:
        self.address, self.session = address, session
        dependencies = json.loads(self.get("/config")[1])["dependencies"]
        self.events: dict[str, tuple[int, int]] = {}  # name -> its number, and that of what it belongs to
        for number, event in enumerate(dependencies):
            for component, name in event["targets"]:
                self.events.setdefault(name, (number, component))
        after = [event.get("trigger_after") for event in dependencies]
        number, component = self.events["bring"]
        self.events["look"] = after.index(number), component  # the page asks for it after every `bring`
        self.heartbeat = None
        if not deaf:
            self.heartbeat = urllib.request.urlopen(f"{address}/gradio_api/heartbeat/{session}", timeout=60)
            self.heartbeat.readline()

    def leave(self) -> None:
        """Close the page."""
        if self.heartbeat:
            self.heartbeat.close()

    def get(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def join(self, event: str, given: Any, **others: Any) -> tuple[int, bytes]:
        """Ask for an event, and do not wait for its end."""
        number, component = self.events[event]
        body = {"data": [], "fn_index": number, "session_hash": self.session, "event_data": given}
        body |= {"trigger_id": component} | others
        return self.get("/gradio_api/queue/join", json.dumps(body).encode(), **{"Content-Type": "application/json"})

    def ask(self, event: str, given: Any) -> list[Any]:
        """The last answer to an event: the values of its outputs."""
        status, said = self.join(event, given)
        if status != 200:
            raise ConnectionError(f"{event} was refused: {said.decode()}")
        return next(self.answers())

    def answers(self) -> Iterator[list[Any]]:
        """The last answer to each event that is done, one after the other: the values of its outputs."""
        stream = f"{self.address}/gradio_api/queue/data?session_hash={self.session}"
        with urllib.request.urlopen(stream, timeout=600) as lines:
            for line in lines:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    yield list(message["output"].get("data", [])) if message["success"] else [message["output"]]
        raise ConnectionError("the connection was closed before everything was answered")


@contextmanager
def started(*settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """The process of a studio, its address, and the seconds until its page answered."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "stylegallery.studio", "--port", str(port), *settings]
    began, address = time.monotonic(), f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(address).read()
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None:
                    sys.exit(process.returncode)
                time.sleep(0.1)
        yield process, address, time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


class Clock:
    """Seconds that a process was asked to do something for, and those of a core that it needed."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process

    def computed(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
        began, computed = time.monotonic(), self.computed()
        call(*arguments)
        return time.monotonic() - began, self.computed() - computed


def in_a_page(address: str) -> str:
    """Seconds from the click that pins a region until the page shows it; or why they are not known."""
    try:
        with chromium() as browser:
            from selenium.webdriver.support.expected_conditions import presence_of_element_located as present
            from selenium.webdriver.support.ui import WebDriverWait

            browser.set_script_timeout(60)
            browser.get(address)
            for name in [*(f"sample-{name}" for _, name in PICTURES), "region-0-1", "region-1-1", "region-2-1"]:
                selector = f"[data-name='{name}']"
                WebDriverWait(browser, 60, 0.1).until(present(("css selector", selector)))
                if name.startswith("sample-"):
                    browser.execute_script("document.querySelector(arguments[0]).click()", selector)
            return f"{median([browser.execute_async_script(CLICK, 1 + i % 2) for i in range(PINS)]):7.2f}"
    except (ImportError, FileNotFoundError) as error:
        return f" {error}"


def main() -> None:
    with started(*sys.argv[1:]) as (process, address, ready):
        clock = Clock(psutil.Process(process.pid))
        memory, start = clock.process.memory_info().rss / 2**30, clock.computed()
        visitor = Visitor(address)

        def drop() -> None:
            for kind, name in PICTURES:
                visitor.ask("bring", {"kind": kind, "sample": name})
            visitor.ask("look", None)

        def pin(reference: int) -> None:
            visitor.ask("act", {"do": "pin", "region": 1, "reference": reference, "target": 1})

        overlay = clock(drop)
        pins = [clock(pin, 1 + i % 2) for i in range(PINS)]
        quick = clock(visitor.ask, "paint", {"resolution": 256, "steps": 25})
        shown = in_a_page(address)
    print(f"{'':38} seconds  of a core")
    print(f"page ready after start                 {ready:7.1f} {start:10.1f}")
    print(f"photo and two paintings to the overlay {overlay[0]:7.1f} {overlay[1]:10.1f}")
    print(f"a pin over HTTP, median of {PINS}          {median(pins)[0]:7.2f} {median(pins)[1]:10.2f}")
    print(f"a pin from click to sight, median of {PINS}{shown}")
    print(f"a quick look                           {quick[0]:7.1f} {quick[1]:10.1f}")
    print(f"memory, idle                           {memory:7.2f} GiB")


if __name__ == "__main__":
    main()
