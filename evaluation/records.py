"""The records of a run folder by label and item: what reports and published pages are made from, beside the scores."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from evaluation.calibration import CALIBRATION
from harness.folder import RunFolder
from harness.pictures import Pictures
from harness.record import OUTDATED, Input, Record, is_outdated, read_record


@dataclass(frozen=True)
class Records:
    """label -> item -> record, methods first and calibration rows last, or why there is none that can be used."""

    run: RunFolder
    by_label: dict[str, dict[str, Record | str]]

    @property
    def labels(self) -> list[str]:
        return list(self.by_label)

    def items(self) -> list[str]:
        return sorted({item for found in self.by_label.values() for item in found})

    def result(self, label: str, item: str) -> Record | None:
        """The record of an item that a label has finished without an error; None where it has not."""
        found = self.by_label[label].get(item)
        return found if isinstance(found, Record) and not found.failed else None

    def done(self, label: str) -> dict[str, Record]:
        """item -> record of what a label has finished without an error."""
        return {item: record for item in self.by_label[label] if (record := self.result(label, item))}

    def failures(self, label: str) -> int:
        return sum(isinstance(record, Record) and record.failed for record in self.by_label[label].values())

    def why_none(self, label: str, item: str) -> str | None:
        """Why there is no result; None where there is one."""
        found = self.by_label[label].get(item, f"{label} has not been run on this item")
        if isinstance(found, str):
            return found
        return f"failed: {found.error}" if found.failed else None

    def pictures(self, item: str) -> list[Input]:
        """The content and the references, by the first record that names them; empty where none does."""
        records = (found.get(item) for found in self.by_label.values())
        named = (record.pictures for record in records if isinstance(record, Record))
        return list(next(filter(None, named), {}).values())


def read_records(out: Path, root: str | None = None, without: Collection[str] = ()) -> Records:
    """Every record of a run folder `without` those of some labels; inputs where they are now, maybe in `root`."""
    run, pictures = RunFolder(out), Pictures(out, root)
    places = [place for place in run.results() if place.label not in without]
    labels = sorted({place.label for place in places}, key=lambda label: (label in CALIBRATION, label))
    records = Records(run, {label: {} for label in labels})
    for place in places:
        if record := read_record(place.path):
            found: Record | str = pictures.relocated(record)
        elif is_outdated(place.path):
            found = OUTDATED
        else:
            found = "the record is damaged or lacks files; run the item again"
        records.by_label[place.label][place.item] = found
    return records
