"""The page of costs: seconds and memory of every label of every sweep."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from evaluation.publish.studies import Sweep, model_lines
from evaluation.publish.text import bullets, page, pipe_table
from harness.record import Record


def costs_page(sweeps: Sequence[Sweep], machine: str) -> str:
    """`machine`: the user's description of the machine, which records do not have."""
    about = [
        "Seconds are wall-clock per item, without loading the model. Memory, in MiB: on a GPU the largest that PyTorch "
        "held during the item; on a CPU the largest that the process has ever held, which in a process of many items "
        "and methods never falls, so that its order is that of the runs.",
        "– where a method measures nothing (it only copies) or no item was done.",
    ]
    return page(
        "Costs",
        *["\n\n".join(model_lines(sweep)) for sweep in sweeps[:1]],
        f"Machine: {machine or 'not named; pass --machine to the command'}.",
        bullets(about),
        *[sweep_block(sweep, first=number == 0) for number, sweep in enumerate(sweeps)],
    )


def sweep_block(sweep: Sweep, first: bool) -> str:
    manifests = sorted({sweep.manifest(label) for label in sweep.frozen})
    lines = [] if first else ["\n\n".join(model_lines(sweep))]
    rows = [cost_row(label, list(sweep.records.done(label).values())) for label in sweep.records.labels]
    columns = ["", "items", "s mean", "s max", "s mean by stage", "MiB mean", "MiB max"]
    found = Counter(
        json.dumps(record.environment, sort_keys=True)
        for label in sweep.records.labels
        for record in sweep.records.done(label).values()
        if record.environment
    )
    environments = [
        f"{count} records: {', '.join(f'{name} {version}' for name, version in json.loads(text).items())}"
        for text, count in sorted(found.items())
    ]
    blocks = [f"## {', '.join(manifests)} (`{sweep.out}`)", *lines, pipe_table(columns, rows), bullets(environments)]
    return "\n\n".join(block for block in blocks if block)


def cost_row(label: str, records: Sequence[Record]) -> list[str]:
    seconds = [total for record in records if (total := record.total_seconds) > 0]
    memory = [record.peak_memory_mib for record in records if record.peak_memory_mib > 0]
    stages: dict[str, list[float]] = {}
    for record in records:
        for stage, value in record.seconds.items():
            stages.setdefault(stage, []).append(value)
    by_stage = ", ".join(f"{stage} {np.mean(values):.3g}" for stage, values in stages.items())
    return [
        label,
        str(len(records)),
        f"{np.mean(seconds):.4g}" if seconds else "–",
        f"{max(seconds):.4g}" if seconds else "–",
        by_stage if len(stages) > 1 else "",
        f"{np.mean(memory):.0f}" if memory else "–",
        f"{max(memory):.0f}" if memory else "–",
    ]
