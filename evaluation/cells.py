"""Cells: the items of a benchmark done by one method, each exactly once, whatever happens to the processes.

A job is one process. Any number of jobs, on any number of machines that share the output folder, may run the same
items: the lock of a cell (`flock` on a file in OUT/.locks, kept by the kernel for as long as its process lives, so
that no lock is ever stale) lets one of them do it, and who finds a lock taken looks again when everything else is
done. Across machines this needs a file system with shared locks (NFS 4, Lustre with `flock`, GPFS, CephFS); on others
give every machine a shard of its own. Even without locks nothing is corrupted: results move in whole.
"""

import hashlib
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from yaml import YAMLError

from data.benchmark import Item, load_items
from evaluation.progress import Bars
from evaluation.provenance import weights_digests
from evaluation.record import (
    Request,
    clear_partial,
    prepare_folder,
    read_record,
    write_failure,
    write_result,
)
from stylegallery.errors import InputError, require
from stylegallery.method import Method

LABEL = r"[A-Za-z0-9_.@=+,-]+"


@dataclass(frozen=True)
class Job:
    """One method, with its resolved settings, and the items that this process sees to."""

    out: Path
    label: str
    seed: int
    method: dict[str, Any]
    items: list[Item]

    @classmethod
    def of(cls, config: DictConfig, label: str) -> "Job":
        """The job of a composed config; its settings are frozen in OUT/config/<label>.yaml first.

        Raises:
            InputError: bad label, shard or limit, an incomplete benchmark, or OUT has the label with other settings.
        """
        require(re.fullmatch(LABEL, label) is not None, "label consists of letters, digits and _.@=+,-", label)
        limit = config.limit
        require(limit is None or (isinstance(limit, int) and limit > 0), "limit is null or at least 1", limit)
        out = Path(str(config.out or f"outputs/{config.data.get('manifest', 'folder')}"))
        items = load_items(config.data)[:limit]
        mine = items[parse_shard(str(config.shard))]
        frozen = freeze(out, label, config)
        return cls(out, label, config.seed, frozen["method"], mine)

    @classmethod
    def of_frozen(cls, path: Path, shard: str, root: str | None) -> "Job":
        """The job of settings that `freeze` wrote to OUT/config/<label>.yaml, with the pictures in `root`."""
        frozen = read_frozen(path)
        data = frozen["data"] | ({"root": root} if root else {})
        items = load_items(data)[: frozen["limit"]]
        out = path.parent.parent
        return cls(out, frozen["label"], frozen["seed"], frozen["method"], items[parse_shard(shard)])

    def folder(self, item: Item) -> Path:
        return self.out / "cells" / self.label / item.id


def parse_shard(shard: str) -> slice:
    """`k/n`, k counted from 0: every n-th item, so that shards are alike."""
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"shard is {shard}; pass k/n with k from 0 to n-1, such as 0/4")
    return slice(int(found[1]), None, int(found[2]))


def item_generator(seed: int, item: Item) -> torch.Generator:
    """The generator of all draws of an item, the same in any order and any shard."""
    digest = hashlib.sha256(f"{seed} {item.id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))


# --- settings that stay as they were ---


def freeze(out: Path, label: str, config: DictConfig) -> dict[str, Any]:
    """Write what decides the results of a label to OUT/config/<label>.yaml, or compare it with what is there.

    Returns seed, data, method (resolved) and limit. Where the pictures are is left out; limit, the number of items
    that are planned, may change.

    Raises:
        InputError: the label was made with other settings; the message names them.
    """
    prepare_folder(out / "config")
    now: dict[str, Any] = {"label": label, "limit": config.limit, "seed": config.seed}
    for key in ("data", "method"):
        now[key] = OmegaConf.to_container(config[key], resolve=True)
    now["data"].pop("root", None)
    with lock(out, "config"):
        path = out / "config" / f"{label}.yaml"
        if path.exists():
            old = read_frozen(path)
            changed = differences(old | {"limit": config.limit}, now)
            if changed:
                raise InputError(
                    f"{out} holds {label} with other settings ({'; '.join(changed[:5])}"
                    f"{f'; {len(changed) - 5} more' if len(changed) > 5 else ''}); "
                    "pass label= with a new name or another out="
                )
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(now)))
        temporary.replace(path)
    return now


