"""Many processes for one job, on engines that exist: Slurm and local processes through submitit, Ray through its core.

An engine gets frozen settings (OUT/config/<label>.yaml) and a shard of the items, nothing else. Cells are idempotent:
a shard that is killed, requeued or submitted again does what is missing. Logs lie in OUT/jobs.
"""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from data.benchmark import load_items, places
from harness.cells import Job, inputs_digest, run_cells, settings_digest
from harness.record import computing_on, environment
from harness.stored import read_frozen
from stylegallery.command import plain_console
from stylegallery.contract import require_method
from stylegallery.errors import InputError, first_line
from stylegallery.memory import enough_memory, ran_out
from stylegallery.settings import Count, NotNegative, Number, check, checked


def build(node: Any, name: str = "method") -> Any:
    """Instantiate a node of the config; hydra wraps what a constructor raises, the user gets one sentence.

    Raises:
        InputError: it cannot be built, for whatever reason: no other item would fare better, another method may.
    """
    settings: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    check(settings, name)
    with enough_memory():
        try:
            made = instantiate(settings, _convert_="all")
        except InstantiationException as error:
            cause = error.__cause__ or error
            if isinstance(cause, InputError) or ran_out(cause):
                raise cause from None
            raise InputError(
                f"{node['_target_']} cannot be built ({type(cause).__name__}: {first_line(cause)}); "
                "check its settings and its weights"
            ) from error
    if name == "method":
        require_method(made, node["_target_"])
    return made


def run_job(job: Job, tracker: dict[str, Any] | None, console: Console) -> Counter[str]:
    """Do a job in this process; counts of `done`, `there` and `failed`."""
    console.print(f"{job.label} computes on {computing_on(environment(job.method))}", markup=False)
    mirror = build(tracker, "tracker")(job) if tracker else None
    try:
        return run_cells(job, lambda: build(job.method), console, mirror.log if mirror else None)
    finally:
        if mirror:
            mirror.finish(console)


