"""Tasks of launchers: each does what it was started for, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Gallery, paint, paint_gallery
from omegaconf import DictConfig
from running import ids_of, run, stamps

from harness.jobs import Job
from harness.launchers.shards import Shard
from harness.locks import holder
from stylegallery.errors import InputError

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("launched", [False, True])
@pytest.mark.slow
def test_two_starts_on_one_folder_never_mix(fake_config: Compose, out: Path, moved: bool, launched: bool) -> None:
    """Whichever froze its settings last goes on; the other one stops at its next item, and so do its tasks."""
    first = Job.of(fake_config(f"out={out}"), "fake")
    shard = Shard(str(out), "fake", first.settings, ids_of(first), "0/1", None, None)
    second = Job.of(fake_config(f"out={out}", "seed=1" if moved else "method.strength=0.25"), "fake")
    says = "settings of a later start" if launched else "settings of another start, which came after this one"
    with pytest.raises(InputError, match=says):
        shard() if launched else run(first)
    assert not list(out.glob("cells/*/*/record.json"))
    run(second, broken=["c1__set2"])  # failures have a record too
    with pytest.raises(InputError, match=says):
        shard() if launched else run(first)
    records = [json.loads(path.read_text()) for path in out.glob("cells/fake/*/record.json")]
    assert {record["seed"] for record in records} == {second.seed}
    assert {record["config"]["strength"] for record in records} == {second.method["strength"]}
    assert {record["settings"] for record in records} == {second.settings} != {first.settings}


def test_a_task_does_only_what_it_was_started_for(fake_config: Compose, gallery: Gallery, out: Path) -> None:
    """Pictures that came later, or are others on the machine of the task, are not recorded."""
    job = Job.of(fake_config(f"out={out}", "limit=2"), "fake")
    shard = Shard(str(out), "fake", job.settings, ids_of(job), "0/1", None, None)
    paint(gallery.contents / "a_first.png", 77)
    assert shard()["done"] == 2
    assert sorted(path.name for path in out.glob("cells/fake/*")) == sorted(item.id for item in job.items)
    paint(job.items[0].content, 78)
    with pytest.raises(InputError, match="are not those that the task was started with"):
        shard()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.slow
def test_the_end_of_a_task_is_no_failure_of_its_item(fake_config: Compose, out: Path) -> None:
    """Slurm takes the machine back: submitit's handler of the signal raises inside the method."""
    utils = pytest.importorskip("submitit.core.utils")
    before = signal.getsignal(signal.SIGUSR2)
    for error in (utils.UncompletedJobError("timed out"), subprocess.CalledProcessError(1, ["scontrol", "requeue"])):
        job = Job.of(fake_config(f"out={out}", "method.seconds=30"), "fake")
        shard = Shard(str(out), "fake", job.settings, ids_of(job), "0/1", None, None)

        def handle(*_: object, error: Exception = error) -> None:
            raise error

        signal.signal(signal.SIGUSR2, handle)
        try:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR2)).start()
            with pytest.raises(type(error)) as caught:
                shard()
            assert signal.getsignal(signal.SIGUSR2) is handle
        finally:
            signal.signal(signal.SIGUSR2, before)
        assert caught.value is error
        assert not stamps(job)
        assert holder(out, "fake", job.items[0].id) is None


def test_a_task_in_another_folder_reads_the_same_pictures(
    fake_config: Compose, gallery: Gallery, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts its workers in folders of their own, where relative paths may even exist."""
    monkeypatch.chdir(gallery.contents.parent)
    job = Job.of(fake_config(f"out={out}", "data.contents=contents", "data.references=references", "limit=2"), "fake")
    shard = Shard(str(out), "fake", job.settings, ids_of(job), "0/1", job.root, None)
    worker = paint_gallery(tmp_path / "worker")
    paint(worker.contents / "c0.png", 99)
    monkeypatch.chdir(tmp_path / "worker")
    assert shard()["done"] == 2
    records = [json.loads(path.read_text()) for path in out.glob("cells/fake/*/record.json")]
    assert {Path(record["inputs"]["content"]["path"]).parent for record in records} == {gallery.contents}
