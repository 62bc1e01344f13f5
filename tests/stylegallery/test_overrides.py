"""What the command line says of settings that Hydra cannot use: one sentence, exit code 2."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from conftest import ROOT, RunCli

CASES = {
    "unknown name": (["foo=1"], "foo is not a setting; python run.py --help lists all"),
    "misspelled name": (["method.guidance.stps=3"], "stps is not a setting; did you mean method.guidance.steps?"),
    "misspelled group": (["methd=identity"], "methd is not a setting; did you mean method?"),
    "of another choice of a sweep": (
        ["-m", "method=stylegallery,identity", "method.guidance.steps=3"],
        "method.guidance.steps is not a setting; not every choice of this sweep has it",
    ),
    "forgotten prefix": (["content_weight=3"], "did you mean method.guidance.content_weight?"),
    "of what is chosen": (["encoder=dinov2", "encoder.paht=a"], "is not a setting; did you mean encoder.path?"),
    "unknown option": (["method=nobody"], "method=nobody does not exist; pass one of attention_distillation, "),
    "misspelled option": (["experiment=tabel1"], "experiment=tabel1 does not exist; did you mean table1? There are "),
    "open bracket": (["references=[a,b"], "'references=[a,b' cannot be read; a value with spaces, commas, brackets"),
    "spaces and brackets": (["content=my photo (1).jpg"], "'content=my photo (1).jpg' cannot be read; a value with"),
    "tilde": (["out=~/x"], "'out=~/x' cannot be read; a value with"),
    "no value": (["seed"], "seed is not NAME=VALUE; python run.py --help"),
    "dashes": (["--content", "photo.jpg"], "--content is no option; a setting is written without dashes: content="),
    "no name": (["=3"], "error: these settings cannot be resolved ("),
    "added twice": (["+seed=3"], "seed is a setting already; write seed= without the +"),
    "comma without -m": (["seed=1,2"], "seed=1,2 is several values; write [a,b] for a list"),
    "sweep without -m": (["seed=range(3)"], "seed=range(3) is several values; "),
    "removed": (["~foo"], "cannot be resolved (Could not delete from config. 'foo' does not exist.)"),
    "unknown interpolation": (["out=${nope}"], "out cannot be resolved (Interpolation key 'nope' not found)"),
    "unset variable": (["out=${oc.env:NOT_SET_ANYWHERE}"], "Environment variable 'NOT_SET_ANYWHERE' not found"),
    "missing value": (["mask=???"], "data.mask cannot be resolved ("),
    "bad sweep": (["-m", "method=nobody,identity"], "method=nobody does not exist; "),
    "bad sweep of a setting": (["-m", "sed=1,2"], "sed is not a setting; did you mean seed?"),
    "no preset of this name": (["preset/stylegallery@method=embeded"], "embeded does not exist; did you mean embedded"),
    "sweep of presets": (["-m", "preset/stylegallery@method=sd15,nope"], "preset/stylegallery=nope does not exist; "),
    "of the scores": (["metric=lpips_alex"], "metric is not a setting; python run.py --help lists all"),
    "of a part": (["condition=canny"], "condition is not a setting; "),
    "unknown part of data": (["+data.foo=1"], "data cannot be used (got an unexpected keyword argument 'foo'); "),
    "unknown data of an experiment": (["experiment=table1", "data=nope"], "data=nope does not exist; pass one of "),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "says"), CASES.values(), ids=CASES.keys())
def test_settings_that_hydra_cannot_use(
    run_script: RunCli, monkeypatch: pytest.MonkeyPatch, overrides: Sequence[str], says: str
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    process = run_script(*overrides)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_everything_is_shown_where_it_is_asked_for(run_script: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="Could not override 'foo'"):
        run_script("foo=1")


@pytest.mark.slow
def test_help_explains_what_is_asked_most(run_script: RunCli) -> None:
    printed = run_script("--help").stdout
    for name in (
        "excluded",
        "forbidden",
        "reference_masks",
        "pins",
        "-m seed=0,1",
        "stylegallery@seed=1",
        "output_size",
    ):
        assert name in printed
    own = printed.partition("Groups (NAME=OPTION):")[0]
    assert max(map(len, own.splitlines())) <= 80
    words = " ".join(own.split())
    assert "data=folder are square unless you pass resizing=keep" in words
    assert "256 is a draft of the embedded model's 512" in words
    assert "method: attention_distillation, " in printed and "HYDRA_FULL_ERROR=1" in printed


@pytest.mark.slow
def test_help_may_be_read_in_part() -> None:
    """As by `python run.py --help | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        process = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "--help"], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert (process.returncode, process.stderr) == (0, "")
