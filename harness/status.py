"""How far sweeps are: `python -m harness.status OUT... [--json]`, from the files in OUT alone."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data.benchmark import load_items
from harness.folder import RunFolder
from harness.frozen import read_frozen
from harness.locks import holder
from harness.record import is_outdated, read_record
from stylegallery.command import explained_errors, listing, plain_console
from stylegallery.errors import InputError
from stylegallery.provenance import code_digest, without_places


@dataclass
class Status:
    """Of one label: item ids by state; outdated ones were made by other settings or code and will be done again."""

    label: str
    planned: int
    done: list[str] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)  # item -> host and process
    failed: dict[str, str] = field(default_factory=dict)  # item -> reason
    outdated: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds_left: float | None = None  # with as many processes as run now, or one; None before the first result


def status_of(out: Path, label: str) -> Status:
    """Status of a label by its frozen settings.

    Raises:
        InputError: the settings cannot be read.
    """
    run = RunFolder(out)
    frozen = read_frozen(run.settings(label))
    items = load_items(frozen["data"], check=False)[: frozen["limit"]]
    status = Status(label, len(items))
    code, seconds = code_digest(frozen["method"]), []
    for item in items:
        folder = run.result(label, item.id).path
        record = read_record(folder)
        current = record is not None and (
            without_places(record.config, record.weights), record.seed, record.code,
        ) == (
            without_places(frozen["method"], record.weights), frozen["seed"], code,
        )  # fmt: skip
        if record and current and not record.failed:
            status.done.append(item.id)
            seconds.append(record.total_seconds)
        elif process := holder(out, label, item.id):
            status.running[item.id] = process
        elif record and record.error is not None:
            status.failed[item.id] = record.error
        elif record or is_outdated(folder):
            status.outdated.append(item.id)
        else:
            status.missing.append(item.id)
    if seconds:
        left = status.planned - len(status.done)
        status.seconds_left = left * sum(seconds) / len(seconds) / max(1, len(set(status.running.values())))
    return status


def as_table(out: Path, found: Sequence[Status]) -> Table:
    table = listing("label", "planned", "done", "running", "failed", "outdated", "missing", "left", title=str(out))
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for status in found:
        counts = (status.done, status.running, status.failed, status.outdated, status.missing)
        left = "?" if status.seconds_left is None else str(timedelta(seconds=round(status.seconds_left)))
        table.add_row(status.label, str(status.planned), *(str(len(ids)) for ids in counts), left)
    return table


def show(out: Path, found: Sequence[Status], console: Console) -> None:
    """The table, who is at work, and why items failed, the most frequent reason first."""
    console.print(as_table(out, found))
    for status in found:
        for process, number in Counter(status.running.values()).items():
            console.print(f"{status.label} runs on {process} ({number} items)", markup=False)
        for reason, number in Counter(status.failed.values()).most_common():
            first = next(item for item, why in status.failed.items() if why == reason)
            more = f" and {number - 1} more" if number > 1 else ""
            console.print(f"{status.label} failed on {first}{more}: {reason}", markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m harness.status", description=__doc__)
    parser.add_argument("outs", nargs="+", type=Path, metavar="OUT")
    parser.add_argument("--json", action="store_true", help="everything by item id instead of a table")
    options = parser.parse_args(arguments)
    with explained_errors():
        found = {}
        for out in options.outs:
            labels = RunFolder(out).labels()
            if not labels:
                raise InputError(f"{out} holds no sweep; pass the out= of one")
            found[out] = [status_of(out, label) for label in labels]
    if options.json:
        print(json.dumps({str(out): [asdict(status) for status in some] for out, some in found.items()}, indent=1))
    else:
        for out, some in found.items():
            show(out, some, plain_console())


if __name__ == "__main__":
    main()
