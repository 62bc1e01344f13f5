"""The one door of the studio: what Gradio serves beside the page and its events stays shut.

Pictures come as data of an event and go as data of its answer, so that no address of this server names a file of a
visitor, and no field holds a path of this machine.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qs

from stylegallery.studio.limits import MOST_TOGETHER
from stylegallery.studio.visits import Visits

MOST_BODY = MOST_TOGETHER * 4 // 3 + 2**20  # bytes of an event: some pictures, in base64
MOST_HELD = 6 * MOST_BODY  # of events that arrive or wait
OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static|svelte)/[\w./-]+"
    r"|/gradio_api/(queue/(join|data)|heartbeat/\w+|cancel|reset|startup-events|app_id|info)/?"
)
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Door:
    """ASGI middleware: 404 for what is not open, 411 and 413 for a body that does not say its length, or is too large.
    It sees which pages are open."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], visits: Visits) -> None:
        self.app, self.visits, self.arriving = app, visits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = dict(scope.get("headers") or ())
        if scope["type"] != "http" or not OPEN.fullmatch(scope["path"]) or ".." in scope["path"]:
            await refuse(send, 404)
            return
        length = headers.get(b"content-length", b"" if scope["method"] == "POST" else b"0")
        if not length.isdigit() or int(length) > MOST_BODY:
            await refuse(send, 413 if length else 411)
            return
        read, answered = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += (size := len(message.get("body", b"")))
            self.arriving += size
            if self.arriving > MOST_HELD:
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        session = listener(scope)
        try:
            with self.visits.connected(session) if session else nullcontext():
                await self.app(scope, counted, guarded)
        finally:
            self.arriving -= read
        if not answered:
            await refuse(send, 503)


def listener(scope: Scope) -> str:
    """The session that a connection listens for; empty where it does not."""
    if scope["path"].startswith("/gradio_api/heartbeat/"):
        return str(scope["path"].split("/")[3])
    if scope["path"].rstrip("/") == "/gradio_api/queue/data":
        return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])[0]
    return ""


async def refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *HEADERS]})
    await send({"type": "http.response.body", "body": b""})
