"""Stylise one content picture, or the items of a benchmark: compose → build → run → write records → print a table."""

from stylegallery.interrupt import end_interrupted, explain_interrupts

if __name__ == "__main__":
    explain_interrupts()  # before the imports that take seconds

import sys
from collections import Counter
from pathlib import Path

import hydra
from filelock import AcquireReturnProxy, Timeout
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from data.benchmark import load_items
from harness.building import build
from harness.experiments import difference, runs
from harness.folder import RECORD, ResultFolder, RunFolder, prepare_folder
from harness.frozen import settings_of
from harness.jobs import Job
from harness.locks import NoLock, lock, writable
from harness.progress import Bars
from harness.record import (
    Request,
    computing_on,
    environment,
    intact,
    read_record,
    require_free,
    write_result,
)
from harness.runs import run_job
from harness.schemas import WRITTEN
from harness.whole import clear_partial
from stylegallery.command import plain_console
from stylegallery.draws import item_generator
from stylegallery.errors import InputError
from stylegallery.memory import enough_memory
from stylegallery.overrides import as_hydra_reads, in_one_sentence


def run(config: DictConfig, console: Console) -> bool:
    """Whether everything that was asked for is there."""
    if config.only is not None and config.experiment is None:
        raise InputError("only= chooses runs of an experiment; pass experiment= too")
    if config.output_size != "model" and config.experiment is None and "output_size" not in config.method:
        raise InputError("this method paints at the model's size alone; leave out output_size=")
    single = "content" in config and config.experiment is None
    return run_one(config, console) if single else run_benchmark(config, console)


def run_one(config: DictConfig, console: Console) -> bool:
    (item,) = load_items(config.data)
    request = Request.of(item, config.seed, settings_of(config)["method"])
    folder = Path(str(config.out), difference("out")) if config.out else Path(f"outputs/{item.id}-{request.digest()}")
    prepare_folder(folder)
    require_free(folder, item, begun=RunFolder(folder).lock("run").exists())
    with claim(folder):
        clear_partial(folder, WRITTEN, RECORD)
        record = read_record(folder)
        if record and record["digest"] == request.digest() and intact(folder, record):
            console.print(f"{folder} already holds this result; nothing to do")
        else:
            console.print(f"computing on {computing_on(environment(request.config))}", markup=False)
            method = build(config.method)
            with Bars(console) as progress, enough_memory():
                result = method.stylize(item, item_generator(config.seed, item), progress)
            request.require_unchanged()
            record = write_result(folder, request, result)
    console.print(summary(record, folder))
    return True


def claim(folder: Path) -> AcquireReturnProxy | NoLock:
    """Take the lock of a folder, to be let go by `with`.

    Raises:
        InputError: another process has it, or it cannot be made.
    """
    with writable(folder):
        try:
            return lock(folder, "run").acquire(blocking=False)
        except Timeout as error:
            raise InputError(
                f"{folder} is being written by another process; wait for it or pass another out="
            ) from error


def run_benchmark(config: DictConfig, console: Console) -> bool:
    if config.launcher and str(config.shard) != "0/1":
        raise InputError("launcher= shares out all items itself; leave out shard=")
    jobs, stopped = [], 0
    for label, settings in runs(config):
        try:
            jobs.append(Job.of(settings, label))
        except InputError as error:
            stopped += stop(label, error, config, console)
    tracker = OmegaConf.to_container(config.tracker) if config.tracker else None
    tally: Counter[str] = Counter()
    if config.launcher:
        tally = build(config.launcher, "launcher").launch(jobs, tracker, console)
    for job in [] if config.launcher else jobs:
        try:
            tally.update(run_job(job, tracker, console))
        except InputError as error:
            stopped += stop(job.label, error, config, console)
    for out in dict.fromkeys(job.out for job in jobs):
        labels = jobs[0].label if len(jobs) == 1 else f"{len(jobs)} labels"
        table = Table(title=f"{labels} · {len(jobs[0].items)} items", title_justify="left", show_header=False)
        for name, number in (("done now", "done"), ("done before", "there"), ("failed", "failed"), ("lost", "lost")):
            table.add_row(name, str(tally[number]))
        console.print(table)
        console.print(f"all jobs: python -m harness.status {out}", markup=False, soft_wrap=True)
    return not (tally["failed"] + tally["lost"] + stopped)


def stop(label: str, error: InputError, config: DictConfig, console: Console) -> int:
    """One run of an experiment cannot be done, for want of weights for example: say so, and go on with the others."""
    if config.experiment is None:
        raise error
    console.print(f"{label} was not run: {error}", style="red", markup=False)
    return 1


def summary(record: dict, folder: Path) -> Table:
    table = Table(title=f"{record['item']} · {record['size'][0]}x{record['size'][1]} px", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a path is there to be copied: never shortened
    table.add_row("result", str(ResultFolder(folder).picture))
    table.add_row("at a glance", str(ResultFolder(folder).overview))
    table.add_row("references", str(sum(role.startswith("reference ") for role in record["inputs"])))
    for stage, seconds in record["seconds"].items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("peak memory", f"{record['peak_memory_mib'] / 1024:.2f} GiB")
    table.add_row("computed on", computing_on(record["environment"]))
    return table


unresolved: list[Exception] = []  # what settings refer to and is not there, said at the end
codes = [0]  # of the jobs of this process, several with -m: one that fails does not keep the next from running


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    try:
        codes.append(0 if run(config, plain_console()) else 1)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        codes.append(2)
    except (HydraException, OmegaConfBaseException) as error:
        unresolved.append(error)
    except FloatingPointError as error:
        print(f"error: {error}; use model.dtype=float32 or a smaller learning rate", file=sys.stderr)
        codes.append(1)


if __name__ == "__main__":
    sys.argv[1:] = [as_hydra_reads(given) for given in sys.argv[1:]]
    try:
        with in_one_sentence(sys.argv[1:]):
            main()
            if unresolved:
                raise unresolved[0]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        codes.append(2)
    except KeyboardInterrupt:
        end_interrupted()
    sys.exit(max(codes))
