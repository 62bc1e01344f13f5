"""All visitors of a studio: each has a folder of its own, which goes when the visitor is gone."""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread

from stylegallery.errors import InputError
from stylegallery.studio.easel import Easel
from stylegallery.studio.visit import Visit
from stylegallery.studio.workshop import Workshop

MOST_VISITORS = 24
PATIENCE = 300.0  # seconds that the state of a visitor who left is kept: phones close connections while they sleep
IDLE = 12 * 3600.0  # seconds after which one who does nothing is gone too
EVERY = 20.0  # seconds between two looks at who is gone


@dataclass
class Guest:
    """A visitor at an easel; `left` is when the page was closed."""

    visit: Visit
    easel: Easel
    seen: float = field(default_factory=time.monotonic)
    left: float | None = None

    def gone(self, patience: float) -> bool:
        now = time.monotonic()
        return (self.left is not None and now - self.left >= patience) or now - self.seen >= IDLE


class Visits:
    """Who is here, by the name of the session. Close it, or use it in a `with`."""

    def __init__(self, workshop: Workshop, most: int = MOST_VISITORS, patience: float = PATIENCE) -> None:
        self.workshop, self.most, self.patience = workshop, most, patience
        self.root = tempfile.TemporaryDirectory(prefix="stylegallery-studio-", ignore_cleanup_errors=True)
        self.guests: dict[str, Guest] = {}
        self.lock, self.closed = RLock(), Event()
        Thread(target=self.sweep_again, daemon=True).start()

    def __enter__(self) -> "Visits":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, session: str | None) -> Guest:
        """The visitor of a session, new or known.

        Raises:
            InputError: the studio is full, or there is no session.
        """
        if not session:
            raise InputError("this page has no session; load it again")
        with self.lock:
            if session not in self.guests:
                self.sweep()
                if len(self.guests) >= self.most:
                    raise InputError(f"{self.most} visitors are here already; try again in some minutes")
                visit = Visit(self.workshop, Path(tempfile.mkdtemp(dir=self.root.name)))
                self.guests[session] = Guest(visit, Easel(visit))
            guest = self.guests[session]
            guest.seen, guest.left = time.monotonic(), None
            return guest

    def here(self, session: str | None) -> Guest:
        """The visitor of a session where there is one, or one who has done nothing yet: a page that was opened alone
        takes no place."""
        if guest := self.guests.get(session or ""):
            return guest
        visit = Visit(self.workshop, Path(self.root.name, "nobody"))
        return Guest(visit, Easel(visit))

    def leave(self, session: str | None) -> None:
        """A page was closed: its painting ends now, its files a little later."""
        with self.lock:
            if guest := self.guests.get(session or ""):
                guest.left = time.monotonic()
                guest.easel.leave()
            self.sweep()

    def sweep(self) -> None:
        """Remove all that belongs to visitors who are gone."""
        with self.lock:
            for session, guest in list(self.guests.items()):
                if guest.gone(self.patience):
                    del self.guests[session]
                    guest.easel.leave()
                    guest.visit.end()

    def sweep_again(self) -> None:
        while not self.closed.wait(EVERY):
            self.sweep()

    def close(self) -> None:
        """Remove everything."""
        self.closed.set()
        with self.lock:
            for guest in self.guests.values():
                guest.easel.leave()
            self.guests.clear()
        self.root.cleanup()
