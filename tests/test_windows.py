"""What native Windows lacks, taken away here: modules of POSIX, flushes of what was opened to be read, UTF-8."""

import ast
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import ROOT, Pictures, RunCli
from filelock import FileLock

from harness.locks import holder
from stylegallery.stopwatch import process_peak_mib

POSIX = {"crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog",
         "termios", "tty"}  # fmt: skip
SOURCES = [
    ROOT / "run.py",
    *(path for name in ("stylegallery", "evaluation", "baselines", "data") for path in (ROOT / name).rglob("*.py")),
]


def test_no_module_needs_what_windows_lacks() -> None:
    """At import: inside a function a system may be asked for first."""
    for path in SOURCES:
        for node in ast.parse(path.read_bytes()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not POSIX & {name.partition(".")[0] for name in names}, path


def without_encoding(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text in the encoding of the system, which is cp1252 on most Windows."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not any(keyword.arg == "encoding" for keyword in node.keywords):
            call = node.func
            name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
            owner = getattr(call.value, "id", "") if isinstance(call, ast.Attribute) else "builtins"
            if name in ("read_text", "write_text"):
                yield node
            if name == "open" and owner not in ("Image", "os"):
                modes = node.args[0 if owner != "builtins" else 1 :][:1]
                if not modes or "b" not in ast.unparse(modes[0]):
                    yield node


def test_texts_are_utf8() -> None:
    assert len(list(without_encoding(ast.parse("open('a'); p.open('w'); p.read_text(); p.open('rb')")))) == 3
    found = [f"{path}:{node.lineno}" for path in SOURCES for node in without_encoding(ast.parse(path.read_bytes()))]
    assert not found


def test_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    now = psutil.Process().memory_info().rss / 2**20
    assert now / 2 < process_peak_mib() < 100 * now  # of a process that may have had more than it has
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: SimpleNamespace(peak_wset=3 * 2**20))
    assert process_peak_mib() == 3


@pytest.fixture
def flushes_what_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.usefixtures("blank_figures", "flushes_what_may_be_written")
@pytest.mark.slow
def test_a_picture_is_written(run_script: RunCli, pictures: Pictures, tmp_path: Path) -> None:
    result = run_script(*pictures.overrides(), f"out={tmp_path / 'out'}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "stylised.png").is_file() and (tmp_path / "out" / "record.json").is_file()


def test_who_holds_a_lock_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".locks" / "label").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    with FileLock(tmp_path / ".locks" / "label" / "item.lock"):
        assert holder(tmp_path, "label", "item") == "starting"
        monkeypatch.setattr(Path, "read_text", refuse)
        assert holder(tmp_path, "label", "item") == "a process"


def test_printing_where_there_are_no_arrows() -> None:
    code = r"import evaluation; print('λ ↑ \udce9')"
    call = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(call, capture_output=True, env=environment)
    assert (result.returncode, result.stdout.strip()) == (0, rb"\u03bb \u2191 \udce9")
