"""Runs: the items of a job, each done exactly once, whatever happens to the processes.

Any number of jobs, on any number of machines that share the output folder, may run the same items. The lock of an item
lets one of them do it; who finds a lock taken looks again when everything else is done. On a file system without
locks give every machine a shard of its own; even without, results move in whole, so that nothing is corrupted.
"""

import os
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.building import build
from harness.folder import RECORD, RESULT_FILES, RunFolder, prepare_folder
from harness.frozen import read_frozen, settings_digest
from harness.jobs import Job
from harness.locks import lock, taken
from harness.record import Record, Request, read_record
from harness.result_files import require_apart, require_free, write_failure, write_result
from stylegallery.contract import Cancelled, Item, Method, Progress, Silent, Stylization
from stylegallery.draws import generator_for
from stylegallery.environment import computing_on, environment
from stylegallery.errors import InputError, MachineError, OutOfMemory, SettingsError, printable
from stylegallery.files import clear_partial, writable
from stylegallery.memory import enough_memory
from stylegallery.progress import Bars
from stylegallery.provenance import code_digest, weights_digests


def run_job(
    job: Job,
    tracker: dict[str, Any] | None,
    console: Console,
    items: list[Item] | None = None,
    held: list[Item] | None = None,
) -> Counter[str]:
    """Do a job in this process, or some `items` of it; counts of `done`, `there` and `failed`.

    `held` as in `in_turn`.
    """
    console.print(f"{job.label} computes on {computing_on(environment(job.method))}", markup=False)
    told = build(tracker, "tracker")(job) if tracker else None
    try:
        part = job if items is None else replace(job, items=items)
        return run_items(part, lambda: build(job.method, store=job.store), console, told.log if told else None, held)
    finally:
        if told:
            told.finish(console)


def run_single(job: Job, console: Console) -> Record:
    """Do the one item of a job whose result lies in OUT itself; its record.

    Raises:
        InputError: it cannot be done; another process is at work in OUT, or a file there is not
            of a result.
        FloatingPointError: its numbers are not finite.
    """
    (item,) = job.items
    request = Request.of(item, job.seed, job.method)
    prepare_folder(job.out)
    require_free(job.out, item, begun=job.lock_file(item).exists())
    held = taken(job.out, job.lock_name(item), wait=False)
    if held is None:
        raise InputError(f"{job.out} is being written by another process; wait for it or pass another out=")
    with held:
        clear_partial(job.out, RESULT_FILES, RECORD)
        if record := present(job.out, request):
            console.print(f"{job.out} already holds this result; nothing to do", markup=False)
            return record
        console.print(f"computing on {computing_on(environment(job.method))}", markup=False)
        method = build(job.method, store=job.store)
        with Bars(console) as bars:
            return make(job, item, request, method, bars)


def run_items(
    job: Job,
    build: Callable[[], Method],
    console: Console,
    log: Callable[[Record], None] | None = None,
    held: list[Item] | None = None,
) -> Counter[str]:
    """Do every item of a job that has no valid result yet; counts of `done`, `there` and `failed`.

    `build` makes the method, once, when the first item needs it; `log` gets the record of every item. `held` as in
    `in_turn`.

    Raises:
        SettingsError, MachineError: what keeps every item from being done; see `stylegallery.errors`.
        InputError: the method cannot be built, or the settings of the job are no longer those of its label.
        Cancelled: the method was told to stop.
    """
    weights_digests(job.method)  # missing weights end the job before its first item
    tally: Counter[str] = Counter(done=0, there=0, failed=0)
    worker = Worker(job, build, console)
    with Bars(console) as bars, closing(in_turn(job, held)) as items:
        bar = bars.add_task(job.label, total=len(job.items))
        for state, record in (done for group in items for done in worker.do(group)):
            tally[state] += 1
            # The estimated time counts only items that have no result yet.
            bars.update(bar, total=len(job.items) - tally["there"], completed=tally["done"] + tally["failed"])
            if log:
                log(record)
    return tally


