"""Where pretrained weights are on this machine, and the only code that downloads them.

    python -m stylegallery.weights status               what is here, and what each missing piece switches off
    python -m stylegallery.weights fetch sd15 dinov2    download, continue where a transfer broke off, check digests

`weights.yaml` lists everything. Hub files lie in the Hugging Face cache (HF_HOME), single files in torch's checkpoint
folder (TORCH_HOME) where torchvision finds them, files that only the user can get in STYLEGALLERY_WEIGHTS/<name>,
by default ~/.cache/stylegallery/<name>.
"""

import argparse
import difflib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.logging import set_verbosity_error
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from torch import hub

from stylegallery.command import listing, plain_console
from stylegallery.errors import InputError, MachineError
from stylegallery.files import read_json, unreachable
from stylegallery.transfer import Advance, check, download, explained, require_space

FETCH = "python -m stylegallery.weights fetch"
FILES = {".safetensors", ".ckpt", ".bin", ".pt", ".pth", ".gguf"}  # they tell paths from names of repositories
EMBEDDED = "embedded"  # the name of the shipped model, even where a folder is called so
MOVE = "set HF_HOME, TORCH_HOME or STYLEGALLERY_WEIGHTS to another folder"


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

    def folder(self, variants: bool = True) -> Path | None:
        """The folder in which all of its files are; None unless all are, or with `variants` those of half precision."""
        folder = snapshot(self.repository, self.revision) if self.repository else self.root()
        if folder is None:
            return None
        patterns = self.patterns(folder) if variants else self.files
        return folder if all(any(folder.glob(pattern)) for pattern in patterns) else None

    def patterns(self, folder: Path) -> list[str]:
        """Its files as they are in a folder: weights may be there as model.fp16.safetensors alone, as diffusers fetches
        them with `variant="fp16"`."""
        halves = [re.sub(r"\.(safetensors|bin)$", r".fp16.\1", file) for file in self.files]
        pairs = zip(self.files, halves, strict=True)
        return [half if any(folder.glob(half)) and not any(folder.glob(file)) else file for file, half in pairs]

    def bytes_here(self) -> int:
        """What an earlier transfer left of its files: those named without a pattern, or the part of one."""
        if self.repository:
            found = [
                huggingface_hub.try_to_load_from_cache(self.repository, file, revision=self.revision)
                for file in self.files
            ]
            parts = [Path(path) for path in found if isinstance(path, str)]
            parts += blobs_of(self.repository).glob("*.part")
            return sum(part.stat().st_size for part in parts)
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


def snapshot(repository: str, revision: str | None = None) -> Path | None:
    """The folder of a hub repository in the local cache, whether or not all of its files are there."""
    try:
        return Path(huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:  # a loader needs some of its files only, and names what is missing
        return Path(error.snapshot_path)
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def find(name: str) -> Entry | None:
    """The entry of that name, alias or hub repository."""
    entries = table()
    matching = (entry for entry in entries.values() if name in (entry.alias, entry.repository))
    return entries.get(name) or next(matching, None)


def local_path(path: str) -> Path | None:
    """The file or folder of that path; None where there is none.

    Raises:
        InputError: the system does not let us look, for want of permissions for example.
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
    if path == EMBEDDED:
        return Path(__file__).parent / "embedded" / "weights"
    if local := local_path(path):
        if local.is_dir():
            return local
        raise InputError(f"{path} is a file where a folder is needed; pass the folder that holds the model")
    entry = find(path)
    if entry is None:
        if folder := snapshot(path):
            return folder
        if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path) or Path(path).suffix in FILES:
            raise InputError(f"{path} is neither a folder nor a name in weights.yaml; check the path")
        raise MachineError(
            f"model {path} is neither a directory, a name in weights.yaml nor in the local Hugging Face cache; "
            f"pass another path or download it with: hf download {path}"
        )
    folder = entry.folder()
    if folder is None:
        raise MachineError(f"{path} is not or not wholly on this machine; download it with: {FETCH} {entry.name}")
    if entry.instructions:
        for file in entry.files:
            with (folder / file).open("rb") as stream:
                if stream.read(1) == b"<":  # Google Drive's request for a confirmation, saved by a browser
                    raise MachineError(f"{folder / file} is a web page, not weights; download it again")
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


def blobs_of(repository: str) -> Path:
    """Where the hub's cache keeps the contents of a repository's files."""
    folder = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / folder / "blobs"


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


# --- status ---


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
    console, failed = plain_console(), False
    try:
        if options.command == "status":
            console.print(status(), f"download with: {FETCH} NAME ...")
        else:
            fetch(options.names, console)
    except* InputError as errors:  # one or several
        for error in errors.exceptions:
            print(f"error: {error}", file=sys.stderr)
        failed = True
    if failed:
        sys.exit(2)


if __name__ == "__main__":
    main()
