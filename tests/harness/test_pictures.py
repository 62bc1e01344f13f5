"""Results whose pictures were moved are scored and shown without being made again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Gallery, paint, result_record
from fake_method import Fake
from omegaconf import DictConfig
from rich.console import Console

from data import benchmark
from evaluation.records import read_records
from evaluation.score import score
from harness.jobs import Job
from harness.pictures import Pictures, root_of
from harness.runs import run_items
from stylegallery.errors import InputError

QUIET = Console(quiet=True)


def done(config: DictConfig) -> Path:
    job = Job.of(config, "fake")
    run_items(job, lambda: Fake(0.5, 0.0, [], None), QUIET)
    return job.out


def inputs_of(out: Path) -> list[str]:
    return [
        entry["path"]
        for path in out.glob("cells/*/*/record.json")
        for entry in json.loads(path.read_text())["inputs"].values()
    ]


def scores(out: Path) -> list[float]:
    found = [json.loads(path.read_text())["metrics"]["ms_ssim"] for path in sorted(out.glob("cells/*/*/scores.json"))]
    assert all(row["reason"] is None for row in found)
    return [row["value"] for row in found]


def test_own_pictures_that_were_moved(
    fake_config: Callable[..., DictConfig], gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = done(
        fake_config("data.contents=gallery/contents", "data.references=gallery/references", "out=out", "limit=2")
    )
    assert all(Path(path).is_absolute() for path in inputs_of(out))
    moved = gallery.contents.parent.rename(tmp_path / "elsewhere")
    assert not score(out, ["ms_ssim"], None, QUIET)
    assert score(out, ["ms_ssim"], None, QUIET, str(moved))
    assert len(scores(out)) == 2
    records = read_records(out, str(moved)).done("fake").values()
    paths = [Path(file.path) for record in records for file in record.inputs.values()]
    assert all(moved in path.parents and path.is_file() for path in paths)


def test_a_benchmark_that_was_moved(
    fake_config: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By data.root=, or where <NAME>_DATA says; never by another picture of the same name."""
    root, manifests = tmp_path / "root", tmp_path / "manifests"
    manifests.mkdir()
    for name in ("c.png", "s.png"):
        (root / name).parent.mkdir(exist_ok=True)
        paint(root / name, len(name) + ord(name[0]))
    (manifests / "tiny.csv").write_text("id,content,references\none,c.png,s.png\n")
    digests = [f"{benchmark.hashlib.sha256((root / n).read_bytes()).hexdigest()}  {n}" for n in ("c.png", "s.png")]
    (manifests / "tiny.sha256").write_text("\n".join(digests) + "\n")
    monkeypatch.setattr(benchmark, "MANIFESTS", manifests)
    config = fake_config(f"out={tmp_path / 'out'}")
    config.data = {"_target_": "data.benchmark.manifest_items", "manifest": "tiny", "files": "tiny", "root": str(root)}
    out = done(config)
    moved = root.rename(tmp_path / "moved")
    assert not score(out, ["ms_ssim"], None, QUIET)
    assert score(out, ["ms_ssim"], None, QUIET, str(moved))
    expected = scores(out)
    (out / "cells" / "fake" / "one" / "scores.json").unlink()
    monkeypatch.setenv("TINY_DATA", str(moved))
    assert score(out, ["ms_ssim"], None, QUIET)
    assert scores(out) == expected
    other = tmp_path / "other"
    shutil.copytree(moved, other)
    paint(other / "c.png", 1)
    monkeypatch.setenv("TINY_DATA", str(other))
    (out / "cells" / "fake" / "one" / "scores.json").unlink()
    assert not score(out, ["ms_ssim"], None, QUIET)


def test_nothing_is_looked_for_where_nothing_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures(tmp_path)
    monkeypatch.setattr(pictures, "by_digest", lambda: pytest.fail("pictures were read"))
    path = str(paint(tmp_path / "a.png", 1))
    whole = result_record(tmp_path, inputs={"content": {"path": path, "sha256": "0" * 64}})
    for record in (whole, replace(whole, error="failed", inputs={})):
        assert pictures.relocated(record) == record
    assert root_of(["data.root=/a b"]) == "/a b"
    for wrong in ("data.root=", "root=/a", "/a"):
        with pytest.raises(InputError, match=r"is not understood; data\.root=FOLDER"):
            root_of([wrong])
