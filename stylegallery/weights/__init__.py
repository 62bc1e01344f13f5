"""Where pretrained weights are on this machine. `python -m stylegallery.weights` lists and downloads them.

`weights.yaml` lists everything. Hub files lie in the Hugging Face cache (HF_HOME), single files in torch's checkpoint
folder (TORCH_HOME) where torchvision finds them, files that only the user can get in STYLEGALLERY_WEIGHTS/<name>,
by default ~/.cache/stylegallery/<name>.
"""

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import huggingface_hub.constants
from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from omegaconf import OmegaConf

from stylegallery.errors import InputError, MachineError
from stylegallery.files import unreachable

FETCH = "python -m stylegallery.weights fetch"
FILES = {".safetensors", ".ckpt", ".bin", ".pt", ".pth", ".gguf"}  # they tell paths from names of repositories
EMBEDDED = "embedded"  # the name of the shipped model, even where a folder is called so


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
            from torch import hub  # PyTorch takes seconds to import, which commands without weights need not wait for

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


def blobs_of(repository: str) -> Path:
    """Where the hub's cache keeps the contents of a repository's files."""
    folder = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / folder / "blobs"


@cache
def table() -> dict[str, Entry]:
    """All entries by name, in the order of `weights.yaml`."""
    rows = OmegaConf.to_container(OmegaConf.load(Path(__file__).parent.with_suffix(".yaml")))
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
        return Path(__file__).parents[1] / "embedded" / "weights"
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
