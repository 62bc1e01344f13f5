"""What `.ci/run` installs before the tests, and what it says where it cannot: with stubs in place of all programs."""

import shutil
import subprocess
from pathlib import Path

import pytest
from composing import ROOT
from documented import has_bash

pytestmark = pytest.mark.skipif(not has_bash, reason="bash runs the script")

SLURM, BROWSER = ["munged", "slurmctld", "slurmd", "sbatch", "srun"], ["chromium", "chromedriver"]
PROGRAMS = [*SLURM, *BROWSER, "pdflatex"]
INSTALLED = "env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "
LATEX = "--no-install-recommends texlive-latex-base texlive-latex-recommended"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs alone, root's, whose calls of apt-get, sudo and make are written to `calls`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    stub(programs, "id", "echo 0")
    for name in ("make", "apt-get"):
        stub(programs, name, f'echo "{name} $*" >> "$CALLS"')
    stub(programs, "env", 'echo "env $*" >> "$CALLS"')
    return programs


def stub(programs: Path, name: str, does: str = "") -> None:
    (programs / name).write_text(f"#!{shutil.which('sh')}\n{does}\n")
    (programs / name).chmod(0o755)


def run(programs: Path) -> tuple[list[str], str]:
    """The calls, and what was said. The first PATH has nothing of this machine."""
    folder = programs.parent / "checkout" / ".ci"
    folder.mkdir(parents=True)
    text = (ROOT / ".ci/run").read_text()
    (folder / "run").write_text(text.replace("/usr/sbin", "/nowhere"))
    calls = programs.parent / "calls"
    calls.touch()
    done = subprocess.run(
        [shutil.which("bash") or "bash", str(folder / "run")],
        env={"PATH": str(programs), "CALLS": str(calls)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = calls.read_text().splitlines()
    assert found[-1] == "make test"
    return [call.removeprefix(INSTALLED) for call in found if call.startswith("env ")], done.stderr


def test_everything_that_is_missing_is_installed(machine: Path) -> None:
    assert run(machine) == (["slurm-wlm munge", "chromium chromium-driver", LATEX], "")


def test_nothing_is_installed_where_all_is_there(machine: Path) -> None:
    for name in PROGRAMS:
        stub(machine, name)
    assert run(machine) == ([], "")


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_program_does_not_stand_for_the_others(machine: Path, name: str) -> None:
    for other in set(PROGRAMS) - {name}:
        stub(machine, other)
    package = "slurm-wlm munge" if name in SLURM else "chromium chromium-driver" if name in BROWSER else LATEX
    assert run(machine) == ([package], "")


def test_a_user_who_may_use_sudo_installs_too(machine: Path) -> None:
    stub(machine, "id", "echo 1000")
    stub(machine, "sudo", '[ "$1" = -n ] && shift && exec "$@"')
    installed, said = run(machine)
    assert installed == ["chromium chromium-driver", LATEX]
    assert said == "A real Slurm is not tested: its daemons are started by root\n"


@pytest.mark.parametrize("program", ["sudo", "apt-get"])
def test_what_cannot_be_installed_is_named(machine: Path, program: str) -> None:
    stub(machine, "id", f"echo {1000 if program == 'sudo' else 0}")
    stub(machine, program, "echo first >&2; echo E: it may not >&2; exit 1")
    stub(machine, "chromium")
    installed, said = run(machine)
    assert installed == []
    assert (
        "A real browser is not tested, for want of chromedriver: apt-get install chromium chromium-driver did not "
        "succeed (E: it may not)\n"
    ) in said
    assert "A real LaTeX is not tested, for want of pdflatex: " in said
