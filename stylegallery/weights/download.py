"""The only code that downloads weights: entries of `weights.yaml`, continued where a transfer broke off and checked."""

import difflib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.logging import set_verbosity_error
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from stylegallery.errors import InputError
from stylegallery.files import read_json
from stylegallery.transfer import Advance, check, download, explained, require_space
from stylegallery.weights import Entry, blobs_of, find, table

MOVE = "set HF_HOME, TORCH_HOME or STYLEGALLERY_WEIGHTS to another folder"


def fetch(names: Sequence[str], console: Console) -> None:
    """Download what is missing of the named entries; what stops one of them does not stop the next.

    Raises:
        InputError: an unknown name or too little space, before anything is asked for; what stopped the transfer, a
            wrong digest, or files that only the user can get.
        ExceptionGroup: of several of these.
    """
    entries = list({entry.name: entry for entry in map(entry_named, names)}.values())
    needed: Counter[Path] = Counter()
    for entry in entries:
        if entry.folder(variants=False) is None:
            needed[entry.root()] += max(0, entry.megabytes * 10**6 - entry.bytes_here())
    for root, size in needed.items():
        what = ", ".join(entry.name for entry in entries if entry.root() == root)
        require_space(root, size, what, f"free space there or {MOVE}")
    problems: list[InputError] = []
    for entry in entries:
        try:
            fetch_one(entry, console)
        except InputError as error:
            problems.append(error)
            if len(entries) > 1:
                console.print(f"{entry.name} is left out", soft_wrap=True)
    if problems:
        raise problems[0] if len(problems) == 1 else ExceptionGroup("several entries are not here", problems)


def fetch_one(entry: Entry, console: Console) -> None:
    """Raises InputError, saying what stopped it and how to go on."""
    if (folder := entry.folder(variants=False)) is None:
        console.print(f"{entry.name}: {entry.megabytes} MB, licence {entry.licence}")
        if entry.instructions:
            raise InputError(
                f"{entry.name} has no download link: {entry.instructions}, and place them in {entry.root()}"
            )
        address = entry.url or f"{huggingface_hub.constants.ENDPOINT}/{entry.repository}"
        try:
            download_repository(entry, console) if entry.repository else download_url(entry, console)
        except InputError:
            raise
        except Exception as error:  # the hub's client lets errors of any transport through
            raise explained(error, entry.name, address, entry.root(), MOVE) from error
        folder = entry.folder(variants=False)
        if folder is None:
            raise InputError(
                f"{address} at {entry.revision} lacks some of {', '.join(entry.files)}; correct weights.yaml"
            )
    for file, sha256 in entry.sha256.items():  # a call may have been killed before it had checked them
        check(folder / file, sha256, f"{file} of {entry.name}")
    console.print(f"{entry.name} is in {folder}", soft_wrap=True)


def entry_named(name: str) -> Entry:
    entry = find(name)
    if entry is None:
        known = [*table(), *(entry.alias for entry in table().values() if entry.alias)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see: python -m stylegallery.weights status"
        raise InputError(f"{name} is not in weights.yaml; {hint}")
    return entry


def download_url(entry: Entry, console: Console) -> None:
    assert entry.url
    (file,) = entry.files
    with bar(file, console) as advance:
        download(entry.url, entry.root() / file, entry.sha256.get(file, ""), advance=advance)


def download_repository(entry: Entry, console: Console) -> None:
    """The files of a hub entry, each by way of its place among the cache's blobs.

    The hub's own client writes to a new temporary file in every call. A break would lose everything (10 GB for a
    UNet of SDXL), and a killed call would leave its file for ever. Here the client only lists files and links blobs.
    """
    assert entry.repository
    set_verbosity_error()  # the hub's client would report each of its tries
    api = huggingface_hub.HfApi()
    revision = entry.revision
    if revision == "main":
        revision = api.model_info(entry.repository, revision=revision).sha
    blobs = blobs_of(entry.repository)
    remove_orphans(blobs)
    record = blobs.parent / "first_seen.json"  # digests of the first fetch of a repository that no commit pins
    seen = read_json(record) if entry.revision == "main" and record.is_file() else {}
    for file in api.list_repo_tree(entry.repository, recursive=True, revision=revision):
        if not isinstance(file, RepoFile) or not any(fnmatch(file.path, pattern) for pattern in entry.files):
            continue
        sha256 = file.lfs.sha256 if file.lfs else ""
        address = sha256 or file.blob_id
        require_known(entry, file.path, address, entry.sha256 if sha256 else {}, "weights.yaml")
        require_known(entry, file.path, address, seen, str(record))
        if not (blobs / address).exists():
            url = huggingface_hub.hf_hub_url(entry.repository, file.path, revision=revision)
            with bar(file.path, console) as advance:
                download(url, blobs / address, sha256, huggingface_hub.get_token(), advance)
        huggingface_hub.hf_hub_download(entry.repository, file.path, revision=entry.revision)
        seen[file.path] = address
        if entry.revision == "main":
            record.write_text(json.dumps(seen, indent=2), encoding="utf-8")


def require_known(entry: Entry, file: str, published: str, known: dict[str, str], where: str) -> None:
    """Raises InputError where the hub has another file than `known` from the place `where`."""
    expected = known.get(file, "")
    if not published.startswith(expected):
        raise InputError(
            f"{entry.repository} has changed {file} ({published[:16]}… instead of {expected[:16]}… in {where}), and "
            f"results of the two do not compare; set {entry.name}.revision in weights.yaml to the commit that you "
            f"want, or take the new one by removing the old from {where}"
        )


def remove_orphans(blobs: Path) -> None:
    """Remove what killed downloads of the hub's client left and nobody wrote for an hour: nothing continues them."""
    for orphan in blobs.glob("*.incomplete"):
        if time.time() - orphan.stat().st_mtime > 3600:
            orphan.unlink(missing_ok=True)


@contextmanager
def bar(name: str, console: Console) -> Iterator[Advance]:
    """A progress bar of bytes."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(name, total=None)
        yield lambda size, total: bars.update(task, completed=size, total=total)
