"""What a command line runs, one item or the runs of an experiment, each under a label of its own, and prints then."""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from data.benchmark import load_items, safe_name
from harness.building import build
from harness.experiment_files import experiment_of
from harness.folder import ResultFolder, RunFolder
from harness.frozen import settings_of
from harness.jobs import Job
from harness.record import Record, Request
from harness.runs import run_job
from stylegallery.contract import Item
from stylegallery.environment import computing_on
from stylegallery.errors import InputError
from stylegallery.overrides import dotted, store_settings

# Settings that jobs of a sweep may differ in without having other results: parts and places of one run.
SHARED = ("shard", "limit", "only", "launcher", "tracker", "store")
LONGEST = 150  # characters of a name


def is_single(config: DictConfig) -> bool:
    """Whether a config is of one content picture, not of a benchmark."""
    return "content" in config and config.experiment is None


def require_used(config: DictConfig) -> None:
    """Raises InputError where a setting was given that would have no effect."""
    if config.only is not None and config.experiment is None:
        raise InputError("only= chooses runs of an experiment; pass experiment= too")
    if config.output_size != "model" and config.experiment is None and "output_size" not in config.method:
        raise InputError("this method paints at the model's size alone; leave out output_size=")
    if config.time_budget is not None and config.experiment is None and "time_budget" not in config.method:
        raise InputError("this method takes its time; leave out time_budget=")
    if config.batch != 1 and config.experiment is None and "batch" not in config.method:
        raise InputError("this method does one item at a time; leave out batch=")
    if config.batch != 1 and is_single(config):
        raise InputError("batch= is for the items of a benchmark, and content= is one alone; leave out batch=")
    if config.experiment is None and "guidance" in config.method and "segmentation" not in config.method:
        raise InputError("preset=fast and method.guidance are for method=stylegallery and its variants; leave them out")
    if config.launcher and str(config.shard) != "0/1":
        raise InputError("launcher= shares out all items itself; leave out shard=")


def single_job(config: DictConfig) -> Job:
    """The job of one content picture. By default its folder is named after all that decides the result."""
    (item,) = load_items(config.data)
    method: dict[str, Any] = settings_of(config)["method"]
    if config.out:
        out = Path(str(config.out), difference("out"))
    else:
        out = Path(f"outputs/{item.id}-{Request.of(item, config.seed, method).digest()}")
    return Job(out, "", config.seed, method, [item], store=store_settings(config))


