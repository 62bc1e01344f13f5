"""docs/extending.md as it is printed: its files are written into a copy of the repository, where its commands run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from composing import ROOT
from conftest import paint
from documented import blocks, has_bash

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not has_bash, reason="bash runs the page")]
PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository, its files as links, with pictures and the files of the page."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("baselines", "conf", "data", "evaluation", "harness", "stylegallery"):
        shutil.copytree(
            ROOT / name, folder / name, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__")
        )
    (folder / "run.py").write_text((ROOT / "run.py").read_text())  # a script's folder is that of its link's target
    for number, name in enumerate(("photos/boat.png", "sets/oil/one.png", "sets/oil/two.png", "sets/ink/one.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        paint(folder / name, number, (96, 64))
    files = re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(files) == 9
    for name, text in files:
        (folder / name).write_text(text)
    for group in (folder / "conf" / "preset").iterdir():
        if group.is_dir() and group.name != "stylegallery":
            (group / "mine.yaml").write_text("# As it is.\n")
    return folder


def test_the_page_runs(copy: Path, environment: dict[str, str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-c", "\n".join(blocks(PAGE, "sh"))], cwd=copy, capture_output=True, text=True,
        env=environment | {"PATH": path, "PYTHONPATH": str(copy), "COLUMNS": "200"}, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    out = copy / "outputs" / "mine"
    assert sorted(path.name for path in (out / "cells").iterdir()) == ["blend", "identity"]
    table = (out / "tables" / "table.md").read_text()
    assert re.search(r"\| *blend", table) and "brightness" in table
    page = (copy / "outputs" / "table" / "docs" / "mine.md").read_text()
    assert "| blend@strength=0.8 | `method=blend method.strength=0.8` | 1 of 1 |" in page
    assert re.search(r"\| blend \| [\d.]+ \|", page.partition("## Cost")[2])  # what the page's method measures
    assert "content_weight: 0.3" in done.stdout  # of the new model
    assert len(list((copy / "outputs" / "tiny").rglob("stylised.png"))) == 1
