"""What all commands share: errors that the user can mend as sentences, and a console that prints names as they are."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stylegallery.errors import InputError

ENDLESS = 10_000  # columns


@contextmanager
def explained_errors() -> Iterator[None]:
    """Ends the process with exit code 2 and a sentence for the error that the user can mend, or for each of several."""
    errors: Sequence[BaseException] = ()
    try:
        yield
    except* InputError as group:
        errors = group.exceptions
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if errors:
        sys.exit(2)


def plain_console(stderr: bool = False) -> Console:
    """A console for paths and labels: it takes nothing in them for rich's markup or for an emoji.

    It is as wide as the terminal or as COLUMNS says; in a pipe or a file it wraps no lines.
    """
    looked_at = (sys.stderr if stderr else sys.stdout).isatty() or os.environ.get("COLUMNS")
    return Console(stderr=stderr, markup=False, emoji=False, width=None if looked_at else ENDLESS)


def listing(*columns: str, title: str) -> Table:
    """A table that folds cells which are too wide and cuts none; it has no lines outside a terminal."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD if sys.stdout.isatty() else None)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
