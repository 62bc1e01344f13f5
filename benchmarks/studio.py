"""What the studio costs: python -m benchmarks.studio [NAME=VALUE ...]

Starts it as a user does, and does over HTTP what its page does: seconds until the page answers, memory when it is idle,
seconds from a photo and two paintings to their regions and matches, of a pin, and of a quick look. Beside them stand
the seconds of a core that its process computed for: on a machine that does other things too, they say more.
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

ROOT = Path(__file__).parent.parent
PICTURES = [("content", "coffee"), ("style", "pencil_still_life"), ("style", "ink_mountains")]
PINS = 10


class Visitor:
    """Does what the page does."""

    def __init__(self, address: str) -> None:
        self.address = address
        config = json.loads(self.get("/config"))
        self.events = {
            target[1]: (number, target[0])
            for number, event in enumerate(config["dependencies"])
            for target in event["targets"]
        }

    def get(self, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            content: bytes = answer.read()
            return content

    def ask(self, event: str, given: Any) -> Any:
        """The last answer to an event."""
        number, component = self.events[event]
        body = {"data": [], "fn_index": number, "session_hash": "benchmark", "event_data": given}
        self.get("/gradio_api/queue/join", json.dumps(body | {"trigger_id": component}).encode())
        with urllib.request.urlopen(f"{self.address}/gradio_api/queue/data?session_hash=benchmark") as stream:
            for line in stream:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    return message["output"]
        raise ConnectionError(f"{event} was not answered")


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


def main() -> None:
    with started(*sys.argv[1:]) as (process, address, ready):
        clock = Clock(psutil.Process(process.pid))
        memory, start = clock.process.memory_info().rss / 2**30, clock.computed()
        visitor = Visitor(address)
        number = visitor.events["bring"][0]
        dependencies = json.loads(visitor.get("/config"))["dependencies"]
        # The page asks for this after every `bring`.
        then = next(i for i, one in enumerate(dependencies) if one.get("trigger_after") == number)
        visitor.events["look"] = then, visitor.events["bring"][1]

        def drop() -> None:
            for kind, name in PICTURES:
                visitor.ask("bring", {"kind": kind, "sample": name})
            visitor.ask("look", None)

        def pin(reference: int) -> None:
            visitor.ask("act", {"do": "pin", "region": 1, "reference": reference, "target": 1})

        overlay = clock(drop)
        pins = [clock(pin, 1 + i % 2) for i in range(PINS)]
        quick = clock(visitor.ask, "paint", {"resolution": 256, "steps": 25})
    print(f"{'':38} seconds  of a core")
    print(f"page ready after start                 {ready:7.1f} {start:10.1f}")
    print(f"photo and two paintings to the overlay {overlay[0]:7.1f} {overlay[1]:10.1f}")
    print(f"a pin, median of {PINS}                    {median(pins)[0]:7.2f} {median(pins)[1]:10.2f}")
    print(f"a quick look                           {quick[0]:7.1f} {quick[1]:10.1f}")
    print(f"memory, idle                           {memory:7.2f} GiB")


if __name__ == "__main__":
    main()
