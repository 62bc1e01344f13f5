"""What all commands share: names are printed as they are, and Ctrl-C ends them with one sentence."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from harness import status
from stylegallery.command import plain_console

INTERRUPTED = "interrupted: what is done is kept, and the same command does the rest\n"
COMMANDS = [
    "harness.status",
    *(f"evaluation.{name}" for name in ("annotations", "score", "tables", "report", "publish")),
]


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """What rich takes for markup would raise an error or vanish."""
    console = plain_console()
    console.width = 200
    name = "[/a] [red]b :smile:"
    console.print(name)
    status.show(Path(name), [status.Status(name, 1)], console)
    assert capsys.readouterr().out.count(name) == 3


@pytest.mark.parametrize("command", ["run.py", *COMMANDS, "stylegallery.weights", "data.fetch"])
def test_ctrl_c_ends_a_command_with_a_sentence(tmp_path: Path, command: str) -> None:
    """From its first import of a library on, which together take seconds."""
    pressed = "import signal\nsignal.raise_signal(signal.SIGINT)\n"
    for library in ("rich", "numpy", "torch", "pandas", "hydra", "huggingface_hub"):
        (tmp_path / f"{library}.py").write_text(pressed)
    # Jobs in the background ignore Ctrl-C and pass that on to what they start: the tests may be one.
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (tmp_path / "sitecustomize.py").write_text(heard)
    words = [command] if command == "run.py" else ["-m", command]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, INTERRUPTED)


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also of several jobs, and although wandb prints what ends a process."""

    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.experiments.load_items", interrupt)
    monkeypatch.setattr(sys, "argv", ["run.py", "-m", "seed=0,1", f"out={tmp_path}", "method=identity"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # restored after the test
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    assert ended.value.code == 130
    assert capfd.readouterr().err == INTERRUPTED