def read_frozen(path: Path) -> dict[str, Any]:
    """Raises InputError where the file is not one that `freeze` wrote."""
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
        if isinstance(values, dict) and {"label", "limit", "seed", "data", "method"} <= values.keys():
            return {str(key): value for key, value in values.items()}
    except (OSError, ValueError, YAMLError):
        pass
    raise InputError(f"{path} is not the frozen settings of a label; restore it or pass another out=")


def differences(old: object, new: object, name: str = "") -> list[str]:
    """`method.guidance.steps: 150 there, 28 now` for every setting that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        inner = (differences(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return [difference for differences in inner for difference in differences]
    return [] if old == new else [f"{name}: {old} there, {new} now"]


# --- locks ---


def lock(out: Path, name: str) -> FileLock:
    """The lock of a cell (`<label>/<item>`) or of the frozen settings (`config`)."""
    path = out / ".locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, poll_interval=0.2)


def claims(job: Job) -> Iterator[Item]:
    """Every item of a job, once, with its lock held until the next is asked for.

    Those that other processes hold come last, as soon as they are let go: done by then, or left by a dead process.
    """
    later: list[Item] = []
    for wait, items in ((False, job.items), (True, later)):
        for item in items:
            claim = lock(job.out, f"{job.label}/{item.id}")
            try:
                claim.acquire(blocking=wait)
            except Timeout:
                later.append(item)
                continue
            try:
                Path(claim.lock_file).write_text(f"{socket.gethostname()} {os.getpid()}\n")
                yield item
            finally:
                claim.release()


def holder(out: Path, label: str, item: str) -> str | None:
    """`host pid` of the process that has the lock of a cell; None where no process has it."""
    path = out / ".locks" / label / f"{item}.lock"
    try:
        with FileLock(path, blocking=False) if path.exists() else nullcontext():
            return None
    except (Timeout, PermissionError):
        return path.read_text().strip() or "starting"


# --- running ---


def run_cells(
    job: Job, build: Callable[[], Method], console: Console, mirror: Callable[[dict[str, Any]], None] | None = None
) -> Counter[str]:
    """Do every item of a job that has no valid result yet; counts of `done`, `there` and `failed`.

    `build` makes the method, once, when the first item needs it; `mirror` is told the record of every item.

    Raises:
        InputError: weights are missing, the method cannot be built, the settings do not suit it, or the results
            cannot be written: what no other item would change.
    """
    weights_digests(job.method)  # before any item: missing weights are nobody's failure but the settings'
    tally: Counter[str] = Counter(done=0, there=0, failed=0)
    method: Method | None = None
    unsuited = ""  # what a setting was told by the item before
    with Bars(console) as bars:
        bar = bars.add_task(job.label, total=len(job.items))
        for item in writable(claims(job), job.out):
            folder = job.folder(item)
            prepare_folder(folder)
            clear_partial(folder)
            request, error, of_settings = None, "", False
            try:
                request = Request.of(item, job.seed, job.method)
            except InputError as problem:
                error = str(problem)
            record = read_record(folder)
            if request and record and record["digest"] == request.digest() and "error" not in record:
                unsuited = ""
                tally["there"] += 1
                bars.update(bar, total=len(job.items) - tally["there"])  # the time left is that of the others
            else:
                if request:
                    method = method or build()
                    record, error, of_settings = attempt(method, item, job, request, folder, console)
                if of_settings and error == unsuited:
                    raise InputError(error)  # twice in the same words: no other item would fare better
                unsuited = error if of_settings else ""
                if error:
                    record = write_failure(folder, item, job.seed, request, error)
                    console.print(f"{item.id} failed: {error}", style="red", markup=False)
                tally["failed" if error else "done"] += 1
                bars.advance(bar)
            if mirror and record:
                mirror(record)
    return tally


def attempt(
    method: Method, item: Item, job: Job, request: Request, folder: Path, console: Console
) -> tuple[dict[str, Any] | None, str, bool]:
    """The record of an item, or why there is none and whether the settings are to blame: bad input that is no file."""
    try:
        result = method.stylize(item, item_generator(job.seed, item))
        request.require_unchanged()
    except InputError as error:
        return None, str(error), not any(str(path) in str(error) for path in item.files().values())
    except FloatingPointError as error:
        return None, str(error), False
    except Exception as error:  # one item must not end a sweep of hundreds: out of memory, a bug in a baseline
        console.print_exception()
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", False
    return write_result(folder, request, result, explain=False), "", False


def writable(items: Iterator[Item], out: Path) -> Iterator[Item]:
    """Raises InputError where a lock cannot be made."""
    try:
        yield from items
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({error.strerror or error}); make room or pass another out="
        ) from error
