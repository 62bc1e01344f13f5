"""What run.py prints at its end."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from harness.environment import computing_on
from harness.folder import ResultFolder
from harness.jobs import Job
from harness.record import Record


def of_result(job: Job, record: Record) -> Table:
    """The result of a single item: where it is and what it took."""
    (item,), folder = job.items, ResultFolder(job.out)
    table = Table(title=f"{item.id} · {'x'.join(map(str, record.size or ()))} px", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # never shortened, so that the path can be copied
    table.add_row("result", str(folder.picture))
    table.add_row("at a glance", str(folder.overview))
    table.add_row("references", str(len(item.references)))
    for stage, seconds in record.seconds.items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("peak memory", f"{record.peak_memory_mib / 1024:.2f} GiB")
    table.add_row("computed on", computing_on(record.environment))
    return table


def of_labels(jobs: Sequence[Job], tally: Counter[str]) -> Table:
    """How many items of a benchmark were done, under one label or several."""
    labels = jobs[0].label if len(jobs) == 1 else f"{len(jobs)} labels"
    table = Table(title=f"{labels} · {len(jobs[0].items)} items", title_justify="left", show_header=False)
    for name, number in (("done now", "done"), ("done before", "there"), ("failed", "failed"), ("lost", "lost")):
        table.add_row(name, str(tally[number]))
    return table