@dataclass(frozen=True)
class Shard:
    """What one task of an engine does: a shard of a frozen job, with the pictures in `root`.

    Holds plain values only, as it travels. It waits, perhaps for days, and starts on another machine: `settings` and
    `items` (id -> digest of its inputs) are those of the start, and nothing else is done.
    """

    frozen: str
    settings: str | None
    items: dict[str, str]
    shard: str
    root: str | None
    tracker: dict[str, Any] | None

    def __call__(self) -> dict[str, int]:
        path = Path(self.frozen)
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
        job = Job(path.parent.parent, frozen["label"], frozen["seed"], frozen["method"], items, self.settings)
        return dict(run_job(job, self.tracker, plain_console()))

    def checkpoint(self) -> Any:
        """What submitit submits again after a time-out or preemption: the same shard, whose cells are on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


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
                str((job.out / "config" / f"{job.label}.yaml").resolve()),
                job.settings,
                {item.id: inputs_digest(item) for item in job.items[number :: self.tasks]},
                f"{number}/{self.tasks}",
                job.root,
                tracker,
            )
            for job in jobs
            for number in range(self.tasks)
        ]
        return self.run(shards, jobs[0].out / "jobs", console) if jobs else Counter()

    def run(self, shards: list[Shard], folder: Path, console: Console) -> Counter[str]:
        raise NotImplementedError


class Submitit(Launcher):
    """Slurm jobs, or processes of this machine (`cluster=local`, one run after the other, in turn on the `gpus`).

    `parameters` are submitit's: slurm_partition, slurm_account, gpus_per_node, cpus_per_task, mem_gb, timeout_min...
    Requeue-safe: Slurm may requeue a task after a node failure, submitit does after a time-out or preemption.
    """

    @checked
    def __init__(
        self, cluster: Literal["slurm", "local"], tasks: Count, parameters: dict[str, Any], gpus: Sequence[Number] = ()
    ) -> None:
        super().__init__(max(tasks, len(gpus)))
        if cluster == "local" and not gpus and torch.cuda.is_available():  # submitit would hide them from the tasks
            raise InputError(
                "launcher=local uses the GPUs that it is told; pass 'launcher.gpus=[0]', or set CUDA_VISIBLE_DEVICES= "
                "to use none"
            )
        self.cluster, self.parameters, self.gpus = cluster, parameters, gpus

    def run(self, shards: list[Shard], folder: Path, console: Console) -> Counter[str]:
        folder = folder / f"{datetime.now():%Y%m%d-%H%M%S-%f}"  # of this start: process numbers come again
        executor = self.executor(folder / "%j")
        together = len(shards) if self.cluster == "slurm" else self.tasks  # this machine has no queue of its own
        tally: Counter[str] = Counter()
        for start in range(0, len(shards), together):
            tally += self.run_together(executor, shards[start : start + together], folder, console)
        return tally

    def executor(self, folder: Path) -> Any:
        try:
            import submitit
        except ImportError as error:
            raise InputError(
                f"launcher needs submitit; install it with: pip install -e '.[slurm]' ({error})"
            ) from error
        if self.cluster == "local":
            return submitit.LocalExecutor(folder=folder)  # the other one knows nothing of `visible_gpus`
        try:
            return submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        except RuntimeError as error:
            raise InputError(f"no Slurm here ({error}); run on a login node or pass launcher=local") from error

    def run_together(self, executor: Any, shards: list[Shard], folder: Path, console: Console) -> Counter[str]:
        jobs: list[Any] = []
        try:
            with ended_by_sigterm():
                self.submit(executor, shards, jobs)
                console.print("submitted " + ", ".join(str(job.job_id) for job in jobs) + f"; logs in {folder}")
                self.wait(jobs)
        except BaseException as error:  # Ctrl-C too; what Slurm has goes on, unless it could not get all
            for job in jobs if self.cluster == "local" or isinstance(error, InputError) else []:
                job.cancel(check=False)
            raise
        tally: Counter[str] = Counter()
        for job, shard in zip(jobs, shards, strict=True):
            try:
                tally.update(job.result() if job.paths.result_pickle.exists() else {})
            except Exception as error:  # out of memory, a bad setting: whatever ended the task
                lose(tally, shard, str(error), console)
            else:
                if not job.paths.result_pickle.exists():
                    lose(tally, shard, f"job {job.job_id} was cancelled or killed", console)
        return tally

    def submit(self, executor: Any, shards: list[Shard], jobs: list[Any]) -> None:
        """Start a task for every shard and add it to `jobs`. Raises InputError where one cannot be started."""
        try:
            for number, shard in enumerate(shards):
                gpu = {"gpus_per_node": 1, "visible_gpus": [self.gpus[number % len(self.gpus)]]} if self.gpus else {}
                executor.update_parameters(**self.parameters, **gpu)
                jobs.append(executor.submit(shard))
        except Exception as error:  # submitit raises whatever it meets in parameters, and what sbatch says
            raise InputError(
                f"launcher={self.cluster} could not start its tasks ({first_line(error)}); check launcher.parameters"
            ) from error

    def wait(self, jobs: list[Any]) -> None:
        """Until every job has left a result or is gone.

        Slurm's queue says who is gone: submitit asks its accounting, which not every cluster has.
        """
        gone: dict[str, int] = dict.fromkeys((str(job.job_id) for job in jobs), 0)
        while True:
            waiting = [job for job in jobs if not job.paths.result_pickle.exists()]
            if self.cluster == "slurm":
                query = ["squeue", "--me", "--noheader", "--format=%A"]
                answer = subprocess.run(query, capture_output=True, text=True)
                queue = set(answer.stdout.split())
                for job in waiting if answer.returncode == 0 else []:
                    gone[str(job.job_id)] = 0 if str(job.job_id) in queue else gone[str(job.job_id)] + 1
                # Twice in a row: a shared disk may show the result a little after the job has left the queue.
                waiting = [job for job in waiting if gone[str(job.job_id)] < 2]
            else:
                waiting = [job for job in waiting if not job.done()]
            if not waiting:
                return
            time.sleep(2)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends this process as an exception would, so that what it started can be stopped."""
    if threading.current_thread() is not threading.main_thread():  # only the main one gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Ray(Launcher):
    """Tasks of a Ray cluster; a task whose node dies starts again elsewhere, `retries` times.

    address: of a running cluster, `auto` for the one of this machine, null for a cluster of this process alone.
    """

    @checked
    def __init__(
        self, tasks: Count, address: str | None, num_gpus: NotNegative, num_cpus: NotNegative, retries: Number
    ) -> None:
        super().__init__(tasks)
        self.address, self.num_gpus, self.num_cpus, self.retries = address, num_gpus, num_cpus, retries

    def run(self, shards: list[Shard], folder: Path, console: Console) -> Counter[str]:
        try:
            import ray
        except ImportError as error:
            raise InputError(f"launcher needs Ray; install it with: pip install -e '.[ray]' ({error})") from error
        try:
            ray.init(address=self.address, log_to_driver=False, ignore_reinit_error=True)
        except Exception as error:  # Ray raises bare ones where a node does not come up
            raise InputError(
                f"no Ray cluster at {self.address} ({first_line(error)}); start one with: ray start --head"
            ) from error
        task = ray.remote(
            num_gpus=self.num_gpus,
            num_cpus=self.num_cpus,
            max_retries=self.retries,
            max_calls=1,  # a process per task: nothing of a method stays behind for the next
        )(run_shard)
        tally: Counter[str] = Counter()
        pending = [task.remote(asdict(shard)) for shard in shards]
        console.print(f"{len(pending)} tasks on Ray")
        for reference, shard in zip(pending, shards, strict=True):
            try:
                counts: dict[str, int] = ray.get(reference)
                tally.update(counts)
            except ray.exceptions.RayError as error:
                lose(tally, shard, str(error), console)
        return tally


def run_shard(values: dict[str, Any]) -> dict[str, int]:
    return Shard(**values)()


def lose(tally: Counter[str], shard: Shard, reason: str, console: Console) -> None:
    last_line = [line.strip() for line in reason.splitlines() if line.strip()][-1:]
    console.print(
        f"{Path(shard.frozen).stem}, shard {shard.shard} did not end: {''.join(last_line)}; start again to do the rest",
        markup=False,
    )
    tally["lost"] += 1
