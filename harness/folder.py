"""The layout of a run folder. No other module knows where in it a file is.

    OUT/config/<label>.yaml                 the frozen settings of a label: one method with its settings
    OUT/cells/<label>/<item>/               a result: record.json, stylised.png, ...; scores.json once it is scored
    OUT/cells/<label>/sets.json             the scores of all results of a label together
    OUT/annotations/<annotator>/<item>/     regions and matches that regional scores ask about
    OUT/tables/  OUT/report.html  OUT/docs/ what is made from all these
    OUT/study/                              a user study: its page, the key to it, and what the votes say
    OUT/.locks/  OUT/jobs/  OUT/wandb/      locks of processes, logs of launched tasks, the tracker's files

The result of a single picture lies in a folder of its own, which the user names, with its lock in .locks beside it.
"""

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stylegallery.errors import InputError
from stylegallery.files import writable

RECORD, ANNOTATION = "record.json", "annotation.json"  # written last: the files beside them are whole if these exist
SCORES, SETS = "scores.json", "sets.json"
LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@=+,-]*")  # safe as the name of a folder and as a cell of a spreadsheet
RESULT_FILES = re.compile(  # beside the record of a result
    r"stylised\.png|overview\.png|(matches|energies)\.png|matches\.json|energies\.csv"
    r"|(regions|overlay)_(content|reference_[1-9][0-9]*)\.png"
)
ANNOTATION_FILES = re.compile(r"(content|reference_[1-9][0-9]*)\.png|matches\.json")  # beside annotation.json
ITEM = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.@=+,-]*")


@dataclass(frozen=True, order=True)
class ResultFolder:
    """Where the result of one item is, or will be."""

    path: Path

    @property
    def label(self) -> str:
        return self.path.parent.name

    @property
    def item(self) -> str:
        return self.path.name

    @property
    def record(self) -> Path:
        return self.path / RECORD

    @property
    def picture(self) -> Path:
        return self.path / "stylised.png"

    @property
    def overview(self) -> Path:
        return self.path / "overview.png"

    @property
    def scores(self) -> Path:
        return self.path / SCORES

    @property
    def matches(self) -> Path:
        return self.path / "matches.json"

    @property
    def energies(self) -> Path:
        return self.path / "energies.csv"

    def figure(self, about: str) -> Path:
        """about: `matches` or `energies`."""
        return self.path / f"{about}.png"

    def regions(self, picture: str) -> Path:
        """picture: `content` or `reference_1`, ..."""
        return self.path / f"regions_{picture}.png"

    def overlay(self, picture: str) -> Path:
        return self.path / f"overlay_{picture}.png"


@dataclass(frozen=True)
class AnnotationFolder:
    """Where the annotation of one item is, or will be."""

    path: Path

    @property
    def source(self) -> Path:
        return self.path / ANNOTATION

    @property
    def matches(self) -> Path:
        return self.path / "matches.json"

    @property
    def content(self) -> Path:
        return self.path / "content.png"

    def reference(self, number: int) -> Path:
        return self.path / f"reference_{number}.png"


@dataclass(frozen=True)
class RunFolder:
    """The folder of a benchmark run, OUT on every command line."""

    path: Path

    # --- settings ---

    @property
    def configs(self) -> Path:
        return self.path / "config"

    def settings(self, label: str) -> Path:
        return self.configs / f"{label}.yaml"

    def labels(self) -> list[str]:
        """The labels that have frozen settings, sorted."""
        return sorted(path.stem for path in self.configs.glob("*.yaml"))

    # --- results ---

    @property
    def cells(self) -> Path:
        return self.path / "cells"

    def result(self, label: str, item: str) -> ResultFolder:
        return ResultFolder(self.cells / label / item)

    def sets(self, label: str) -> Path:
        return self.cells / label / SETS

    def results(self, label: str | None = None) -> list[ResultFolder]:
        """Every item that was done or failed, of one label or of all, sorted; nothing that has another name, such as a
        hidden folder, or is elsewhere by a link."""
        folders = (path.parent for path in self.cells.glob(f"{label or '*'}/*/{RECORD}"))
        own = (folder for folder in folders if LABEL.fullmatch(folder.parent.name) and ITEM.fullmatch(folder.name))
        return sorted(ResultFolder(folder) for folder in own if folder.resolve().is_relative_to(self.cells.resolve()))

    # --- annotations ---

    def annotation(self, annotator: str, item: str) -> Path:
        return self.path / "annotations" / annotator / item

    def annotations(self, annotator: str) -> list[Path]:
        """The folders of an annotator that hold an annotation, sorted."""
        return sorted(path.parent for path in (self.path / "annotations" / annotator).glob(f"*/{ANNOTATION}"))

    @property
    def outdated_annotations(self) -> Path:
        """Where earlier versions of this code kept those of StyleGallery; nothing reads them."""
        return self.path / "questions"

    # --- what is made from them ---

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def docs(self) -> Path:
        return self.path / "docs"

    @property
    def study(self) -> Path:
        return self.path / "study"

    # --- processes ---

    def lock(self, name: str) -> Path:
        """name: `<label>/<item>`, `config`, `scores`, `run`, or that of an annotation."""
        return self.path / ".locks" / f"{name}.lock"

    def locked_items(self, label: str) -> list[str]:
        """The items of a label that a process has or had the lock of."""
        return [path.stem for path in (self.path / ".locks" / label).glob("*.lock")]

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def wandb(self) -> Path:
        return self.path / "wandb"


def prepare_folder(folder: Path, inside: Path | None = None) -> None:
    """Make sure a result can be written before anything is computed.

    Raises:
        MachineError: the folder cannot be made or written.
        InputError: it is below `inside` by its name and elsewhere by a link.
    """
    if inside:
        require_inside(folder, inside)
    with writable(folder, "pass another out="):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def require_inside(folder: Path, outer: Path) -> None:
    """Raises InputError where a folder that is below `outer` by its name is elsewhere by a link."""
    if not folder.resolve().is_relative_to(outer.resolve()):
        raise InputError(f"{folder} leads outside {outer} by a link; remove the link or pass another out=")


def labels_with_results(outs: Iterable[Path]) -> set[str]:
    """The labels that have any record in these run folders."""
    return {result.label for out in outs for result in RunFolder(out).results()}
