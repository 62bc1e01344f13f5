"""Ray: tasks on the nodes of a cluster."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.launchers.shards import Launcher, Shard, lose
from stylegallery.errors import InputError, first_line
from stylegallery.settings import Count, NotNegative, Number, checked


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
        except Exception as error:  # Ray raises bare exceptions where a node does not start
            raise InputError(
                f"no Ray cluster at {self.address} ({first_line(error)}); start one with: ray start --head"
            ) from error
        task = ray.remote(
            num_gpus=self.num_gpus,
            num_cpus=self.num_cpus,
            max_retries=self.retries,
            max_calls=1,  # a process per task, so that nothing of a method stays in memory
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
