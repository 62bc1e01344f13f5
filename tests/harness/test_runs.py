"""Cells: each item once, whatever happens to processes, disks and inputs; and what `harness.status` says of them."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Gallery, paint, paint_gallery
from fake_method import Fake
from filelock import FileLock
from kill_cells import images, job_of, start, survive
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from harness import frozen, locks, status
from harness.frozen import freeze, inputs_digest, read_frozen
from harness.jobs import Job, parse_shard
from harness.launchers.shards import Shard
from harness.locks import holder, lock
from harness.provenance import code_digest, sources_digest
from harness.record import Record, read_record
from harness.result_files import not_written
from harness.runs import in_turn, run_items
from stylegallery.contract import Cancelled, Item, Stylization
from stylegallery.draws import item_generator
from stylegallery.errors import InputError, MachineError, SettingsError
from stylegallery.files import PARTIAL
from stylegallery.images import read_image, to_pixels

Compose = Callable[..., DictConfig]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def job(out: Path, gallery: Gallery) -> Job:
    """12 items of the gallery, label `fake`."""
    return job_of(out, "fake", gallery.contents.parent, {})


class Counting(Fake):
    """Writes down the items it did."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"strength": 0.5, "seconds": 0.0, "broken": [], "log": None} | settings)
        self.did: list[str] = []

    def stylize(self, item: Item, *arguments: Any) -> Stylization:
        result = super().stylize(item, *arguments)
        self.did.append(item.id)
        return result


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


# --- each item once ---


def test_first_run_does_all_and_second_nothing(job: Job) -> None:
    ids = [item.id for item in job.items]
    assert run(job) == (Counter(done=12, there=0, failed=0), ids)
    before = stamps(job)
    assert before.keys() == set(ids)

    def refuse() -> Fake:
        raise AssertionError("built the method although every result is there")

    assert run_items(job, refuse, Console(quiet=True)) == Counter(done=0, there=12, failed=0)
    assert stamps(job) == before


def test_cell_holds_record_and_picture(job: Job) -> None:
    run(job)
    folder = job.folder(job.items[2])
    assert {path.name for path in folder.iterdir()} == {"record.json", "stylised.png"}
    record = record_of(job, "c0__set3")
    assert (record.item, record.seed, record.config) == ("c0__set3", 0, job.method)
    assert list(record.inputs) == ["content", "reference 1", "reference 2", "reference 3"]
    image = read_image(job.items[2].content)[..., ::2, ::2]
    noise = torch.rand(image.shape, generator=item_generator(0, job.items[2]))
    with Image.open(folder / "stylised.png") as stored:
        assert (to_pixels(image.lerp(noise, 0.5)) == stored).all()


def test_only_the_deleted_cell_is_done_again(job: Job) -> None:
    run(job)
    before, first = images(job.out, "fake"), stamps(job)
    shutil.rmtree(job.folder(job.items[5]))
    assert run(job) == (Counter(done=1, there=11, failed=0), [job.items[5].id])
    assert images(job.out, "fake") == before
    assert {item for item, stamp in stamps(job).items() if stamp != first[item]} == {job.items[5].id}


@pytest.mark.parametrize("part", [0, 1, 200, -2])
def test_truncated_record_is_done_again(job: Job, part: int) -> None:
    run(job)
    before, path = images(job.out, "fake"), job.folder(job.items[3]) / "record.json"
    path.write_bytes(path.read_bytes()[:part])
    assert run(job)[1] == [job.items[3].id]
    assert images(job.out, "fake") == before


def test_clock_does_not_matter(job: Job) -> None:
    """Results and locks from the future or from 1970 are what they are."""
    run(job)
    for number, path in enumerate(job.out.rglob("*")):
        os.utime(path, (0, 0) if number % 2 else (4e9, 4e9))
    assert run(job)[0] == Counter(done=0, there=12, failed=0)


