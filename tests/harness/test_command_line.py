"""Runs of a benchmark as `python run.py` starts them."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Gallery
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console

from harness.experiments import require_used
from stylegallery.errors import InputError

Compose = Callable[..., DictConfig]


def test_shard_for_a_launcher(fake_config: Compose, out: Path) -> None:
    import run as script

    with pytest.raises(InputError, match="launcher= shares out all items itself; leave out shard="):
        script.run(fake_config(f"out={out}", "launcher=local", "shard=0/4"), Console(quiet=True))
    assert not out.exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["batch=3"], "batch= is for the items of a benchmark, and content= is one alone; leave out batch="),
        (["batch=3", "data=stylegallery60", "method=styleid"], "this method does one item at a time; leave out batch="),
        (["time_budget=5s", "method=styleid"], "this method takes its time; leave out time_budget="),
        (["preset=fast", "method=styleid"], "preset=fast and method.guidance are for method=stylegallery and its"),
    ],
)
def test_settings_without_an_effect(overrides: list[str], says: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides)
    with pytest.raises(InputError, match=says):
        require_used(config)


@pytest.mark.slow
def test_run_prints_a_table_and_fails_for_failed_items(fake_config: Compose, out: Path) -> None:
    import run as script

    console = Console(file=io.StringIO(), width=200)
    overrides = (f"out={out}", "label=fake", "method.broken=[c3__set1]")
    assert script.run(fake_config(*overrides), console) is False
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    assert ["results", str(out / "cells" / "fake")] in rows
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
