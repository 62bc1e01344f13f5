"""A mirror of records in Weights & Biases. Records on disk are the truth: nothing here can harm a result."""

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from rich.console import Console

from harness.folder import ResultFolder, RunFolder
from harness.jobs import Job
from harness.record import Record, read_record
from stylegallery.images import read_image, to_pixels

START, PATIENCE, LAST = 60.0, 120.0, 20.0  # seconds that a job waits for wandb: at its start, at its end, to let go
HEIGHT = 192  # pixels of the pictures in the table


class WandbTracker:
    """One run per job: progress while it runs; at its end a table of its items with pictures and scores.

    The id of the run is made of what decides the job's results and its items, so that running it again updates the
    run instead of adding one. Everything lies below OUT, the pictures of the table too (WANDB_DATA_DIR).
    """

    def __init__(
        self,
        job: Job,
        project: str,
        entity: str | None,
        mode: Literal["online", "offline"],
        scores: Callable[[RunFolder, ResultFolder, Record], dict[str, float | None]],
    ) -> None:
        """scores: by metrics, of a result in a run folder and its record; the config names the
        function, as the harness imports nothing of evaluation."""
        self.job, self.works, self.counts = job, True, {"done": 0, "failed": 0}
        self.scores = scores
        self.safely(lambda: within(START, lambda: self.start(project, entity, mode)))

    def start(self, project: str, entity: str | None, mode: Literal["online", "offline"]) -> None:
        os.environ["WANDB_DIR"] = str(self.job.out.resolve())
        os.environ["WANDB_DATA_DIR"] = str((RunFolder(self.job.out).wandb / "data").resolve())
        import wandb  # only here: a second to import, and its variables must be set before

        self.run = wandb.init(
            project=project,
            entity=entity,
            mode=mode,
            id=self.run_id(),
            resume="allow" if mode == "online" else None,
            reinit="create_new",  # the run of the job before may not be finished
            name=self.job.label,
            group=self.job.out.name,
            job_type=self.job.label,
            config={"label": self.job.label, "seed": self.job.seed, "method": self.job.method},
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                init_timeout=START,
                finish_timeout=PATIENCE,
            ),
        )

    def run_id(self) -> str:
        job = self.job
        parts = [job.out.name, job.label, job.seed, job.method, [item.id for item in job.items]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def log(self, record: Record) -> None:
        """One step of the run's curves."""
        self.counts["failed" if record.failed else "done"] += 1
        values = self.counts | {f"seconds/{stage}": value for stage, value in record.seconds.items()}
        self.safely(lambda: self.run.log(values))

    def finish(self, console: Console) -> None:
        """Mirror all records of the job, also those of earlier processes, close the run and end wandb's own process,
        which this process would wait for at its end."""
        self.safely(lambda: within(PATIENCE, self.mirror))
        self.safely(lambda: within(PATIENCE, self.run.finish))
        with suppress(Exception):  # what fails here was reported above
            within(LAST, let_go)
        if self.works and self.run.offline:
            console.print(f"upload to wandb with: wandb sync {Path(self.run.dir).parent}", soft_wrap=True)

    def mirror(self) -> None:
        import wandb

        rows = [row for item in self.job.items if (row := self.row(ResultFolder(self.job.folder(item))))]
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = wandb.Table(columns=names, data=[[row.get(name) for name in names] for row in rows])
        self.run.log({"items": table})
        failed = sum(bool(row["error"]) for row in rows)  # also of those that were done by others or before
        self.run.summary.update({"done": len(rows) - failed, "failed": failed, "items": len(self.job.items)})

    def row(self, place: ResultFolder) -> dict[str, Any] | None:
        """One item: what it is, pictures, seconds, scores where they have been computed."""
        import wandb

        record = read_record(place.path)
        if record is None:
            return None
        row: dict[str, Any] = {"item": record.item, "digest": record.digest, "error": record.error or ""}
        if not record.failed:
            row["references"] = len(record.pictures) - 1
            row["seconds"] = record.total_seconds
            row["peak_memory_mib"] = record.peak_memory_mib
            paths = [Path(picture.path) for picture in record.pictures.values()]
            row["content and references"] = wandb.Image(strip(paths))
            row["stylised"] = wandb.Image(strip([place.picture]))
            row |= self.scores(RunFolder(self.job.out), place, record)
        return row

    def safely(self, call: Callable[[], object]) -> None:
        """Report an error of wandb once, and go on without wandb."""
        if self.works:
            try:
                call()
            except Exception as error:
                self.works = False
                warnings.warn(f"wandb is off for this job, its results are not touched: {error}", stacklevel=2)


def let_go() -> None:
    import wandb

    wandb.teardown()


def within(seconds: float, call: Callable[[], object]) -> None:
    """Call something that may never return. Raises TimeoutError where it takes longer, and what the call raises."""
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)  # the process can end without it
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"it did not answer within {seconds:g} s")
    if errors:
        raise errors[0]


def strip(paths: list[Path]) -> Image.Image:
    """Pictures side by side at one height."""
    images = [Image.fromarray(to_pixels(read_image(path))) for path in paths]
    sizes = [(max(1, image.width * HEIGHT // image.height), HEIGHT) for image in images]
    resized = [np.asarray(image.resize(size)) for image, size in zip(images, sizes, strict=True)]
    return Image.fromarray(np.hstack(resized))
