"""Slurm, and processes of this machine, through submitit."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from harness.launchers.shards import Launcher, Shard, handling, lose
from stylegallery.errors import InputError, first_line
from stylegallery.settings import Count, Number, checked


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


def ended_by_sigterm() -> AbstractContextManager[None]:
    """SIGTERM ends this process as an exception would, so that what it started can be stopped.

    Submitit stops it by SIGINT, which a script ignores for what it starts in the background, and so would the tasks.
    """
    return handling(
        {signal.SIGTERM: lambda number, _: sys.exit(128 + number), signal.SIGINT: signal.default_int_handler}
    )