@pytest.mark.parametrize("shards", [1, 2, 5, 12, 20])
def test_shards_share_out_everything_once(job: Job, shards: int) -> None:
    parts = [job.items[parse_shard(f"{k}/{shards}")] for k in range(shards)]
    assert Counter(item.id for part in parts for item in part) == Counter(item.id for item in job.items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shard", ["1/1", "4/4", "a/b", "1", "-1/2", "0/0"])
def test_bad_shard(shard: str) -> None:
    with pytest.raises(InputError, match="pass k/n with k from 0 to n-1"):
        parse_shard(shard)


def test_order_and_shard_do_not_change_bytes(job: Job) -> None:
    run(job)
    turned = Job(job.out, "turned", 0, job.method, job.items[::-1])
    run(Job(job.out, "turned", 0, job.method, turned.items[3:7]))
    run(turned)
    assert images(job.out, "turned") == images(job.out, "fake")
    other = Job(job.out, "other", 1, job.method, job.items)
    run(other)
    assert not images(job.out, "other").items() & images(job.out, "fake").items()


# --- what makes a cell stale ---


@pytest.mark.parametrize("change", ["config", "seed", "code"])
def test_changed_request_reuses_nothing(job: Job, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job)
    other = Job(
        job.out, "fake", int(change == "seed"), job.method | ({"extra": 1} if change == "config" else {}), job.items
    )
    if change == "code":
        monkeypatch.setattr("harness.request.code_digest", lambda config: "of other sources")
    assert run(other)[0]["done"] == 12


def test_changed_input_makes_its_cells_stale(job: Job, gallery: Gallery) -> None:
    run(job)
    paint(gallery.contents / "c1.png", 77)
    assert run(job)[1] == ["c1__set1", "c1__set2", "c1__set3"]
    paint(gallery.references / "set2" / "r1.png", 78)
    assert run(job)[1] == [f"c{number}__set2" for number in range(4)]


def test_input_that_changes_under_way_is_a_failure(job: Job, gallery: Gallery) -> None:
    class Changing(Counting):
        def stylize(self, item: Item, *arguments: Any) -> Stylization:
            if item.id == "c2__set1":
                paint(item.content, 79)
            return super().stylize(item, *arguments)

    assert run_items(job, Changing, Console(quiet=True)) == Counter(done=11, there=0, failed=1)
    assert "c2.png changed while it was used" in str(record_of(job, "c2__set1").error)
    assert run(job) == (Counter(done=1, there=11, failed=0), ["c2__set1"])


# --- frozen settings ---


def test_settings_are_frozen(fake_config: Compose, out: Path) -> None:
    config = fake_config(f"out={out}", "limit=3")
    job = Job.of(config, "one@x=0.5")
    settings = read_frozen(out / "config" / "one@x=0.5.yaml")
    assert settings["method"] == job.method == {
        "_target_": "fake_method.Fake", "strength": 0.5, "seconds": 0.0, "broken": [], "log": None,
    }  # fmt: skip
    assert (settings["limit"], settings["seed"], len(job.items)) == (3, 0, 3)
    assert [path.name for path in (out / "config").iterdir()] == ["one@x=0.5.yaml"]
    assert len(Job.of(fake_config(f"out={out}", "limit=5", "shard=1/2"), "one@x=0.5").items) == 2


def test_settings_keep_the_overrides_they_come_from(
    fake_config: Compose, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those given last, which decide nothing; a file that has none is one of an earlier version."""
    path, config = out / "config" / "fake.yaml", fake_config(f"out={out}", "limit=1")
    run(Job.of(config, "fake"))
    assert read_frozen(path)["overrides"] == []
    for given in (["experiment=table1", "limit=1"], ["content='a: b\udce9.png'", "limit=1", "shard=0/1"]):
        monkeypatch.setattr(frozen, "command_line", lambda given=given: given)
        assert run(Job.of(config, "fake"))[0]["there"] == 1
        assert read_frozen(path)["overrides"] == given
    path.write_text("".join(path.read_text().partition("overrides:")[::2]).replace("- ", "# "))
    assert read_frozen(path)["overrides"] == []


@pytest.mark.slow
def test_changed_settings_are_refused_by_name(fake_config: Compose, out: Path) -> None:
    run(Job.of(fake_config(f"out={out}", "limit=1"), "fake"))
    before = (out / "config" / "fake.yaml").read_bytes()
    with pytest.raises(InputError) as caught:
        Job.of(fake_config(f"out={out}", "method.strength=0.7", "seed=3"), "fake")
    message = str(caught.value)
    assert "seed: 0 there, 3 now; method.strength: 0.5 there, 0.7 now" in message
    assert "pass label= with a new name or another out=" in message
    assert (out / "config" / "fake.yaml").read_bytes() == before
    Job.of(fake_config(f"out={out}", "method.strength=0.7"), "fake@strength=0.7")


@pytest.mark.slow
def test_settings_without_a_result_may_change(fake_config: Compose, out: Path) -> None:
    """What could not work does not keep the label from what does; a process at work on it does."""
    job = Job.of(fake_config(f"out={out}", "limit=1", "method.strength=2"), "fake")
    run(job, broken=[job.items[0].id])
    assert record_of(job, job.items[0].id).failed
    with lock(out, f"fake/{job.items[0].id}"), pytest.raises(InputError, match=r"strength: 2 there, 0\.7 now"):
        Job.of(fake_config(f"out={out}", "method.strength=0.7"), "fake")
    run(Job.of(fake_config(f"out={out}", "limit=1", "method.strength=0.7"), "fake"))
    assert read_frozen(out / "config" / "fake.yaml")["method"]["strength"] == 0.7
    with pytest.raises(InputError, match=r"strength: 0\.7 there, 2 now"):
        Job.of(fake_config(f"out={out}", "method.strength=2"), "fake")


def test_settings_differ_where_their_digests_do(fake_config: Compose, out: Path) -> None:
    run(Job.of(fake_config(f"out={out}", "limit=1", "method.strength=1"), "fake"))
    with pytest.raises(InputError, match=r"method\.strength: 1 there, 1\.0 now"):
        Job.of(fake_config(f"out={out}", "method.strength=1.0"), "fake")


@pytest.mark.parametrize("override", ["method.strength=nan", "method.broken=[a,[inf]]", "+data.x=-inf"])
def test_settings_that_are_not_finite(fake_config: Compose, out: Path, override: str) -> None:
    """A result of NaN would be recorded as one."""
    name = override.partition("=")[0].lstrip("+")
    with pytest.raises(InputError, match=f"^{name} is not a finite number; pass another {name}=$"):
        Job.of(fake_config(f"out={out}", override), "fake")
    assert not out.exists()


def test_code_is_that_of_the_making_of_a_job(
    fake_config: Compose, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit while the first of several jobs runs is not what the last one's records name."""
    monkeypatch.setattr("harness.provenance.ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text("def mine(strength, seconds, broken, log): ...")
    job = Job.of(fake_config(f"out={out}", "method._target_=mine.mine"), "mine")
    (tmp_path / "mine.py").write_text("new = 1")
    old = code_digest(job.method)
    sources_digest.cache_clear()
    assert code_digest(job.method) != old


def test_where_the_pictures_are_may_change(fake_config: Compose, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config(f"out={out}")
    config.data = {
        "_target_": "data.benchmark.manifest_items",
        "manifest": "mixed",
        "files": "stylegallery",
        "root": "a",
    }
    settings = freeze(out, "x", config)
    assert "root" not in settings["data"]
    config.data.root = "b"
    assert freeze(out, "x", config) == settings
    monkeypatch.setattr(frozen, "in_use", lambda *_: True)
    config.data.manifest = "stylegallery"
    with pytest.raises(InputError, match=r"data\.manifest: mixed there, stylegallery now"):
        freeze(out, "x", config)


@pytest.mark.parametrize("label", ["a/b", "", "..\\x", "a b", "..", "."])
def test_bad_label(fake_config: Compose, out: Path, label: str) -> None:
    with pytest.raises(InputError, match="label consists of"):
        Job.of(fake_config(f"out={out}"), label)


@pytest.mark.parametrize("limit", ["0", "-1", "all"])
def test_bad_limit(fake_config: Compose, out: Path, limit: str) -> None:
    with pytest.raises(InputError, match=r"^limit is .*; it should be"):
        Job.of(fake_config(f"out={out}", f"limit={limit}"), "fake")


@pytest.mark.slow
def test_damaged_frozen_settings(fake_config: Compose, out: Path) -> None:
    Job.of(fake_config(f"out={out}"), "fake")
    for text in ("{", "label: fake\n", "- 1\n"):
        (out / "config" / "fake.yaml").write_text(text)
        with pytest.raises(InputError, match="is not the frozen settings of a label"):
            Job.of(fake_config(f"out={out}"), "fake")


# --- failures ---


def test_failed_item_is_a_record_and_the_sweep_goes_on(job: Job) -> None:
    tally, did = run(job, broken=["c1__set2"])
    assert tally == Counter(done=11, there=0, failed=1)
    assert len(did) == 11
    record = record_of(job, "c1__set2")
    assert record.error == "RuntimeError: no luck with c1__set2"
    assert record.files == {}
    assert {path.name for path in (job.out / "cells/fake/c1__set2").iterdir()} == {"record.json"}
    assert run(job) == (Counter(done=1, there=11, failed=0), ["c1__set2"])
    assert not record_of(job, "c1__set2").failed


def test_unreadable_input_is_the_failure_of_its_items(job: Job, gallery: Gallery) -> None:
    (gallery.contents / "c0.png").unlink()
    (gallery.contents / "c3.png").write_bytes(b"no picture")
    assert run(job)[0] == Counter(done=6, there=0, failed=6)
    assert "c0.png is missing" in str(record_of(job, "c0__set1").error)
    assert "c3.png is not a picture" in str(record_of(job, "c3__set3").error)


def test_failure_of_a_name_of_any_bytes(out: Path, gallery: Gallery) -> None:
    """It is printed and recorded in characters that every terminal and file can have."""
    (gallery.contents / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    job = job_of(out, "fake", gallery.contents.parent, {})
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert run_items(job, Counting, console) == Counter(done=12, there=0, failed=3)
    (item,) = (item.id for item in job.items if item.id.startswith("caf_") and item.id.endswith("__set1"))
    assert r"caf\udce9.png is not a picture" in str(record_of(job, item).error)


def test_result_stays_while_an_input_cannot_be_read(job: Job, gallery: Gallery) -> None:
    """A disk that is gone for a moment: its items fail, but what is there is worth no less."""
    run(job, broken=["c0__set1"])
    before = {item: stamp for item, stamp in stamps(job).items() if item != "c0__set1"}
    content = (gallery.contents / "c0.png").rename(gallery.contents / "elsewhere")
    assert run(job)[0] == Counter(done=0, there=9, failed=3)
    assert "c0.png is missing" in str(record_of(job, "c0__set1").error)
    assert stamps(job).items() >= before.items()
    content.rename(gallery.contents / "c0.png")
    assert run(job) == (Counter(done=1, there=11, failed=0), ["c0__set1"])


def test_failure_replaces_an_older_result(job: Job, gallery: Gallery) -> None:
    run(job)
    paint(gallery.contents / "c1.png", 5)
    run(job, broken=["c1__set1"])
    assert {path.name for path in (job.out / "cells/fake/c1__set1").iterdir()} == {"record.json"}


def test_settings_that_suit_no_item_stop_at_once(job: Job) -> None:
    with pytest.raises(InputError, match="layers is 99"):
        run(job, broken=["all"])
    assert stamps(job) == {}
    with pytest.raises(InputError, match="strength is at most 1"):
        run_items(job, lambda: Counting(strength=2), Console(quiet=True))
    assert stamps(job) == {}


LOADER = "stylegallery.models.factory.from_directory"


def test_missing_weights_stop_before_any_item(job: Job) -> None:
    config = job.method | {"model": {"_target_": LOADER, "path": "nobody/nothing"}}
    with pytest.raises(InputError, match="download it with"):
        run(Job(job.out, "fake", 0, config, job.items))
    assert stamps(job) == {}


def test_memory_that_runs_out_twice_stops(job: Job) -> None:
    """PyTorch's own words name the bytes that were asked for, which differ."""

    class Hungry(Counting):
        def stylize(self, item: Item, *arguments: Any) -> Stylization:
            if item.id.endswith("set1"):
                return super().stylize(item, *arguments)
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {item.id[-1]}.00 GiB")

    with pytest.raises(InputError, match=r"^the GPU ran out of memory; pass model\.dtype=bfloat16"):
        run_items(job, Hungry, Console(quiet=True))
    assert sorted(stamps(job)) == ["c0__set1", "c0__set2"]
    assert str(record_of(job, "c0__set2").error).endswith("a smaller resolution= or fewer references")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Cancelled])
def test_interruption_is_not_a_failure(job: Job, kind: type[BaseException]) -> None:
    """Nothing half-written is left, and no lock, however long somebody keeps the error."""

    class Interrupted(Counting):
        def stylize(self, item: Item, *arguments: Any) -> Stylization:
            result = super().stylize(item, *arguments)
            if len(self.did) == 3:
                raise kind
            return result

    with pytest.raises(kind) as caught:
        run_items(job, Interrupted, Console(quiet=True))
    assert len(stamps(job)) == 2
    assert not list(job.out.rglob(f"{PARTIAL}*"))
    assert holder(job.out, "fake", job.items[2].id) is None
    assert run(job)[0] == Counter(done=10, there=2, failed=0)
    assert caught.type is kind


@pytest.mark.parametrize("error", [SettingsError("steps is 9, but the model has 8"), MachineError("the disk is full")])
def test_what_concerns_every_item_ends_the_run_at_once(job: Job, error: Exception) -> None:
    method = Unlucky(error, {3})
    with pytest.raises(type(error), match=str(error)):
        run_items(job, lambda: method, Console(quiet=True))
    assert sorted(stamps(job)) == method.did == [item.id for item in job.items[:3]]
    assert run(job)[0] == Counter(done=9, there=3, failed=0)


def test_memory_that_runs_out_now_and_then_is_the_failure_of_its_items(job: Job) -> None:
    method = Unlucky(torch.OutOfMemoryError("CUDA out of memory"), {1, 3, 5})
    assert run_items(job, lambda: method, Console(quiet=True)) == Counter(done=9, there=0, failed=3)


# --- processes ---


def test_two_processes_do_every_item_once(out: Path, gallery: Gallery, tmp_path: Path) -> None:
    """The second finds everything locked or done, and leaves only when all is there."""
    log = tmp_path / "log"
    folder, method = gallery.contents.parent, {"log": str(log), "seconds": 0.02}
    workers = [start(out, "fake", folder, method) for _ in range(3)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    did = [line.split() for line in log.read_text().splitlines()]
    assert sorted(item for _, item in did) == sorted(item.id for item in job_of(out, "", folder, {}).items)
    assert len({process for process, _ in did}) > 1
    assert len(images(out, "fake")) == 12


def test_kills_lose_and_spoil_nothing(out: Path, tmp_path: Path) -> None:
    paint_gallery(tmp_path / "many", contents=6)
    seen = survive(out, tmp_path / "many", kills=10)
    assert seen["kills"] == 10
    assert seen["met a cell under way"] > 0


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


def test_leftovers_of_the_dead_are_cleared(job: Job) -> None:
    """A lock file without a process is no lock, a half written folder no result."""
    item = job.items[0]
    (job.out / ".locks" / "fake").mkdir(parents=True)
    (job.out / ".locks" / "fake" / f"{item.id}.lock").write_text("elsewhere 1\n")
    half = job.folder(item) / f"{PARTIAL}abc"
    half.mkdir(parents=True)
    (half / "stylised.png").write_bytes(b"half")
    assert run(job)[0]["done"] == 12
    assert not half.exists()


# --- disks ---


def test_read_only_output(job: Job, mounted: Any) -> None:
    place = mounted("readonly", "ro,size=200k")
    with pytest.raises(
        InputError, match=r"cannot be written \(Read-only file system\); make room or pass another out="
    ):
        run(Job(place / "out", "fake", 0, job.method, job.items))


def test_full_disk_keeps_what_is_there(job: Job, mounted: Any) -> None:
    place = mounted("full", "size=100k")
    full = Job(place / "out", "fake", 0, job.method, job.items)
    with pytest.raises(InputError, match=r"No space left on device.*make room or pass another out="):
        run(full)
    run(job)
    expected, left = images(job.out, "fake"), images(full.out, "fake")
    assert 0 < len(left) < 12
    assert left.items() <= expected.items()
    subprocess.run(["mount", "-o", "remount,size=5m", str(place)], check=True)
    assert run(full)[0] == Counter(done=12 - len(left), there=len(left), failed=0)
    assert images(full.out, "fake") == expected


def test_full_disk_has_no_room_for_settings(fake_config: Compose, mounted: Any) -> None:
    place = mounted("full", "size=20k")
    out = place / "out"
    (out / "config").mkdir(parents=True)
    (place / "filler").write_bytes(b"0" * 20 * 2**10)
    with pytest.raises(InputError, match=r"out cannot be written \(No space left on device\); make room or pass"):
        Job.of(fake_config(f"out={out}"), "fake")
    assert list((out / "config").iterdir()) == []


def test_output_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    error = not_written(tmp_path / "gone" / "cell", OSError(2, "No such file or directory"))
    assert re.search(r"gone/cell \(No such file or directory, \d+ MiB free\); make room", str(error))


def test_locks_that_cannot_be_made(job: Job, fake_config: Compose, out: Path) -> None:
    out.mkdir()
    (out / ".locks").write_text("")  # root may write everywhere, so that chmod would not do
    for call in (lambda: Job.of(fake_config(f"out={out}"), "fake"), lambda: run(job)):
        with pytest.raises(InputError, match=r"out cannot be written \(File exists|Not a directory\); make room or"):
            call()


# --- status ---


def test_status_tells_every_state(fake_config: Compose, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job.of(fake_config(f"out={out}", "limit=10"), "fake")
    ids = [item.id for item in job.items]
    run(Job(out, "fake", 0, job.method, job.items[:5]), broken=[ids[1]])
    with monkeypatch.context() as patch:
        patch.setattr("harness.request.code_digest", lambda config: "older")
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


def test_asking_for_a_holder_leaves_no_lock(out: Path, job: Job) -> None:
    assert holder(out, "fake", "x") is None
    assert not (out / ".locks").exists()
    with lock(out, "fake/x"):
        assert holder(out, "fake", "x") is not None
    assert holder(out, "fake", "x") is None
    with FileLock(out / ".locks/fake/x.lock", blocking=False):
        pass


# --- run.py ---


def test_shard_for_a_launcher(fake_config: Compose, out: Path) -> None:
    import run as script

    with pytest.raises(InputError, match="launcher= shares out all items itself; leave out shard="):
        script.run(fake_config(f"out={out}", "launcher=local", "shard=0/4"), Console(quiet=True))
    assert not out.exists()


def test_run_prints_a_table_and_fails_for_failed_items(fake_config: Compose, out: Path) -> None:
    import run as script

    console = Console(file=io.StringIO(), width=200)
    overrides = (f"out={out}", "label=fake", "method.broken=[c3__set1]")
    assert script.run(fake_config(*overrides), console) is False
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    assert {("done now", "11"), ("done before", "0"), ("failed", "1")} <= {tuple(row) for row in rows}
    assert "c3__set1 failed: RuntimeError: no luck with c3__set1" in printed


def test_number_as_a_label(fake_config: Compose, out: Path) -> None:
    """Hydra reads `label=2024` as a number."""
    import run as script

    assert script.run(fake_config(f"out={out}", "label=2024", "limit=1"), Console(quiet=True))
    assert [path.name for path in (out / "cells").iterdir()] == ["2024"]


@pytest.mark.slow
def test_sweep_on_the_command_line(gallery: Gallery, out: Path, environment: dict[str, str]) -> None:
    """The label is the method's name; a job of a multirun that fails does not keep the next from running, and the exit
    code tells."""
    call = [sys.executable, str(ROOT / "run.py"), "--config-dir", str(ROOT / "tests" / "conf"), "-m", "method=fake"]
    call += [*gallery.overrides(), f"out={out}", "shard=0/3,1/3", "method.broken=[c1__set1]"]
    environment = environment | {"PYTHONPATH": str(ROOT / "tests")}
    process = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1, process.stderr
    done = sorted(path.name for path in (out / "cells" / "fake").iterdir())
    assert done == sorted(f"c{number}__set{size}" for number in range(4) for size in (1, 2))
    assert "error" in json.loads((out / "cells/fake/c1__set1/record.json").read_text())
    assert "error" not in json.loads((out / "cells/fake/c3__set2/record.json").read_text())


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "at"),
    [
        (FloatingPointError("the decoded picture is not finite"), {1, 2, 3, 7}),  # a bad content comes in a row
        (RuntimeError("a bug"), {0, 1, 2}),
        (InputError("this picture has no sky"), {2, 3, 4}),
    ],
)
def test_equal_failures_of_items_do_not_end_the_sweep(job: Job, error: Exception, at: set[int]) -> None:
    method = Unlucky(error, at)
    tally = run_items(job, lambda: method, Console(quiet=True))
    assert tally == Counter(done=12 - len(at), there=0, failed=len(at))
    assert len(stamps(job)) == 12


# --- what a label's settings are ---


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("launched", [False, True])
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


def test_settings_cannot_change_under_the_first_item(fake_config: Compose, out: Path) -> None:
    """Although nothing has been written yet: its lock is seen."""
    job = Job.of(fake_config(f"out={out}"), "fake")
    items = in_turn(job)
    next(items)
    with pytest.raises(InputError, match=r"fake with other settings \(seed: 0 there, 1 now\)"):
        Job.of(fake_config(f"out={out}", "seed=1"), "fake")
    items.close()
    Job.of(fake_config(f"out={out}", "seed=1"), "fake")


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


def ids_of(job: Job) -> dict[str, str]:
    return {item.id: inputs_digest(item) for item in job.items}


# --- places and spellings ---


@pytest.mark.slow
def test_the_spelling_of_a_place_changes_nothing(
    fake_config: Compose, gallery: Gallery, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(Job.of(fake_config(f"out={out}"), "fake"))
    monkeypatch.chdir(gallery.contents.parent)
    for contents, references in (
        ("contents/", "references"), ("./contents", "references/"), (f"{gallery.contents}/../contents", "[references]"),
        ("contents/*.png", "[references/set1,references/set2/,references/set3]"),
    ):  # fmt: skip
        again = Job.of(
            fake_config(f"out={out}", f"data.contents='{contents}'", f"data.references={references}"), "fake"
        )
        assert run(again)[0] == {"done": 0, "there": 12, "failed": 0}
    data = read_frozen(out / "config" / "fake.yaml")["data"]
    assert all(Path(path).is_absolute() for path in (data["contents"], *data["references"]))


@pytest.mark.slow
def test_a_moved_folder_is_the_same_and_another_one_is_not(fake_config: Compose, gallery: Gallery, out: Path) -> None:
    run(Job.of(fake_config(f"out={out}"), "fake"))
    moved = gallery.contents.rename(gallery.contents.parent / "moved")
    again = Job.of(fake_config(f"out={out}", f"data.contents={moved}"), "fake")
    assert run(again)[0] == {"done": 0, "there": 12, "failed": 0}
    assert read_frozen(out / "config" / "fake.yaml")["data"]["contents"] == str(moved)
    items = in_turn(again)  # at work; meanwhile another machine starts, which has the folder elsewhere
    next(items)
    shutil.copytree(moved, out.parent / "mounted")
    mounted = Job.of(fake_config(f"out={out}", f"data.contents={out.parent / 'mounted'}"), "fake")
    next(items)
    items.close()
    assert run(mounted)[0]["there"] == 12
    other = paint_gallery(out.parent / "other")
    for picture in other.contents.iterdir():
        paint(picture, 50)
    with pytest.raises(InputError, match=r"fake with other settings \(data\.contents: .*moved there, .*other"):
        Job.of(fake_config(f"out={out}", f"data.contents={other.contents}"), "fake")
    (moved / "c0.png").unlink()
    with pytest.raises(InputError, match="with other settings"):
        Job.of(fake_config(f"out={out}", f"data.contents={moved.rename(out.parent / 'less')}"), "fake")


# --- what a folder may lack, and what ends a run ---


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_picture_that_is_not_what_was_written_is_done_again(job: Job, damage: str) -> None:
    run(job)
    before, path = images(job.out, "fake"), job.folder(job.items[3]) / "stylised.png"
    data = path.read_bytes()
    path.write_bytes(data[:-30] if damage == "cut" else data[:-30] + bytes(30))
    tally, _ = run(job)
    assert (tally["done"], tally["there"]) == (1, 11)
    assert images(job.out, "fake") == before


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
