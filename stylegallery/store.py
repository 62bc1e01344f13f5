"""What was found of pictures, kept on disk: a picture is analysed once, whatever runs, methods and processes use it.

An entry is a safetensors file. Its name is the digest of all that decides what is in it: the picture, the settings that
matter, the weights, the sources, and what computes. An entry that is gone or damaged is computed again, so that any
number of processes may read, write and remove entries at the same time.
"""

import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stylegallery.environment import environment
from stylegallery.errors import InputError
from stylegallery.files import cache_folder, notice, replacing_beside_others, require_file
from stylegallery.matching import SCORING
from stylegallery.provenance import identity
from stylegallery.settings import Positive, checked

PARTS = ("model", "encoder", "depth", "segmenter", "segmentation")  # settings of a method that decide an analysis
SIZES = ("resolution", "resizing")
LIBRARIES = ("opencv-python-headless", "pillow", "scikit-image", "scipy")  # decide one too; records do not name them
ROOMY, LOOK = 0.9, 0.05  # of a folder's limit: kept when it is full; written before sizes are added up again
SPARE = 2**30  # bytes that are left to others on the disk
PATIENCE = 600.0  # seconds that a process waits for another one's work
Form = str  # kind and shape of a tensor, such as "float 1 C h w": equal letters are equal sizes


class AnalysisStore:
    """Inversions and analyses of pictures by the settings of one method, in a folder that all methods share.

    `inversions` outlive a change of segmentation, matching and seed; F_mix is in them alone. `analyses` hold all that a
    run needs of a picture but its pixels. Each has half of `limit`, so that the many and small of these stay where
    large ones come and go.
    """

    @checked
    def __init__(self, settings: Mapping[str, Any], folder: str | None, limit: Positive) -> None:
        """`settings` are those of a method, resolved; `limit` is in GiB. Where `folder` is None, it is
        stylegallery/store in the user's cache."""
        place = Path(folder).expanduser() if folder else Path(cache_folder(), "stylegallery", "store")
        self.settings = settings
        self.inversions = Entries(place / "inversions", limit * 2**29)
        self.analyses = Entries(place / "analyses", limit * 2**29)

    def inversion_key(self, image: Tensor) -> str:
        """Name of the entry of an image (1, 3, H, W) as the model sees it."""
        return digest(self.of_inversions, image)

    def analysis_key(self, picture: str, mask: str, run_seed: int) -> str:
        """Name of the entry of a picture's analysis, by the digest of its file: thousands of pictures are looked up
        without being decoded. `mask` is that of the user's mask, if there is one."""
        return digest(self.of_analyses, picture, mask, str(run_seed))

    @cached_property
    def of_inversions(self) -> str:
        """Digest of all but the picture that decides an inversion."""
        given = {name: self.settings["segmentation"][name] for name in ("inversion_steps", "inversion_batch")}
        inversion = {"_target_": "stylegallery.inversion.invert"} | given
        return digest(identity([self.settings["model"], inversion]), self.computed_by)

    @cached_property
    def of_analyses(self) -> str:
        """Digest of all but the picture that decides an analysis."""
        return digest(self.recipe, self.computed_by)

    @cached_property
    def recipe(self) -> str:
        """Digest of the settings, weights and sources that decide an analysis, wherever it is computed. Weights of
        scores decide matches, and no analysis."""
        matching = {name: value for name, value in self.settings["matching"].items() if name not in SCORING}
        parts = [self.settings[name] for name in PARTS]
        analyser = {"_target_": "stylegallery.analysis.Analyser"} | {name: self.settings[name] for name in SIZES}
        return identity([*parts, matching, analyser])

    @cached_property
    def computed_by(self) -> str:
        """Device, precision, threads and libraries: sums over other threads have other last bits."""
        libraries = {name: version(name) for name in LIBRARIES}
        return json.dumps(environment(self.settings) | libraries, sort_keys=True)


