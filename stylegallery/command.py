"""What all commands share: a console that prints names as they are, and an end by Ctrl-C that says how to go on."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

ENDLESS = 10_000  # columns
INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


def plain_console(stderr: bool = False) -> Console:
    """A console for paths and labels: what looks like rich's markup or like an emoji in them is text.

    As wide as the terminal or as COLUMNS says; in a pipe or a file lines are as long as what they say.
    """
    looked_at = (sys.stderr if stderr else sys.stdout).isatty() or os.environ.get("COLUMNS")
    return Console(stderr=stderr, markup=False, emoji=False, width=None if looked_at else ENDLESS)


def listing(*columns: str, title: str) -> Table:
    """A table whose cells are folded where they are too wide, never cut; without lines where nobody looks."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD if sys.stdout.isatty() else None)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


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
