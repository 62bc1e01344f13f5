"""Jobs of a Hydra sweep never share a place: nothing is overwritten by the job after."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Gallery, Pictures
from hydra.core.hydra_config import HydraConfig

from harness.frozen import read_frozen

pytestmark = pytest.mark.slow  # processes, or many runs of the whole program

Sweep = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], blank_figures: None
) -> Iterator[Sweep]:
    """`python run.py -m` in this process, with a method of milliseconds and OUT in the test's own folder."""

    def call(*overrides: str) -> "subprocess.CompletedProcess[str]":
        fake = [f"hydra.searchpath=[file://{ROOT / 'tests' / 'conf'}]", f"hydra.sweep.dir={tmp_path}", "method=fake"]
        monkeypatch.setattr(sys, "argv", [str(ROOT / "run.py"), "-m", *fake, *overrides, f"out={tmp_path / 'out'}"])
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
        return subprocess.CompletedProcess(sys.argv, int(exit.value.code or 0), *capfd.readouterr())

    yield call
    HydraConfig.instance().cfg = None


def results(out: Path) -> dict[str, dict]:
    return {str(p.parent.relative_to(out)): json.loads(p.read_text()) for p in out.rglob("record.json")}


def test_every_content_of_a_sweep_has_a_folder(sweep: Sweep, pictures: Pictures, tmp_path: Path) -> None:
    """Also two of one name."""
    other = tmp_path / "elsewhere" / "content.png"
    other.parent.mkdir()
    other.write_bytes(pictures.second.read_bytes())
    process = sweep(f"content={pictures.content},{other}", f"references=[{pictures.first}]")
    assert process.returncode == 0, process.stderr
    found = results(tmp_path / "out")
    assert {record["inputs"]["content"]["path"] for record in found.values()} == {str(pictures.content), str(other)}
    assert len(found) == 2
    assert all(name.startswith("content=") for name in found)


def test_what_a_sweep_differs_in_names_its_folders(sweep: Sweep, pictures: Pictures, tmp_path: Path) -> None:
    process = sweep(*pictures.overrides(), "method.strength=0.1,0.26", "seed=range(2)", "resolution=64")
    assert process.returncode == 0, process.stderr
    found = results(tmp_path / "out")
    assert {name: (record["config"]["strength"], record["seed"]) for name, record in found.items()} == {
        f"strength={strength},seed={seed}": (strength, seed) for strength in (0.1, 0.26) for seed in (0, 1)
    }
    again = sweep(*pictures.overrides(), "method.strength=0.1,0.26", "seed=0", "resolution=64")
    assert (again.returncode, len(results(tmp_path / "out"))) == (0, 6)


def test_labels_of_a_sweep_differ(sweep: Sweep, gallery: Gallery, tmp_path: Path) -> None:
    """Not for shards, which are parts of one label."""
    process = sweep(*gallery.overrides(), "limit=2", "label=mine", "seed=0,1", "shard=0/2,1/2")
    assert process.returncode == 0, process.stderr
    found = results(tmp_path / "out" / "cells")
    assert sorted(name.partition("/")[0] for name in found) == ["mine@seed=0"] * 2 + ["mine@seed=1"] * 2
    assert {name[10]: record["seed"] for name, record in found.items()} == {"0": 0, "1": 1}
    frozen = {path.stem: read_frozen(path)["overrides"] for path in sorted((tmp_path / "out" / "config").iterdir())}
    assert list(frozen) == ["mine@seed=0", "mine@seed=1"]
    given = ["method=fake", *gallery.overrides(), "limit=2", "label=mine", "seed=1", "shard=1/2"]
    assert frozen["mine@seed=1"] == [*given, f"out={tmp_path / 'out'}"]
