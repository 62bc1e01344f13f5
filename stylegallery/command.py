"""What all commands share: a console that prints names as they are, and an end by Ctrl-C that says how to go on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


def plain_console(stderr: bool = False) -> Console:
    """A console for paths and labels: what looks like rich's markup or like an emoji in them is text."""
    return Console(stderr=stderr, markup=False, emoji=False)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ends the process with one sentence where Ctrl-C interrupts it."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: what is done is kept, and the same command does the rest", file=sys.stderr)
        sys.exit(INTERRUPTED)


def to_the_end(main: Callable[[], int | None]) -> NoReturn:
    """Run the `main` of a command and end the process with the exit code that it returns."""
    with interruptible():
        sys.exit(main())
