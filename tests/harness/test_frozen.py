"""Settings of a label: once there are results they stay, whatever is spelled or lies elsewhere."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Gallery, paint, paint_gallery
from omegaconf import DictConfig
from running import record_of, run

from harness import frozen
from harness.frozen import freeze, read_frozen
from harness.jobs import Job
from harness.locks import lock
from harness.runs import in_turn
from stylegallery.errors import InputError

Compose = Callable[..., DictConfig]


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


@pytest.mark.slow
def test_damaged_frozen_settings(fake_config: Compose, out: Path) -> None:
    Job.of(fake_config(f"out={out}"), "fake")
    for text in ("{", "label: fake\n", "- 1\n"):
        (out / "config" / "fake.yaml").write_text(text)
        with pytest.raises(InputError, match="is not the frozen settings of a label"):
            Job.of(fake_config(f"out={out}"), "fake")


def test_full_disk_has_no_room_for_settings(fake_config: Compose, mounted: Any) -> None:
    place = mounted("full", "size=20k")
    out = place / "out"
    (out / "config").mkdir(parents=True)
    (place / "filler").write_bytes(b"0" * 20 * 2**10)
    with pytest.raises(InputError, match=r"out cannot be written \(No space left on device\); make room or pass"):
        Job.of(fake_config(f"out={out}"), "fake")
    assert list((out / "config").iterdir()) == []


def test_settings_cannot_change_under_the_first_item(fake_config: Compose, out: Path) -> None:
    """Although nothing has been written yet: its lock is seen."""
    job = Job.of(fake_config(f"out={out}"), "fake")
    items = in_turn(job)
    next(items)
    with pytest.raises(InputError, match=r"fake with other settings \(seed: 0 there, 1 now\)"):
        Job.of(fake_config(f"out={out}", "seed=1"), "fake")
    items.close()
    Job.of(fake_config(f"out={out}", "seed=1"), "fake")


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
