"""Many processes for one job, on engines that exist: Slurm and local processes through submitit, Ray through its core.

An engine gets frozen settings (OUT/config/<label>.yaml) and a shard of the items, nothing else. Items are idempotent:
a shard that is killed, requeued or submitted again does what is missing. Logs lie in OUT/jobs.
"""

import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data.benchmark import load_items, places
from harness.folder import RunFolder
from harness.frozen import inputs_digest, read_frozen, settings_digest
from harness.jobs import Job
from harness.runs import run_job
from stylegallery.command import plain_console
from stylegallery.errors import InputError
from stylegallery.settings import Count, checked


@dataclass(frozen=True)
class Shard:
    """What one task of an engine does: a shard of a frozen job, with the pictures in `root`.

    It holds plain values only, as it is sent to another machine, where it may start days later. It does nothing unless
    `settings` and `items` (id -> digest of its inputs) are those of the moment when it was made.
    """

    out: str
    label: str
    settings: str | None
    items: dict[str, str]
    shard: str
    root: str | None
    tracker: dict[str, Any] | None
    store: dict[str, Any] | None = None

    def __call__(self) -> dict[str, int]:
        path = RunFolder(Path(self.out)).settings(self.label)
        frozen = read_frozen(path)
        if settings_digest(frozen) != self.settings:
            raise InputError(f"{path} holds settings of a later start than this task's, so it does nothing")
        data = frozen["data"] | ({"root": self.root} if self.root else {})
        items = [item for item in load_items(data) if item.id in self.items]
        if {item.id: inputs_digest(item) for item in items} != self.items:
            raise InputError(
                f"the pictures on {socket.gethostname()} are not those that the task was started with; put them "
                f"where they were on the machine that started it ({places(data)}), or start again"
            )
        job = Job(
            Path(self.out), frozen["label"], frozen["seed"], frozen["method"], items, self.settings, store=self.store
        )
        with ended_by_signals():
            return dict(run_job(job, self.tracker, plain_console()))

    def checkpoint(self) -> Any:
        """What submitit submits again after a time-out or preemption: the same shard, whose results are on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class TaskEnded(BaseException):
    """The engine ended this task. It is no Exception, as the item being done has not failed."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """What the engine's handlers of signals raise, on a time-out for example, ends the task and goes to the engine.

    Without this the method that is running would seem to have raised it.
    """

    def ending(handler: Callable[..., Any]) -> Callable[..., None]:
        def handle(*arguments: Any) -> None:
            try:
                handler(*arguments)
            except Exception as error:
                raise TaskEnded(error) from error

        return handle

    found = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        with handling({number: ending(handler) for number, handler in found.items() if callable(handler)}):
            yield
    except TaskEnded as ended:
        raise ended.error from None


@contextmanager
def handling(handlers: Mapping[int, Callable[..., object]]) -> Iterator[None]:
    """Other handlers of signals for a while; nothing changes outside the main thread, which alone gets signals."""
    on_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()} if on_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Launcher:
    """Hands the shards of a job to an engine and waits for them."""

    @checked
    def __init__(self, tasks: Count) -> None:
        self.tasks = tasks

    def launch(self, jobs: list[Job], tracker: dict[str, Any] | None, console: Console) -> Counter[str]:
        """Counts over all shards of jobs, which hold all their items and are cut into shards here.

        A shard that did not end counts as `lost`, with its reason printed.
        """
        shards = [
            Shard(
                str(job.out.resolve()),
                job.label,
                job.settings,
                {item.id: inputs_digest(item) for item in job.items[number :: self.tasks]},
                f"{number}/{self.tasks}",
                job.root,
                tracker,
                job.store,
            )
            for job in jobs
            for number in range(self.tasks)
        ]
        return self.run(shards, RunFolder(jobs[0].out).jobs, console) if jobs else Counter()

    def run(self, shards: list[Shard], folder: Path, console: Console) -> Counter[str]:
        raise NotImplementedError


def lose(tally: Counter[str], shard: Shard, reason: str, console: Console) -> None:
    """Count a shard that did not end and say why."""
    last_line = [line.strip() for line in reason.splitlines() if line.strip()][-1:]
    console.print(
        f"{shard.label}, shard {shard.shard} did not end: {''.join(last_line)}; start again to do the rest",
        markup=False,
    )
    tally["lost"] += 1
