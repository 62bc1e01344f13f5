"""Which pretrained weights are here, and download of those that are not.

python -m stylegallery.weights status               what is here, and what each missing piece switches off
python -m stylegallery.weights fetch sd15 dinov2    download, continue where a transfer broke off, check digests
"""

import argparse
import os
import sys
from collections.abc import Sequence

from rich.table import Table

from stylegallery.command import explained_errors, listing, plain_console
from stylegallery.weights import FETCH, table
from stylegallery.weights.download import fetch


def status() -> Table:
    """Every entry: present or not, size, licence, and what needs it."""
    result = listing("name", "here", "MB", "licence", "without it, these are off", title="weights.yaml")
    for column in result.columns[:3]:
        column.no_wrap = True
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        result.columns[3].max_width = 14  # keeps names of settings in one piece at 80 columns
    for entry in table().values():
        here = "yes" if entry.folder() else "no"
        result.add_row(entry.name, here, str(entry.megabytes), entry.licence, ", ".join(entry.needed_by))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m stylegallery.weights", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what is here, and what each missing piece switches off")
    commands.add_parser("fetch", help="download").add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(arguments)
    console = plain_console()
    with explained_errors():
        if options.command == "status":
            console.print(status(), f"download with: {FETCH} NAME ...")
        else:
            fetch(options.names, console)


if __name__ == "__main__":
    main()