class Worker:
    """Does items of a job, one after the other or several together, with a method that is built when it is needed."""

    def __init__(self, job: Job, build: Callable[[], Method], console: Console) -> None:
        self.job, self.build, self.console = job, cache(build), console
        self.out_of_memory = False  # at the last item
        self.alone = False  # since a group did not fit into memory

    def do(self, items: Sequence[Item]) -> Iterator[tuple[str, Record]]:
        """Whether each of some items was `done`, was `there` or `failed`, and its record. Their locks are held.

        Raises:
            As `run_items`: whatever may keep the other items from being done, too.
        """
        missing: list[tuple[Item, Request]] = []
        for item in items:
            folder = self.job.folder(item)
            prepare_folder(folder, RunFolder(self.job.out).cells)
            clear_partial(folder, RESULT_FILES, RECORD)
            try:
                require_apart(folder, item)
                request = Request.of(item, self.job.seed, self.job.method)
            except InputError as error:
                self.out_of_memory = False
                yield self.failed(item, None, str(error))
                continue
            if record := present(folder, request):
                self.out_of_memory = False
                yield "there", record
            else:
                missing.append((item, request))
        at_once = len(missing) > 1 and not self.alone and hasattr(self.build(), "stylize_together")
        made = self.together([item for item, _ in missing]) if at_once else [None] * len(missing)
        for (item, request), result in zip(missing, made, strict=True):
            yield self.do_one(item, request, result)

    def together(self, items: Sequence[Item]) -> list[Stylization] | list[None]:
        """Results of several items at once. None of each where that fails: one by one they tell which is to blame."""
        method: Any = self.build()
        try:
            with enough_memory():
                generators = [generator_for(method, self.job.seed, item) for item in items]
                results: list[Stylization] = method.stylize_together(items, generators)
                return results
        except (SettingsError, Cancelled):
            raise
        except Exception as error:
            self.alone = isinstance(error, OutOfMemory)
            reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
            self.console.print(f"{len(items)} items are done one by one: {reason}", style="yellow", markup=False)
            return [None] * len(items)

    def do_one(self, item: Item, request: Request, result: Stylization | None) -> tuple[str, Record]:
        """Write the result of an item, which the method makes now where there is none."""
        was_out_of_memory, self.out_of_memory = self.out_of_memory, False
        method = self.build()
        try:
            return "done", make(self.job, item, request, method, result=result)
        except OutOfMemory as error:
            if was_out_of_memory:
                raise
            self.out_of_memory = True
            return self.failed(item, request, str(error))
        except (SettingsError, MachineError, Cancelled):
            raise
        except (InputError, FloatingPointError) as error:
            return self.failed(item, request, str(error))
        except Exception as error:  # a bug in a method
            self.console.print_exception()
            return self.failed(item, request, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")

    def failed(self, item: Item, request: Request | None, reason: str) -> tuple[str, Record]:
        """Say and record why an item failed. A result stays while the files that it was made of cannot be read, so that
        there is no request."""
        reason, folder = printable(reason), self.job.folder(item)
        self.console.print(f"{item.id} failed: {reason}", style="red", markup=False)
        record = read_record(folder)
        if request or not record or record.failed:
            record = write_failure(folder, item, self.job.seed, request, reason, self.job.settings)
        return "failed", record


def present(folder: Path, request: Request) -> Record | None:
    """The record of a folder, if it is of this request and the files are what was written."""
    record = read_record(folder)
    answers = record and not record.failed and record.digest == request.digest() and record.is_intact(folder)
    return record if answers else None


def make(
    job: Job,
    item: Item,
    request: Request,
    method: Method,
    progress: Progress = Silent(),
    result: Stylization | None = None,
) -> Record:
    """Have an item done, unless its result is given, and the result written; its record. Its lock is held."""
    with enough_memory():
        result = result or method.stylize(item, generator_for(method, job.seed, item), progress)
    request.require_unchanged()
    return write_result(job.folder(item), request, result, explain=job.single, settings=job.settings)


def in_turn(job: Job, held: list[Item] | None = None) -> Generator[list[Item]]:
    """Every item of a job, once, with its lock held until the next are asked for: `job.batch` items at a time, and
    alone what seems to be done, so that groups are full.

    Items that other processes hold come last, when their locks are free: these are done by then, or their process died.
    They come alone: whoever waits for a lock holds no other. Where a list `held` is given, it gets these items instead,
    for whoever has other work meanwhile.

    Raises:
        MachineError: a lock cannot be made.
        InputError: as `require_settings`.
    """
    later = [] if held is None else held
    for wait, items, size in ((False, job.items, job.batch), (True, later if held is None else [], 1)):
        with ExitStack() as locks:
            group: list[Item] = []
            for item in items:
                own = taken(job.out, job.lock_name(item), wait)
                if own is None:
                    later.append(item)
                elif size == 1 or seems_done(job, item):
                    with at_work(job, item, own):
                        yield [item]
                else:
                    locks.enter_context(at_work(job, item, own))
                    group.append(item)
                    if len(group) == size:
                        yield group
                        locks.close()
                        group = []
            if group:
                yield group


def seems_done(job: Job, item: Item) -> bool:
    """Whether an item has a result of the code as it is; `present` looks closely."""
    record = read_record(job.folder(item))
    return record is not None and not record.failed and record.code == code_digest(job.method)


@contextmanager
def at_work(job: Job, item: Item, held: AbstractContextManager[object]) -> Iterator[None]:
    """The lock of an item, in which status reads who has it."""
    with held:
        with writable(job.out):
            with suppress(PermissionError):  # on Windows a locked file cannot be written
                job.lock_file(item).write_text(f"{socket.gethostname()} {os.getpid()}\n", encoding="utf-8")
            require_settings(job)
        yield


def require_settings(job: Job) -> None:
    """Raises InputError where the frozen settings of a job are no longer those that it was made with.

    Called with the lock of an item held: whoever freezes other settings meanwhile sees that lock, or is seen here.
    """
    if job.settings is not None:
        with lock(job.out, "config"):
            frozen = read_frozen(RunFolder(job.out).settings(job.label))
        if settings_digest(frozen) != job.settings:
            raise InputError(
                f"{job.out} holds {job.label} with settings of another start, which came after this one; "
                "pass label= with a new name or another out="
            )
