"""All visitors of a studio: each has a folder of its own, which goes when the visitor is gone."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread

from stylegallery.errors import InputError
from stylegallery.studio.easel import Easel, Moment
from stylegallery.studio.visit import Visit
from stylegallery.studio.workshop import Workshop

MOST_VISITORS = 24
PATIENCE = 300.0  # seconds that the state of a visitor who left is kept: phones close connections while they sleep
SILENCE = 15.0  # seconds without a connection after which a visitor's places in queues are free
IDLE = 12 * 3600.0  # seconds after which one who does nothing is gone too
GIVES_WAY = 1800.0  # the same where the house is full
EVERY = 5.0  # seconds between two looks at who is gone


@dataclass
class Guest:
    """A visitor at an easel: when something was done last, and since when no connection is open, where none is."""

    visit: Visit
    easel: Easel
    seen: float = field(default_factory=time.monotonic)
    left: float | None = None
    moment: Moment | None = None  # of the painting on its way
    refused: str = ""  # what is to be said of pictures once the others were looked at

    def away(self, seconds: float) -> bool:
        return self.left is not None and time.monotonic() - self.left >= seconds

    def explain(self, error: Exception) -> str:
        """A sentence for the visitor, without places of this machine."""
        return str(error).replace(f"{self.visit.folder}/", "")

    def idle(self, seconds: float) -> bool:
        return time.monotonic() - self.seen >= seconds


class Visits:
    """Who is here, by the name of the session. Close it, or use it in a `with`."""

    def __init__(self, workshop: Workshop, most: int = MOST_VISITORS, patience: float = PATIENCE) -> None:
        self.workshop, self.most, self.patience = workshop, most, patience
        self.root = tempfile.TemporaryDirectory(prefix="stylegallery-studio-", ignore_cleanup_errors=True)
        self.guests: dict[str, Guest] = {}
        self.connections = Counter[str]()  # open ones, by session
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
        if session not in self.guests:
            self.sweep(IDLE if len(self.guests) < self.most else GIVES_WAY)
        with self.lock:
            if session not in self.guests:
                if len(self.guests) >= self.most:
                    raise InputError(f"{self.most} visitors are here already; try again in some minutes")
                visit = Visit(self.workshop, Path(tempfile.mkdtemp(dir=self.root.name)))
                self.guests[session] = Guest(visit, Easel(visit))
            guest, now = self.guests[session], time.monotonic()
            guest.seen, guest.left = now, None if self.connections[session] else now
            return guest

    def here(self, session: str | None) -> Guest:
        """The visitor of a session where there is one, or one who has done nothing yet: a page that was opened alone
        takes no place."""
        if guest := self.guests.get(session or ""):
            return guest
        visit = Visit(self.workshop, Path(self.root.name, "nobody"))
        return Guest(visit, Easel(visit))

    @contextmanager
    def connected(self, session: str) -> Iterator[None]:
        """While a connection of a page is open. When its last one ends, its painting ends now, its files a little
        later."""
        with self.lock:
            self.connections[session] += 1
            if guest := self.guests.get(session):
                guest.left = None
        try:
            yield
        finally:
            with self.lock:
                self.connections[session] -= 1
                self.connections = +self.connections  # without those at 0
                if not self.connections[session] and (guest := self.guests.get(session)):
                    guest.left = time.monotonic()
                    guest.easel.leave()

    def silent(self, session: str) -> bool:
        """Whether a visitor does not listen to what is answered."""
        guest = self.guests.get(session)
        return guest is not None and guest.away(SILENCE)

    def sweep(self, idle: float = IDLE) -> None:
        """Remove all that belongs to visitors who are gone."""
        with self.lock:
            gone = {one: guest for one, guest in self.guests.items() if guest.away(self.patience) or guest.idle(idle)}
            for session in gone:
                del self.guests[session]
        for guest in gone.values():  # nobody waits for this
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
