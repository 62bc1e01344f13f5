"""Where pretrained weights are on this machine, and the only code that downloads them.

    python -m stylegallery.weights status               what is here, and what each missing piece switches off
    python -m stylegallery.weights fetch sd15 dinov2    download, continue where a transfer broke off, check digests

`weights.yaml` lists everything. Hub files lie in the Hugging Face cache (HF_HOME), single files in torch's checkpoint
folder (TORCH_HOME) where torchvision finds them, files that only the user can get in STYLEGALLERY_WEIGHTS/<name>,
by default ~/.cache/stylegallery/<name>.
"""

import argparse
import difflib
import errno
import hashlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import huggingface_hub.constants
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from torch import hub

from stylegallery.errors import InputError
from stylegallery.files import unreachable

FETCH = "python -m stylegallery.weights fetch"
CHUNK = 2**20
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


@dataclass(frozen=True)
class Entry:
    """One row of `weights.yaml`: a part of a hub repository, a url, or files that only the user can get."""

    name: str
    megabytes: int
    licence: str
    needed_by: list[str]
    files: list[str]  # names or patterns, relative to `folder`
    sha256: dict[str, str] = field(default_factory=dict)  # file -> digest or its first digits
    repository: str | None = None
    revision: str | None = None
    url: str | None = None
    instructions: str | None = None
    alias: str | None = None

    def root(self) -> Path:
        """Where its files are kept, whether they are there or not."""
        if self.repository:
            return Path(huggingface_hub.constants.HF_HUB_CACHE)
        if self.url:
            return Path(hub.get_dir()) / "checkpoints"
        return Path(os.environ.get("STYLEGALLERY_WEIGHTS", "~/.cache/stylegallery")).expanduser() / self.name

    def folder(self) -> Path | None:
        """The folder in which all of its files are; None unless all are."""
        folder = self.root()
        if self.repository:
            try:
                folder = Path(
                    huggingface_hub.snapshot_download(
                        self.repository, revision=self.revision, allow_patterns=self.files, local_files_only=True
                    )
                )
            except LocalEntryNotFoundError:
                return None
        return folder if all(any(folder.glob(pattern)) for pattern in self.files) else None

    def bytes_here(self) -> int:
        """What an earlier transfer left of its files: those named without a pattern, or the part of one."""
        if self.repository:
            found = [
                huggingface_hub.try_to_load_from_cache(self.repository, file, revision=self.revision)
                for file in self.files
            ]
            return sum(Path(path).stat().st_size for path in found if isinstance(path, str))
        parts = [self.root() / f"{file}.part" for file in self.files]
        return sum(part.stat().st_size for part in parts if part.is_file())


@cache
def table() -> dict[str, Entry]:
    """All entries by name, in the order of `weights.yaml`."""
    rows = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_suffix(".yaml")))
    assert isinstance(rows, dict)
    for row in rows.values():
        if "url" in row:
            row["files"] = [Path(row["url"]).name]
    return {str(name): Entry(name=str(name), **row) for name, row in rows.items()}


def find(name: str) -> Entry | None:
    """The entry of that name, alias or hub repository."""
    entries = table()
    matching = (entry for entry in entries.values() if name in (entry.alias, entry.repository))
    return entries.get(name) or next(matching, None)


def local_path(path: str) -> Path | None:
    """The file or folder of that path; None where there is none.

    Raises:
        InputError: the system does not say, for want of permissions for example.
    """
    try:
        return Path(path) if Path(path).exists() else None
    except OSError as error:
        raise unreachable(path, error) from error


