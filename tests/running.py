"""Jobs of the fake method, and what they leave."""

from collections import Counter
from pathlib import Path
from typing import Any

from fake_method import Fake
from rich.console import Console

from data.benchmark import folder_items
from harness.frozen import inputs_digest
from harness.jobs import Job
from harness.record import Record, read_record
from harness.runs import run_items
from stylegallery.contract import Item, Stylization


def job_of(out: Path, label: str, gallery: Path, method: dict[str, object]) -> Job:
    items = folder_items(str(gallery / "contents"), str(gallery / "references"))
    return Job(out, label, 0, {"_target_": "fake_method.Fake", "strength": 0.5, **method}, items)


class Counting(Fake):
    """Writes down the items it did."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"strength": 0.5, "seconds": 0.0, "broken": [], "log": None} | settings)
        self.did: list[str] = []

    def stylize(self, item: Item, *arguments: Any) -> Stylization:
        result = super().stylize(item, *arguments)
        self.did.append(item.id)
        return result


class Unlucky(Counting):
    """Raises `error` on the items whose place in the sweep is in `at`."""

    def __init__(self, error: Exception, at: set[int]) -> None:
        super().__init__()
        self.error, self.at, self.place = error, at, -1

    def stylize(self, item: Item, *arguments: Any) -> Stylization:
        self.place += 1
        if self.place in self.at:
            raise self.error
        return super().stylize(item, *arguments)


def run(job: Job, **settings: Any) -> tuple[Counter[str], list[str]]:
    """Tally of a run and the items it computed."""
    method = Counting(**settings)
    return run_items(job, lambda: method, Console(quiet=True)), method.did


def record_of(job: Job, item: str) -> Record:
    record = read_record(job.out / "cells" / job.label / item)
    assert record is not None
    return record


def stamps(job: Job) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in job.out.glob(f"cells/{job.label}/*/record.json")}


def ids_of(job: Job) -> dict[str, str]:
    return {item.id: inputs_digest(item) for item in job.items}


def images(out: Path, label: str) -> dict[str, bytes]:
    """The picture of every item that has a whole record."""
    folders = sorted((out / "cells" / label).glob("*/"))
    return {path.name: (path / "stylised.png").read_bytes() for path in folders if read_record(path)}
