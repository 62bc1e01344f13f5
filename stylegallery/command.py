"""What all commands share: a console that prints names as they are."""

import os
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

ENDLESS = 10_000  # columns


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
