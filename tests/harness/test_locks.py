"""Locks: one process has an item, others wait for it, and nobody has the lock of a dead one."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import DictConfig
from rich.console import Console
from running import Counting, run

from harness import locks
from harness.jobs import Job
from harness.locks import holder, lock
from harness.runs import run_items
from stylegallery.contract import Item, Stylization
from stylegallery.errors import InputError

Compose = Callable[..., DictConfig]


def test_lock_of_another_is_waited_for(job: Job) -> None:
    """While another process holds a cell everything else is done; then its result counts."""
    held = lock(job.out, f"fake/{job.items[0].id}")
    held.acquire()
    order = []

    class Releasing(Counting):
        def stylize(self, item: Item, *arguments: Any) -> Stylization:
            order.append(item.id)
            if len(order) == 11:
                held.release()
            return super().stylize(item, *arguments)

    assert run_items(job, Releasing, Console(quiet=True))["done"] == 12
    assert order == [item.id for item in [*job.items[1:], job.items[0]]]


def test_locks_that_cannot_be_made(job: Job, fake_config: Compose, out: Path) -> None:
    out.mkdir()
    (out / ".locks").write_text("")  # root may write everywhere, so that chmod would not do
    for call in (lambda: Job.of(fake_config(f"out={out}"), "fake"), lambda: run(job)):
        with pytest.raises(InputError, match=r"out cannot be written \(File exists|Not a directory\); make room or"):
            call()


def test_asking_for_a_holder_leaves_no_lock(out: Path, job: Job) -> None:
    assert holder(out, "fake", "x") is None
    assert not (out / ".locks").exists()
    with lock(out, "fake/x"):
        assert holder(out, "fake", "x") is not None
    assert holder(out, "fake", "x") is None
    with FileLock(out / ".locks/fake/x.lock", blocking=False):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks by other means")
def test_a_file_system_without_locks_is_named(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    assert run(job)[0]["done"] == 12
    assert holder(job.out, "fake", job.items[0].id) is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{job.out} is on a file system without locks, so that two processes would do the same item")
    assert "give each a shard of its own: shard=0/2, shard=1/2" in said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks by other means")
def test_asking_for_a_holder_writes_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that may only be read, too; a link in the place of a lock is not followed."""
    real, victim = os.open, out / "victim"
    with lock(out, "fake/x"):
        pass
    victim.write_text("mine")
    (out / ".locks" / "fake" / "link.lock").symlink_to(victim)

    def only_read(path: Any, flags: int, *more: Any, **others: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *more, **others)

    with lock(out, "fake/held"), monkeypatch.context() as patch:
        patch.setattr(os, "open", only_read)
        assert holder(out, "fake", "x") is holder(out, "fake", "absent") is holder(out, "fake", "link") is None
        assert holder(out, "fake", "held") == "starting"
    assert victim.read_text() == "mine"
