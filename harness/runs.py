"""Runs: the items of a job, each done exactly once, whatever happens to the processes.

A job is one process. Any number of jobs, on any number of machines that share the output folder, may run the same
items: the lock of an item lets one of them do it, and who finds a lock taken looks again when everything else is done.
On file systems without locks give every machine a shard of its own. Even then nothing is corrupted: results move in
whole.
"""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from filelock import Timeout
from rich.console import Console

from harness.building import build
from harness.folder import RECORD, RunFolder, prepare_folder
from harness.frozen import settings_digest
from harness.jobs import Job
from harness.locks import lock, writable
from harness.progress import Bars
from harness.provenance import weights_digests
from harness.record import (
    Request,
    computing_on,
    environment,
    intact,
    read_record,
    require_apart,
    write_failure,
    write_result,
)
from harness.schemas import WRITTEN
from harness.stored import read_frozen
from harness.whole import clear_partial
from stylegallery.contract import Item, Method
from stylegallery.draws import item_generator
from stylegallery.errors import InputError, printable
from stylegallery.memory import enough_memory


def run_job(job: Job, tracker: dict[str, Any] | None, console: Console) -> Counter[str]:
    """Do a job in this process; counts of `done`, `there` and `failed`."""
    console.print(f"{job.label} computes on {computing_on(environment(job.method))}", markup=False)
    mirror = build(tracker, "tracker")(job) if tracker else None
    try:
        return run_items(job, lambda: build(job.method), console, mirror.log if mirror else None)
    finally:
        if mirror:
            mirror.finish(console)


def run_items(
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
        for item in in_turn(job):
            folder = job.folder(item)
            prepare_folder(folder, RunFolder(job.out).cells)
            clear_partial(folder, WRITTEN, RECORD)
            request, error, of_settings = None, "", False
            try:
                require_apart(folder, item)
                request = Request.of(item, job.seed, job.method)
            except InputError as problem:
                error = str(problem)
            record = read_record(folder)
            there = record and "error" not in record and intact(folder, record)
            if request and record and there and record["digest"] == request.digest():
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
                    error = printable(error)
                    if request or not record or "error" in record:  # a result stays while its inputs cannot be read
                        record = write_failure(folder, item, job.seed, request, error, job.settings)
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
        with enough_memory():
            result = method.stylize(item, item_generator(job.seed, item))
        request.require_unchanged()
    except InputError as error:
        return None, str(error), not any(printable(str(path)) in str(error) for path in item.files().values())
    except FloatingPointError as error:
        return None, str(error), False
    except Exception as error:  # one item must not end a sweep of hundreds: a bug in a baseline
        if isinstance(error, SubprocessError) or type(error).__module__.startswith("submitit."):
            raise  # by the signal that ends this task of a cluster, not by the item
        console.print_exception()
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", False
    return write_result(folder, request, result, explain=False, settings=job.settings), "", False


def in_turn(job: Job) -> Iterator[Item]:
    """Every item of a job, once, with its lock held until the next is asked for.

    Those that other processes hold come last, as soon as they are let go: done by then, or left by a dead process.

    Raises:
        InputError: a lock cannot be made.
    """
    later: list[Item] = []
    with writable(job.out):
        for wait, items in ((False, job.items), (True, later)):
            for item in items:
                claim = lock(job.out, f"{job.label}/{item.id}")
                try:
                    claim.acquire(blocking=wait)
                except Timeout:
                    later.append(item)
                    continue
                try:
                    with suppress(PermissionError):  # on Windows nobody writes to what is locked
                        Path(claim.lock_file).write_text(f"{socket.gethostname()} {os.getpid()}\n", encoding="utf-8")
                    require_settings(job)
                    yield item
                finally:
                    claim.release()


def require_settings(job: Job) -> None:
    """Raise InputError where the frozen settings of a job are no longer those that it was made with.

    Asked with the lock of an item held: who freezes other settings meanwhile sees that lock, or is seen here.
    """
    if job.settings is not None:
        with lock(job.out, "config"):
            frozen = read_frozen(RunFolder(job.out).settings(job.label))
        if settings_digest(frozen) != job.settings:
            raise InputError(
                f"{job.out} holds {job.label} with settings of another start, which came after this one; "
                "pass label= with a new name or another out="
            )