def run_labels(config: DictConfig, console: Console) -> tuple[list[Job], Counter[str]]:
    """Do the runs of a config, one after the other in this process or all by a launcher.

    Returns their jobs and, over all of them, the number of items that were `done` now, were `there` or `failed`, of
    tasks that were `lost`, and of labels of an experiment that were `not run`, for want of weights for example.

    Raises:
        InputError: the run of a command line without experiment= cannot be done.
    """
    jobs: list[Job] = []
    tally: Counter[str] = Counter()
    tracker: Any = OmegaConf.to_container(config.tracker) if config.tracker else None

    @contextmanager
    def others_go_on(label: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            if config.experiment is None:
                raise
            console.print(f"{label} was not run: {error}", style="red", markup=False)
            tally["not run"] += 1

    for label, settings in runs(config):
        with others_go_on(label):
            jobs.append(Job.of(settings, label))
    if config.launcher:
        tally.update(build(config.launcher, "launcher").launch(jobs, tracker, console))
    here = [] if config.launcher else jobs
    waiting: list[tuple[Job, list[Item]]] = []  # for other processes, which hold these items
    for job in here:
        held: list[Item] | None = None if job is here[-1] else []
        with others_go_on(job.label):
            tally.update(run_job(job, tracker, console, held=held))
            waiting += [(job, held)] if held else []
    for job, items in waiting:
        with others_go_on(job.label):
            tally.update(run_job(job, tracker, console, items))
    return jobs, tally


def runs(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Label and config of every run: that of the command line, or those of an experiment, `only` some of them or all.

    The command line comes after the settings of a run and wins; its `method.` settings go to methods that have them
    (`++method.steps=50` where StyleGallery itself has none), its `preset/` to methods that choose one there, and its
    `preset=` to those with guidance.
    Jobs of a sweep (`-m`) have labels of their own: `stylegallery@seed=1`.
    """
    told_apart = ["out", "label", "experiment", *(["method"] if config.label is None else [])]
    name = difference(*told_apart, *([] if config.out else ["data"]))
    job = f"@{name}" if name else ""
    if config.experiment is None:
        label = HydraConfig.get().runtime.choices["method"] if config.label is None else config.label
        yield f"{label}{job}", config
        return
    values: Any = OmegaConf.to_container(config.experiment)
    experiment = experiment_of(values, str(HydraConfig.get().runtime.choices["experiment"]))
    labels = list(experiment.runs)
    given_only = config.only if OmegaConf.is_list(config.only) else [config.only]
    only = labels if config.only is None else [str(label) for label in given_only]
    if unknown := sorted(set(only).difference(labels)):
        raise InputError(f"only= names {unknown[0]}, but the runs of this experiment are {', '.join(labels)}")
    given = [override for override in HydraConfig.get().overrides.task if not override.startswith("experiment=")]
    some = [override for override in given if override.lstrip("+").startswith(("method.", "preset"))]
    differ = {key_of(override) for overrides in experiment.runs.values() for override in overrides}
    if clash := sorted(differ & {key_of(override) for override in given}):
        raise InputError(
            f"{clash[0]} is what the runs of this experiment differ in, so it cannot be given for all of them; "
            "leave it out, or run without experiment="
        )
    data = [] if any(override.startswith("data=") for override in given) else [f"data={experiment.benchmarks[0]}"]
    for label, overrides in experiment.runs.items():
        if label not in only:
            continue
        of_all = [*data, *overrides, *(override for override in given if override not in some)]
        composed = compose("config", overrides=of_all, return_hydra_config=bool(some))
        if some:
            has = {*composed.hydra.runtime.choices, *dotted(OmegaConf.to_container(composed))}
            if "guidance" not in composed.method:
                has.discard("preset")
            composed = compose("config", overrides=[*of_all, *(one for one in some if key_of(one) in has)])
        yield f"{label}{job}", composed


def key_of(override: str) -> str:
    """`method.steps` of `++method.steps=50`."""
    return override.lstrip("+~").partition("=")[0]


def difference(*but: str) -> str:
    """`seed=1,content_weight=0.26`: a name of the settings that tell this job of a sweep from the others; else empty.

    Settings named in `but` are left out: they tell the jobs apart already.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return ""
    parser = OverridesParser.create()
    given = parser.parse_overrides([argument for argument in sys.argv[1:] if "=" in argument and argument[0] != "-"])
    swept = {override.key_or_group for override in given if override.is_sweep_override()}
    swept |= set(HydraConfig.get().sweeper.get("params") or ())
    parts = []
    for override in parser.parse_overrides(list(HydraConfig.get().overrides.task)):
        key = override.key_or_group
        if key in swept and key.partition(".")[0] not in SHARED and key not in but:
            value = str(override.get_value_element_as_str())
            parts.append(f"{safe_name(key.rpartition('.')[2])}={safe_name(value)}")
    name = ",".join(parts)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


# --- what is printed at the end ---


def of_result(job: Job, record: Record) -> Table:
    """The result of a single item: where it is and what it took."""
    (item,), folder = job.items, ResultFolder(job.out)
    table = Table(title=f"{item.id} · {'x'.join(map(str, record.size or ()))} px", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # never shortened, so that the path can be copied
    table.add_row("result", str(folder.picture))
    table.add_row("at a glance", str(folder.overview))
    table.add_row("references", str(len(item.references)))
    if record.steps is not None:
        table.add_row("steps", str(record.steps))
    if record.updates is not None:
        table.add_row("updates", str(record.updates))
    for stage, seconds in record.seconds.items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("peak memory", f"{record.peak_memory_mib / 1024:.2f} GiB")
    table.add_row("computed on", computing_on(record.environment))
    return table


def of_labels(out: Path, jobs: Sequence[Job], tally: Counter[str]) -> Table:
    """How many items of a benchmark were done, under one label or several, how many labels were not run, and where the
    results in `out` are."""
    labels = jobs[0].label if len(jobs) == 1 else f"{len(jobs)} labels"
    items = len(jobs[0].items)
    title = f"{labels} · {items} item{'' if items == 1 else 's'}"
    table = Table(title=title, title_justify="left", show_header=False, min_width=len(title))  # or the title wraps
    table.add_column()
    table.add_column(overflow="fold")  # never shortened, so that the path can be copied
    table.add_row("results", str(RunFolder(out).cells / (jobs[0].label if len(jobs) == 1 else "")))
    for name, number in (("done now", "done"), ("done before", "there"), ("failed", "failed"), ("lost", "lost")):
        table.add_row(name, str(tally[number]))
    if tally["not run"]:  # said above, label by label, and what the exit code is for
        table.add_row("labels not run", str(tally["not run"]))
    return table
