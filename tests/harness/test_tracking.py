"""The wandb mirror: everything lies below OUT, and nothing it does can harm a result."""

import io
import json
import re
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from conftest import ROOT, Gallery
from fake_method import Fake
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from running import images, job_of

from evaluation.results import scores_of
from harness import tracking
from harness.building import build
from harness.jobs import Job
from harness.record import load_record
from harness.runs import run_items
from harness.tracking import HEIGHT, WandbTracker, strip


@pytest.fixture
def job(tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Job:
    for name in ("WANDB_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))  # restored after the test
    return job_of(tmp_path / "out", "fake", gallery.contents.parent, {})


def run(job: Job, tracker: WandbTracker, broken: list[str]) -> str:
    run_items(job, lambda: Fake(0.5, 0.0, broken, None), Console(quiet=True), tracker.log)
    console = Console(file=io.StringIO(), width=300)
    tracker.finish(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.slow
def test_offline_run_holds_all_that_sync_needs(job: Job, tmp_path: Path, gallery: Gallery) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run_items(job, lambda: Fake(0.5, 0.0, ["c1__set1"], None), Console(quiet=True), lambda *_: None)
        for item, old in (("c0__set2", False), ("c0__set3", True)):  # scores of this picture, and of an earlier one
            folder = job.out / "cells" / "fake" / item
            pictures = load_record(folder).depends_on(folder) | ({"result": "0"} if old else {})
            scores = {"lpips_alex": {"value": 0.25, "version": 1, "reason": None}}
            about = {"pictures": pictures, "size": None}
            (folder / "scores.json").write_text(json.dumps({"metrics": scores, **about}))
        tracker = build(OmegaConf.load(ROOT / "conf" / "tracker" / "wandb.yaml"), "tracker")(job)
        printed = run(job, tracker, ["c1__set1"])
    wandb.teardown()  # as at the end of a process: everything is on disk
    (folder,) = (job.out / "wandb").glob("offline-run-*")
    assert folder.name.endswith(tracker.run_id())
    assert f"wandb sync {folder}" in printed
    assert not (tmp_path / "elsewhere").exists()

    (path,) = folder.glob("files/media/table/*.table.json")
    table = json.loads(path.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["item"] for row in rows] == [item.id for item in job.items]
    assert rows[0] | {"digest": None} == {
        "item": "c0__set1", "digest": None, "error": "", "references": 1, "seconds": 0.25, "peak_memory_mib": 1.0,
        "content and references": "Image", "stylised": "Image", "lpips_alex": None,
    }  # fmt: skip
    assert [row["lpips_alex"] for row in rows[:3]] == [None, 0.25, None]
    assert rows[3]["error"] == "RuntimeError: no luck with c1__set1"
    assert rows[3]["stylised"] is None

    (log,) = folder.glob("run-*.wandb")
    staged = {Path(found.decode()) for found in re.findall(rb"/[\w/.-]+/staging/tmp\w{8}", log.read_bytes())}
    assert len(staged) >= 2 * 11  # two pictures of each of the items that worked
    assert all(path.is_file() and path.is_relative_to(job.out) for path in staged)
    sizes = []
    for path in staged:
        if path.read_bytes().startswith(b"\x89PNG"):
            with Image.open(path) as image:
                sizes.append(image.size)
    assert sorted(set(sizes)) == [(HEIGHT * count, HEIGHT) for count in (1, 2, 3, 4)]
    assert sizes.count((HEIGHT, HEIGHT)) == 11


@pytest.mark.slow
def test_a_job_has_a_run_of_its_own_although_the_one_before_did_not_end(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("no route to host")

    first = WandbTracker(job, "project", None, "offline", scores_of)
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="no route to host"):
        patch.setattr(first, "mirror", fail)
        patch.setattr(tracking, "let_go", fail)
        first.finish(Console(quiet=True))
    second = WandbTracker(Job(job.out, "other", 0, job.method, job.items), "project", None, "offline", scores_of)
    assert second.run.id == second.run_id() != first.run.id
    for tracker in (first, second):
        tracker.run.finish()
    wandb.teardown()


def test_run_id_is_that_of_the_job(job: Job) -> None:
    class Quiet(WandbTracker):
        def start(self, *_: Any) -> None:
            pass

    changed = (
        job,
        Job(job.out, "other", 0, job.method, job.items),
        Job(job.out, "fake", 1, job.method, job.items),
        Job(job.out, "fake", 0, job.method | {"strength": 0.7}, job.items),
        Job(job.out, "fake", 0, job.method, job.items[::2]),
    )
    ids = [Quiet(one, "project", None, "offline", scores_of).run_id() for one in (*changed, job)]
    assert len(set(ids)) == 5
    assert ids[0] == ids[-1]


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["init", "log", "Table", "finish"])
def test_failure_of_wandb_costs_nothing(job: Job, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    class Run:
        offline, dir = True, str(job.out)
        summary: dict[str, Any] = {}  # noqa: RUF012

        def log(self, values: dict[str, Any]) -> None: ...

        def finish(self) -> None: ...

    monkeypatch.setattr(wandb, "init", lambda **_: Run())
    monkeypatch.setattr(wandb, "Table", lambda **_: None)
    monkeypatch.setattr(Run if broken in ("log", "finish") else wandb, broken, fail)
    with pytest.warns(UserWarning, match="its results are not touched: no route to") as caught:
        printed = run(job, WandbTracker(job, "project", None, "offline", scores_of), [])
    assert len([one for one in caught if "wandb is off" in str(one.message)]) == 1
    assert "wandb sync" not in printed
    assert len(images(job.out, "fake")) == 12


@pytest.mark.slow
def test_items_that_were_held_by_others_are_counted_with_those_before(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label that is come back to for one item has the run of before."""
    summary: dict[str, Any] = {}
    started = SimpleNamespace(offline=True, dir=str(job.out), summary=summary, log=lambda _: None, finish=lambda: None)
    monkeypatch.setattr(wandb, "init", lambda **_: started)
    monkeypatch.setattr(wandb, "Table", lambda **_: None)
    for items in (job.items[1:], job.items[:1]):
        tracker = WandbTracker(job, "project", None, "offline", scores_of)
        part = replace(job, items=items)
        run_items(part, lambda: Fake(0.5, 0.0, ["c1__set1"], None), Console(quiet=True), tracker.log)
        tracker.finish(Console(quiet=True))
    assert summary == {"done": 11, "failed": 1, "items": 12}


def test_strip_sets_pictures_side_by_side(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), "red").save(tmp_path / "a.png")
    Image.new("RGBA", (32, 32), (0, 0, 255, 0)).save(tmp_path / "b.png")
    row = strip([tmp_path / "a.png", tmp_path / "b.png"])
    assert row.size == (3 * HEIGHT, HEIGHT)
    assert row.getpixel((2 * HEIGHT - 1, 5)) == (255, 0, 0)
    assert row.getpixel((2 * HEIGHT, 5)) == (255, 255, 255)  # transparent is white, as methods see it


def test_a_frozen_wandb_does_not_hold_up_a_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = threading.Event()
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.05 s"):
        tracking.within(0.05, frozen.wait)
    frozen.set()
    with pytest.raises(ZeroDivisionError):
        tracking.within(5, lambda: 1 / 0)
    for name in ("START", "PATIENCE", "LAST"):
        monkeypatch.setattr(tracking, name, 0.05)
    frozen.clear()
    silent = r"wandb is off for this job, its results are not touched: it did not answer"
    monkeypatch.setattr(wandb, "init", lambda **_: frozen.wait())
    with pytest.warns(UserWarning, match=silent):
        tracker = WandbTracker(job, "project", None, "online", scores_of)
    assert not tracker.works
    tracker.works, tracker.run = True, SimpleNamespace(finish=frozen.wait)
    monkeypatch.setattr(tracker, "mirror", lambda: None)
    ended = []
    monkeypatch.setattr(wandb, "teardown", lambda: (ended.append(1), frozen.wait()))
    with pytest.warns(UserWarning, match=silent):
        tracker.finish(Console(quiet=True))
    assert ended  # or else the end of the process would wait for it
    frozen.set()
