"""A studio that is served inside of this process, and a client that writes to its events as a stranger may."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stylegallery.studio.visits import Visits


@contextmanager
def served(visits: Visits) -> Iterator[str]:
    """The address of the page."""
    from stylegallery.studio.page import serve

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    page = serve(visits, "127.0.0.1", port, wait=False)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        page.close(verbose=False)


class Stranger:
    """Sends events without a browser. `session` is what a page would have drawn."""

    def __init__(self, address: str, session: str) -> None:
        self.address, self.session = address, session
        config = json.loads(self.get("/config")[1])
        self.events = {
            (target[0], target[1]): index
            for index, event in enumerate(config["dependencies"])
            for target in event["targets"]
        }

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
        (component, index), *_ = [(key[0], index) for key, index in self.events.items() if key[1] == event]
        body = {"data": [], "fn_index": index, "session_hash": self.session, "event_data": given}
        body |= {"trigger_id": component} | others
        return self.get("/gradio_api/queue/join", json.dumps(body).encode(), **{"Content-Type": "application/json"})

    def ask(self, event: str, given: Any) -> list[Any]:
        """The last answer to an event: the values of its outputs."""
        assert self.join(event, given)[0] == 200
        answer: list[Any] = []
        stream = f"{self.address}/gradio_api/queue/data?session_hash={self.session}"
        with urllib.request.urlopen(stream, timeout=120) as lines:
            for line in lines:
                message = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if message.get("msg") == "process_completed":
                    return list(message["output"].get("data", [])) if message["success"] else [message["output"]]
                if message.get("msg") == "close_stream":
                    break
        return answer
