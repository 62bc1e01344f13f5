"""The one door of the studio: what Gradio serves beside the page and its events stays shut.

Pictures come as data of an event and go as data of its answer, so that no address of this server names a file of a
visitor, and no field holds a path of this machine.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

MOST_BODY = 100 * 2**20  # bytes of an event: some pictures, in base64
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
    """ASGI middleware: 404 for what is not open, 413 for a body that is too large."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = dict(scope.get("headers") or ())
        shut = scope["type"] != "http" or not OPEN.fullmatch(scope["path"]) or ".." in scope["path"]
        length = headers.get(b"content-length", b"0")
        if shut or not length.isdigit() or int(length) > MOST_BODY:
            await refuse(send, 404 if shut else 413)
            return
        read, answered = 0, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BODY:
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self.app(scope, counted, guarded)
        if read > MOST_BODY and not answered:
            await refuse(send, 413)


async def refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *HEADERS]})
    await send({"type": "http.response.body", "body": b""})
