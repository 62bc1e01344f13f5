"""A studio that is served inside of this process."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

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
