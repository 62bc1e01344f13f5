"""Get the pictures of a benchmark: `python -m data.fetch stylegallery [--root FOLDER]`.

Every file comes from the published repository at a pinned commit and is compared with its SHA-256 in
`data/manifests`. Files that are there and whole are kept, so that the same command continues after a break. Others of
the same name may be somebody's own: they are replaced with --force alone.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

from rich.console import Console
from rich.progress import track

from data.benchmark import describe_files, intact, read_digests, root_of
from data.sources import SOURCES, Source
from stylegallery import transfer
from stylegallery.command import explained_errors, plain_console
from stylegallery.errors import InputError

CONNECTIONS = 8


def fetch(files: str, root: Path, source: Source, console: Console, force: bool = False) -> None:
    """Download what is missing in `root`; `force`: and in place of what has other content.

    Raises:
        InputError: files of other content and no `force`, too little space, a folder that cannot be written, or files
            that could not be had.
    """
    digests = read_digests(files)
    wanted = [name for name, digest in digests.items() if not intact(root / name, digest)]
    if not wanted:
        console.print(f"{files}: all {len(digests)} files are in {root}", soft_wrap=True)
        return
    others = [name for name in wanted if (root / name).exists()]
    if others and not force:
        raise InputError(
            f"in {root} {describe_files('other than published', others)}; pass --force to replace what is damaged, or "
            "--root= with another folder"
        )
    size = 1e6 * source.megabytes * len(wanted) / len(digests)
    transfer.require_space(root, size, files, "free space there or pass --root")
    console.print(f"{files}: {len(wanted)} of {len(digests)} files to get, licence {source.licence}", soft_wrap=True)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = pool.map(lambda name: download(source.address(name), root / name, digests[name]), wanted)
        problems = [problem for problem in track(results, files, len(wanted), console=console) if problem]
    if problems:
        raise InputError(f"{len(problems)} of {len(wanted)} files of {files} could not be had: {problems[0]}")
    console.print(f"{files}: all {len(digests)} files are in {root}", soft_wrap=True)


def download(address: str, path: Path, digest: str) -> str | None:
    """Get one file whole or not at all; why it could not be had, or None."""
    try:
        path.unlink(missing_ok=True)  # damaged
        transfer.download(address, path, digest)
    except InputError as error:
        return str(error)
    except (OSError, HTTPException, transfer.Broken) as error:
        return str(transfer.explained(error, path.name, address, path.parent, "pass --root"))
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m data.fetch", description=__doc__.partition("\n")[0])
    parser.add_argument("files", choices=SOURCES, metavar="|".join(SOURCES))
    parser.add_argument("--root", help="default: $<NAME>_DATA, else below ~/.cache/stylegallery/benchmarks")
    parser.add_argument("--force", action="store_true", help="replace files of other content, such as damaged ones")
    options = parser.parse_args(arguments)
    with explained_errors():
        root = root_of(options.files, options.root)
        fetch(options.files, root, SOURCES[options.files], plain_console(), options.force)


if __name__ == "__main__":
    main()
