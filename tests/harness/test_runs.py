"""Runs: each item once, whatever happens to processes, disks and inputs."""

import io
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Gallery, paint, paint_gallery
from fake_method import Fake
from kill_runs import start, survive
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from running import Counting, Unlucky, images, job_of, record_of, run, stamps

from harness.jobs import Job
from harness.locks import holder, lock
from harness.result_files import written_whole
from harness.runs import run_items, run_single
from stylegallery.contract import Cancelled, Item, Progress, Silent, Stylization
from stylegallery.draws import item_generator
from stylegallery.errors import InputError, MachineError, SettingsError
from stylegallery.files import PARTIAL
from stylegallery.images import read_image, to_pixels

Compose = Callable[..., DictConfig]


# --- several items at a time ---


class Together(Counting):
    """Does groups of items; `broken` items break their group too. Notes the groups and whether all locks were held."""

    def __init__(self, job: Job, error: Exception | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.job, self.error, self.groups, self.held = job, error, list[list[str]](), list[bool]()

    def stylize_together(self, items: Sequence[Item], generators: Sequence[torch.Generator]) -> list[Stylization]:
        self.groups.append([item.id for item in items])
        self.held.append(all(holder(self.job.out, self.job.label, item.id) for item in items))
        if self.error:
            raise self.error
        return [self.stylize(item, generator) for item, generator in zip(items, generators, strict=True)]


@pytest.fixture
def batched(out: Path, gallery: Gallery) -> Job:
    return job_of(out, "fake", gallery.contents.parent, {"batch": 5})


def together(job: Job, *arguments: Any, **settings: Any) -> tuple[Counter[str], Together]:
    method = Together(job, *arguments, **settings)
    return run_items(job, lambda: method, Console(quiet=True)), method


def test_items_are_done_together_under_their_locks(batched: Job, job: Job, out: Path) -> None:
    ids = [item.id for item in batched.items]
    tally, method = together(batched)
    assert tally == Counter(done=12, there=0, failed=0) and all(method.held)
    assert method.groups == [ids[:5], ids[5:10], ids[10:]] and method.did == ids
    assert not any(holder(out, "fake", item) for item in ids)
    pictures = [read_image(job.folder(item) / "stylised.png") for item in job.items]
    shutil.rmtree(out)
    run(job)
    for item, picture in zip(job.items, pictures, strict=True):  # each was drawn with a generator of its own
        assert torch.equal(read_image(job.folder(item) / "stylised.png"), picture)


def test_a_method_with_a_batch_of_its_own_gets_one_item_at_a_time(batched: Job) -> None:
    """Its `batch` may mean something else."""
    method, said = Counting(), io.StringIO()
    assert run_items(batched, lambda: method, Console(file=said))["done"] == 12
    assert method.did == [item.id for item in batched.items] and "one by one" not in said.getvalue()


def test_only_items_without_a_result_are_done_together(batched: Job) -> None:
    run(replace(batched, items=batched.items[1:4]))
    ids = [item.id for item in batched.items]
    tally, method = together(batched)
    assert tally == Counter(done=9, there=3, failed=0)
    assert method.groups == [[ids[0], *ids[4:8]], ids[8:]]


def test_failures_are_done_again_together(batched: Job) -> None:
    ids = [item.id for item in batched.items]
    run(batched, broken=ids[:4])
    tally, method = together(batched)
    assert tally == Counter(done=4, there=8, failed=0) and method.groups == [ids[:4]]


def test_one_by_one_the_items_of_a_failed_group_tell_which_is_to_blame(batched: Job) -> None:
    bad = batched.items[7].id
    tally, method = together(batched, broken=[bad])
    assert tally == Counter(done=11, there=0, failed=1) and record_of(batched, bad).failed
    assert len(method.did) == 11 + 2  # two were done before the group broke
    assert len(method.groups) == 3


def test_a_group_too_large_for_memory_is_done_one_by_one(batched: Job) -> None:
    tally, method = together(batched, torch.OutOfMemoryError("of 80 GiB"))
    assert tally == Counter(done=12, there=0, failed=0) and len(method.did) == 12
    assert len(method.groups) == 1  # the next would not fit either


@pytest.mark.parametrize("error", [SettingsError("layers is 99"), Cancelled(), KeyboardInterrupt()])
def test_what_ends_a_run_ends_it_in_a_group_too(batched: Job, error: BaseException) -> None:
    with pytest.raises(type(error)):
        together(batched, error)
    assert stamps(batched) == {} and not holder(batched.out, "fake", batched.items[0].id)


def test_an_item_that_another_process_holds_comes_alone_at_the_end(batched: Job) -> None:
    held = lock(batched.out, f"fake/{batched.items[2].id}")
    held.acquire()

    class Releasing(Together):
        def stylize(self, item: Item, *arguments: Any) -> Stylization:
            if len(self.did) == 10:
                held.release()
            return super().stylize(item, *arguments)

    method = Releasing(batched)
    assert run_items(batched, lambda: method, Console(quiet=True))["done"] == 12
    assert [len(group) for group in method.groups] == [5, 5] and method.did[-1] == batched.items[2].id


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
@pytest.mark.slow
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
@pytest.mark.slow
def test_changed_request_reuses_nothing(job: Job, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job)
    other = Job(
        job.out, "fake", int(change == "seed"), job.method | ({"extra": 1} if change == "config" else {}), job.items
    )
    if change == "code":
        monkeypatch.setattr("harness.record.code_digest", lambda config: "of other sources")
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


def test_a_cancelled_picture_leaves_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows the progress ends the method by an error; the lock is free however long that is kept."""

    class Staged(Counting):
        def stylize(self, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Stylization:
            progress.stage("3 energy", 2)()
            return super().stylize(item, generator)

    def cancel(energy: object = None, picture: object = None) -> None:
        raise Cancelled

    single = Job(job.out, "", 0, job.method, job.items[:1])
    monkeypatch.setattr("harness.runs.build", lambda *_, **__: Staged())
    with monkeypatch.context() as patch, pytest.raises(Cancelled) as caught:
        patch.setattr("stylegallery.progress.Bars.stage", lambda *_: cancel)
        run_single(single, Console(quiet=True))
    assert [path.name for path in job.out.iterdir()] == [".locks"]
    assert run_single(single, Console(quiet=True)).item == job.items[0].id
    assert caught.type is Cancelled


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_kills_lose_and_spoil_nothing(out: Path, tmp_path: Path) -> None:
    paint_gallery(tmp_path / "many", contents=6)
    seen = survive(out, tmp_path / "many", kills=10)
    assert seen["kills"] == 10
    assert seen["met a cell under way"] > 0


def test_leftovers_of_the_dead_are_cleared(job: Job) -> None:
    """A lock file without a process is no lock, a half written folder no result."""
    item = job.items[0]
    (job.out / ".locks" / "fake").mkdir(parents=True)
    (job.out / ".locks" / "fake" / f"{item.id}.lock").write_text("elsewhere 1\n")
    half = job.folder(item) / f"{PARTIAL}abc"
    for state in ("done", "there"):
        half.mkdir(parents=True)
        (half / "stylised.png").write_bytes(b"half")
        assert run(job)[0][state] == 12
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


def test_output_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    reason = r"gone/cell \(No such file or directory, \d+ MiB free\); make room"
    with pytest.raises(MachineError, match=reason), written_whole(tmp_path / "gone" / "cell"):
        raise OSError(2, "No such file or directory")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "at", "recorded"),
    [  # a bad content comes in a row
        (FloatingPointError("the picture is not finite"), {1, 2, 3, 7}, "the picture is not finite"),
        (RuntimeError("a bug"), {0, 1, 2}, "RuntimeError: a bug"),
        (InputError("this picture has no sky"), {2, 3, 4}, "this picture has no sky"),
    ],
)
def test_equal_failures_of_items_do_not_end_the_sweep(job: Job, error: Exception, at: set[int], recorded: str) -> None:
    """Of a bug the traceback is shown."""
    method, printed = Unlucky(error, at), io.StringIO()
    tally = run_items(job, lambda: method, Console(file=printed))
    assert tally == Counter(done=12 - len(at), there=0, failed=len(at))
    assert len(stamps(job)) == 12
    assert {number for number, item in enumerate(job.items) if record_of(job, item.id).error == recorded} == at
    assert ("Traceback" in printed.getvalue()) == isinstance(error, RuntimeError)


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
