"""What `python -m harness.status` says of a run folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from running import run

from harness import status
from harness.jobs import Job
from harness.locks import lock

Compose = Callable[..., DictConfig]


def test_status_tells_every_state(fake_config: Compose, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job.of(fake_config(f"out={out}", "limit=10"), "fake")
    ids = [item.id for item in job.items]
    run(Job(out, "fake", 0, job.method, job.items[:5]), broken=[ids[1]])
    with monkeypatch.context() as patch:
        patch.setattr("harness.record.code_digest", lambda config: "older")
        run(Job(out, "fake", 0, job.method, job.items[5:6]))
    held = lock(out, f"fake/{ids[7]}")
    with held:
        Path(held.lock_file).write_text("host 42\n")
        found = status.status_of(out, "fake")
    assert (found.label, found.planned) == ("fake", 10)
    assert found.done == [ids[0], *ids[2:5]]
    assert found.running == {ids[7]: "host 42"}
    assert found.failed == {ids[1]: f"RuntimeError: no luck with {ids[1]}"}
    assert found.outdated == [ids[5]]
    assert found.missing == [ids[6], *ids[8:]]
    assert found.seconds_left == pytest.approx(6 * 0.25)  # one process, 0.25 s per item
    assert status.status_of(out, "fake").running == {}


def test_status_on_the_command_line(
    fake_config: Compose, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    job = Job.of(fake_config(f"out={out}"), "fake")
    run(job, broken=["c0__set1", "c0__set2"])
    status.main([str(out)])
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "fake" in line)
    assert row.split() == ["fake", "12", "10", "0", "2", "0", "0", "0:00:00"]
    assert "fake failed on c0__set1: RuntimeError: no luck with c0__set1" in printed
    status.main([str(out), "--json"])
    (found,) = json.loads(capsys.readouterr().out)[str(out)]
    assert (len(found["done"]), sorted(found["failed"])) == (10, ["c0__set1", "c0__set2"])
    with pytest.raises(SystemExit) as caught:
        status.main([str(out / "nowhere")])
    assert caught.value.code == 2
    assert "holds no sweep; pass the out= of one" in capsys.readouterr().err
