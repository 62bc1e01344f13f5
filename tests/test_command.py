"""What all commands share: names are printed as they are, and Ctrl-C ends them with one sentence."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from evaluation import status
from stylegallery.command import plain_console

COMMANDS = ["status", "questions", "score", "tables", "report", "publish.__main__"]


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """What rich takes for markup would raise an error or vanish."""
    console = plain_console()
    console.width = 200
    name = "[/a] [red]b :smile:"
    console.print(name)
    status.show(Path(name), [status.Status(name, 1)], console)
    assert capsys.readouterr().out.count(name) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_a_command_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    real = Path.glob

    def interrupt(path: Path, *pattern: str) -> Any:
        if path.is_relative_to(tmp_path):
            raise KeyboardInterrupt
        return real(path, *pattern)

    monkeypatch.setattr(Path, "glob", interrupt)
    monkeypatch.setattr(sys, "argv", [command, str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "evaluation" / f"{command.replace('.', '/')}.py"), run_name="__main__")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted: what is done is kept, and the same command does the rest\n"


def test_ctrl_c_ends_a_run_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also of several jobs."""

    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("data.benchmark.load_items", interrupt)
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "seed=0,1", f"out={tmp_path}", "method=identity"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    assert ended.value.code == 130
    assert capfd.readouterr().err == "interrupted: what is done is kept, and the same command does the rest\n"
