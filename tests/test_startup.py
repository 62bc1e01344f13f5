"""Commands that load no model start without the libraries of models: these take seconds to import."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from omegaconf import DictConfig
from running import run

from benchmarks.startup import commands
from harness.jobs import Job

MODELS = {"torch", "diffusers", "transformers", "torchvision", "open_clip", "lpips", "sklearn", "matplotlib"}
IMPORTED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    if sys.argv[0] == "-m":
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
print("imported", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported(*arguments: str) -> set[str]:
    """The packages that a command has imported when it ends."""
    call = [sys.executable, "-c", IMPORTED, *arguments]
    process = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    *said, last = process.stdout.splitlines()
    assert said and last.startswith("imported ")
    return set(last.split()[1:])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_help_imports_no_library_of_models(arguments: list[str]) -> None:
    assert not imported(*arguments) & MODELS


@pytest.mark.slow
@pytest.mark.parametrize("module", ["harness.status", "evaluation.tables", "evaluation.report"])
def test_a_run_is_read_without_them(fake_config: Callable[..., DictConfig], out: Path, module: str) -> None:
    """With scores and annotations too: tests/evaluation/test_report.py."""
    run(Job.of(fake_config(f"out={out}", "limit=1"), "fake"))
    assert not imported("-m", module, str(out)) & MODELS


@pytest.mark.slow
def test_tables_know_every_metric_without_its_network(tmp_path: Path) -> None:
    script = tmp_path / "metrics.py"
    script.write_text(
        "from evaluation.registry import metric_files, metric_info\nprint(*map(metric_info, metric_files()))"
    )
    found = imported(str(script))
    assert "evaluation" in found
    assert not found & MODELS