class Entries:
    """Tensors by name, one file for a key. The least recently used go where the files of a folder have more than
    `limit` bytes. Nothing here fails because a file cannot be read or written.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        self.room = 0.0  # bytes that may be written before sizes are added up again

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether there is an entry; it may be damaged."""
        return self.path(key).is_file()

    def get(self, key: str, forms: Mapping[str, Form], copied: bool = True) -> dict[str, Tensor] | None:
        """The tensors of an entry that `forms` names, on the CPU; None unless all are there, as written, and of their
        forms. Where they are not `copied`, they are views of the file, which are for reading once."""
        path = self.path(key)
        try:
            require_file(path)
            with safe_open(path, framework="pt") as file:
                written = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in forms}
                found = {name: tensor.clone() for name, tensor in found.items()} if copied else found
        except (InputError, OSError, SafetensorError):
            return None
        if not have_forms(found, forms) or any(written.get(name) != checksum(key, found[name]) for name in found):
            return None
        self.touch(key)
        return found

    def touch(self, key: str) -> None:
        """Let an entry count as used now."""
        with suppress(OSError):  # somebody else's folder, or the entry went meanwhile
            os.utime(f"{self.folder}/{key}.safetensors")  # of thousands: a Path takes as long as the call

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, in place of what is there. A folder that cannot be written is told once."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        if sum(tensor.nbytes for tensor in plain.values()) > ROOMY * self.limit:
            return
        data = save(plain, {name: checksum(key, tensor) for name, tensor in plain.items()})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.make_room(len(data))
            with replacing_beside_others(self.path(key)) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            notice(
                f"{self.folder} cannot be written ({error.strerror or error}), so that pictures are analysed again by "
                "the next run; make room, or pass store.folder= or store=null"
            )

    @contextmanager
    def turn(self, keys: Iterable[str]) -> Iterator[None]:
        """Within it no other process has its turn with one of these keys, so that two do not compute the same.

        It is a courtesy: where a file system has no locks, or another takes longer than PATIENCE, both compute.
        """
        with ExitStack() as held:
            with suppress(OSError, NotImplementedError, Timeout):
                self.folder.mkdir(parents=True, exist_ok=True)
                for name in sorted({key[:2] for key in keys}):  # in one order, so that nobody waits for each other
                    held.enter_context(FileLock(self.folder / f"{name}.lock", timeout=PATIENCE))
            yield

    def make_room(self, needed: int) -> None:
        """Remove the least recently used files where `needed` bytes more are too many, or leave the disk too little for
        what is no cache. Adding up sizes takes long, so that n writers may have n twentieths of the limit too much for
        a while.

        Raises:
            OSError: that is not enough.
        """
        if needed > self.room:
            files = sorted(self.files(), key=lambda file: file[1].st_mtime_ns)
            total = sum(stat.st_size for _, stat in files)
            limit = min(self.limit, total + shutil.disk_usage(self.folder).free - SPARE)
            if needed > limit:  # however many entries go
                raise OSError(errno.ENOSPC, "the disk is nearly full")
            crowded = total + needed > limit
            for path, stat in files if crowded else []:
                if total + needed <= ROOMY * limit:
                    break
                with suppress(OSError):  # another process removed it, or reads it on Windows
                    path.unlink()
                    total -= stat.st_size
            if total + needed > limit:
                raise OSError(errno.ENOSPC, "the disk is nearly full")
            self.room = LOOK * self.limit
        self.room -= needed

    def files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Entries, and what a killed process left of one; no file of anybody else's."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as found:
            for file in found:
                if file.name.endswith((".safetensors", ".tmp")) and file.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        yield Path(file.path), file.stat(follow_symlinks=False)


def digest(*parts: str | Tensor) -> str:
    """Of texts and of tensors with their kind and shape."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            found.update(bytes_of(part))
        else:
            found.update(f"{len(part)} {part} ".encode())
    return found.hexdigest()[:32]


def checksum(key: str, tensor: Tensor) -> str:
    """CRC-32 of a tensor with its kind, shape and key. It guards against damage, for which a digest would take twice as
    long; against those who may write here neither would."""
    start = zlib.crc32(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
    return f"{zlib.crc32(bytes_of(tensor), start):08x}"


def bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def have_forms(tensors: Mapping[str, Tensor], forms: Mapping[str, Form]) -> bool:
    """Whether every tensor is of the kind and shape that its form says."""
    sizes: dict[str, int] = {}
    for name, form in forms.items():
        (kind, *letters), tensor = form.split(), tensors[name]
        alike = tensor.is_floating_point() if kind == "float" else str(tensor.dtype) == f"torch.{kind}"
        if not alike or len(letters) != tensor.ndim:
            return False
        for letter, size in zip(letters, tensor.shape, strict=True):
            if size == 0 or size != (int(letter) if letter.isdigit() else sizes.setdefault(letter, size)):
                return False
    return True
