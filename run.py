"""Stylise one content picture, or the items of a benchmark: compose → build → run → write records → print a table."""

import sys
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from data.benchmark import load_items
from evaluation.cells import Job, item_generator
from evaluation.launchers import build, run_job
from evaluation.progress import Bars
from evaluation.record import Request, prepare_folder, read_record, write_result
from stylegallery.errors import InputError


def run(config: DictConfig, console: Console) -> bool:
    """Whether everything that was asked for is there."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    return run_one(config, console) if "content" in config else run_benchmark(config, console)


def run_one(config: DictConfig, console: Console) -> bool:
    (item,) = load_items(config.data)
    request = Request.of(item, config.seed, OmegaConf.to_container(config.method, resolve=True))
    folder = Path(str(config.out or f"outputs/{item.id}-{request.digest()}"))
    prepare_folder(folder)
    record = read_record(folder)
    if record is not None and record["digest"] == request.digest():
        console.print(f"{folder} already holds this result; nothing to do")
    else:
        method = build(config.method)
        with Bars(console) as progress:
            result = method.stylize(item, item_generator(config.seed, item), progress)
        record = write_result(folder, request, result)
    console.print(summary(record, folder))
    return True


def run_benchmark(config: DictConfig, console: Console) -> bool:
    job = Job.of(config, config.label or HydraConfig.get().runtime.choices.method)
    tracker = OmegaConf.to_container(config.tracker) if config.tracker else None
    if config.launcher:
        tally = build(config.launcher).launch(job, config.data.get("root"), tracker, console)
    else:
        tally = run_job(job, tracker, console)
    table = Table(title=f"{job.label} · {len(job.items)} items in {job.out}", show_header=False)
    for name, number in (("done now", "done"), ("done before", "there"), ("failed", "failed"), ("lost", "lost")):
        table.add_row(name, str(tally[number]))
    console.print(table, f"all jobs: python -m evaluation.status {job.out}")
    return not tally["failed"] + tally["lost"]


def summary(record: dict, folder: Path) -> Table:
    table = Table(title=f"{record['item']} · {record['size'][0]}x{record['size'][1]} px", show_header=False)
    table.add_row("result", str(folder / "stylised.png"))
    table.add_row("at a glance", str(folder / "overview.png"))
    table.add_row("references", str(sum(role.startswith("reference ") for role in record["inputs"])))
    for stage, seconds in record["seconds"].items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("peak memory", f"{record['peak_memory_mib'] / 1024:.2f} GiB")
    return table


codes = [0]  # of the jobs of this process, several with -m: one that fails does not keep the next from running


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    try:
        codes.append(0 if run(config, Console()) else 1)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        codes.append(2)
    except FloatingPointError as error:
        print(f"error: {error}; use dtype=float32 or a smaller learning rate", file=sys.stderr)
        codes.append(1)


if __name__ == "__main__":
    main()
    sys.exit(max(codes))