def locate(path: str) -> Path:
    """The folder of a model: `embedded` for the shipped one, a local path, a name of `weights.yaml`, or a hub
    repository already downloaded (at the revision of `weights.yaml` where it is listed).

    Raises:
        InputError: it is not on this machine; the message has the command that gets it.
    """
    if path == "embedded":
        return Path(__file__).parent / "embedded" / "weights"
    if (local := local_path(path)) and local.is_dir():
        return local
    entry = find(path)
    if entry is None:
        try:
            return Path(huggingface_hub.snapshot_download(path, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError) as error:
            raise InputError(
                f"model {path} is neither a directory, a name in weights.yaml nor in the local Hugging Face cache; "
                f"pass another path or download it with: hf download {path}"
            ) from error
    folder = entry.folder()
    if folder is None:
        raise InputError(f"{path} is not or not wholly on this machine; download it with: {FETCH} {entry.name}")
    if entry.instructions:
        for file in entry.files:
            with (folder / file).open("rb") as stream:
                if stream.read(1) == b"<":  # what a browser saves where Google Drive asks for a confirmation
                    raise InputError(f"{folder / file} is a web page, not weights; download it again")
    return folder


def locate_file(name: str) -> Path:
    """The file of an entry that has exactly one, or a local file passed as it is.

    Raises:
        InputError: as `locate`, or the entry is a folder.
    """
    if (local := local_path(name)) and local.is_file():
        return local
    entry = find(name)
    if entry is None or len(entry.files) != 1:
        raise InputError(f"{name} is neither a file nor an entry of weights.yaml with a single file")
    return locate(entry.name) / entry.files[0]


# --- fetch ---


def fetch(names: Sequence[str], console: Console) -> None:
    """Download what is missing of the named entries.

    Raises:
        InputError: an unknown name, too little space, no network, an interrupted transfer, a wrong digest, or files
            that only the user can get.
    """
    entries = list({entry.name: entry for entry in map(entry_named, names)}.values())
    require_space([entry for entry in entries if entry.folder() is None])
    for entry in entries:
        if (folder := entry.folder()) is None:
            console.print(f"{entry.name}: {entry.megabytes} MB, licence {entry.licence}")
            try:
                download(entry, console)
            except OSError as error:  # a disk that is full or must not be written
                reason = error.strerror or first_line(error)
                raise InputError(
                    f"{entry.name} could not be written to {entry.root()} ({reason}); free space there or set HF_HOME, "
                    "TORCH_HOME or STYLEGALLERY_WEIGHTS to another folder"
                ) from error
        else:  # perhaps of a call that was killed before it had checked them
            check_digests(entry, folder)
        console.print(f"{entry.name} is in {entry.folder()}", soft_wrap=True)


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def entry_named(name: str) -> Entry:
    entry = find(name)
    if entry is None:
        known = [*table(), *(entry.alias for entry in table().values() if entry.alias)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see: python -m stylegallery.weights status"
        raise InputError(f"{name} is not in weights.yaml; {hint}")
    return entry


def require_space(entries: Sequence[Entry]) -> None:
    """Raises InputError where what the entries lack, and a tenth more, does not fit on the disk of their folder."""
    needed: Counter[Path] = Counter()
    for entry in entries:
        needed[entry.root()] += max(0, entry.megabytes * 10**6 - entry.bytes_here())
    for root, size in needed.items():
        existing = next(parent for parent in (root, *root.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < 1.1 * size:
            raise InputError(
                f"{root} needs {1.1 * size / 1e9:.1f} GB for {', '.join(e.name for e in entries if e.root() == root)} "
                f"and has {free / 1e9:.1f} GB; free space there or set HF_HOME or TORCH_HOME to another disk"
            )


def download(entry: Entry, console: Console) -> None:
    if entry.repository:
        download_repository(entry)
    elif entry.url:
        download_url(entry, console)
    else:
        raise InputError(f"{entry.name} has no download link: {entry.instructions}, and place them in {entry.root()}")


def download_repository(entry: Entry) -> None:
    """The files of a hub entry; the hub's client keeps those that are whole."""
    assert entry.repository
    try:
        folder = Path(
            huggingface_hub.snapshot_download(entry.repository, revision=entry.revision, allow_patterns=entry.files)
        )
    except Exception as error:  # the client passes on whatever its transport raises
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise InputError(
            f"{entry.name} could not be downloaded from huggingface.co/{entry.repository} "
            f"({first_line(error)}); check the network and that HF_HUB_OFFLINE is not set, "
            "then run the same command again"
        ) from error
    check_digests(entry, folder)
    if entry.folder() is None:
        raise InputError(
            f"huggingface.co/{entry.repository} at {entry.revision} lacks some of {', '.join(entry.files)}; "
            "correct the entry in weights.yaml"
        )


def download_url(entry: Entry, console: Console) -> None:
    """The file of a url entry by way of <file>.part, of which only the missing bytes are asked for."""
    assert entry.url
    target = entry.root() / entry.files[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    offset = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "stylegallery-bench"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with urlopen(Request(entry.url, headers=headers), timeout=60) as response:
            receive(entry, response, part, offset if response.status == 206 else 0, console)
    except HTTPError as error:
        if error.code != 416:  # nothing is left to send: the digest tells whether the part is the whole
            raise InputError(f"{entry.url} answered {error.code} {error.reason}; try again later") from error
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{entry.name} could not be downloaded from {entry.url} ({reason}); check the network, then run the same "
            "command again"
        ) from error
    check_digest(entry, entry.files[0], part)
    part.replace(target)


def receive(entry: Entry, response: HTTPResponse, part: Path, offset: int, console: Console) -> None:
    """Append a response to the first `offset` bytes of `part`."""
    if response.headers.get_content_type() == "text/html":
        raise InputError(f"{entry.url} answered with a web page, not with weights; try again later")
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length else None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with part.open("r+b" if offset else "wb") as file, Progress(*columns, console=console) as bars:
        file.seek(offset)
        task = bars.add_task(entry.files[0], total=total, completed=offset)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bars.advance(task, len(chunk))
    size = part.stat().st_size
    if total is not None and size < total:
        raise InputError(
            f"the transfer of {entry.name} broke off after {size} of {total} bytes; run the same command again to "
            "continue"
        )


def check_digests(entry: Entry, folder: Path) -> None:
    for file in entry.sha256:
        check_digest(entry, file, folder / file)


def check_digest(entry: Entry, file: str, path: Path) -> None:
    """Raises InputError, and removes the file, where its sha256 is not the one of the entry."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = entry.sha256.get(file, "")
    if not digest.startswith(expected):
        path.resolve().unlink()  # in the hub's cache the file proper, behind a link
        path.unlink(missing_ok=True)
        raise InputError(
            f"{file} of {entry.name} has sha256 {digest[:16]}… instead of {expected[:16]}… and was removed; run the "
            "same command again"
        )


# --- status ---


def status() -> Table:
    """Every entry: present or not, size, licence, and what needs it."""
    result = Table("name", "here", "MB", "licence", "without it, these are off", title="weights.yaml")
    result.columns[0].no_wrap = True
    for entry in table().values():
        name = f"{entry.name} ({entry.alias})" if entry.alias else entry.name
        here = entry.folder() is not None
        needed = ", ".join(entry.needed_by)
        result.add_row(name, "yes" if here else "no", str(entry.megabytes), entry.licence, needed)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m stylegallery.weights", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what is here, and what each missing piece switches off")
    commands.add_parser("fetch", help="download").add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        if options.command == "status":
            console.print(status(), f"download with: {FETCH} NAME ...")
        else:
            fetch(options.names, console)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
