"""The commands of README, docs/pictures.md, docs/reproduce.md and docs/metrics.md, one after the other as a reader
would run them: on a tiny model, small pictures and the first item of each benchmark. What downloads or installs is left
out here. Those of docs/user_study.md are run by evaluation/test_study.py."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from composing import ROOT
from conftest import paint
from documented import Command, call, commands, has_bash
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from data.benchmark import MANIFESTS, read_manifest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_bash, reason="bash reads the commands"),
    pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning"),  # modules are run twice in one process
]

RUN = {
    "harness.status", "evaluation.annotations", "evaluation.score", "evaluation.tables", "evaluation.report",
    "evaluation.publish", "stylegallery.gallery",
}  # fmt: skip
TINY = ("device=cpu", "resolution=64", "limit=1")
QUICK = (
    "method.segmentation.inversion_steps=2", "method.segmentation.restarts=1", "method.guidance.steps=2",
    "method.guidance.iterations=1",
)  # fmt: skip
SOME, OTHERS = (
    "only=[identity,reference_copy,color_transfer,stylegallery]",
    "only=[identity,reference_copy,stylegallery]",
)
# Replaced by what is tiny, or left out: of one item no second shard has any.
NOT_SMALL = ("model=", "resolution=", "launcher", "data.root=", "shard=", "only=")
CALIBRATION = "only=[identity,reference_copy]"
NO_DOWNLOAD = {"lpips_alex": "edge_f1", "style_blocks_vgg19": "style_blocks_efficientnet"}  # of columns of a table


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the pictures that the pages name, and the benchmark's first items."""
    folder = tmp_path / "desk"
    for name in ("photos", "paintings", "sets/oil", "sets/ink"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(
        ["photo.jpg", "other.jpg", "a.png", "b.jpg", "photos/boat.png", "paintings/1.png", "paintings/2.png",
         "paintings/3.png", "sets/oil/one.png", "sets/oil/two.png", "sets/ink/one.png"]
    ):  # fmt: skip
        paint(folder / name, 10 + number)
    for number, name in enumerate(["content/c1", "content/c2", "result/res_c1_one", "result/res_c1_one_two"]):
        path = folder / "SG-project-page" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        paint(path, 30 + number)
    mask = np.ones((64, 64), dtype=np.uint8)
    mask[:, 32:] = 2
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "data").symlink_to(ROOT / "data")
    benchmark = folder / ".cache" / "stylegallery" / "benchmarks" / "stylegallery"
    rows = [read_manifest(path)[0] for path in MANIFESTS.glob("*.csv") if path.stem != "styleid"]
    names = {name for row in rows for name in [row["content"], *row["references"].split()]}
    names |= {"content/0011.png", "style/OilPainting/OP003.png", "style/Sketch/S008.png"}
    for number, name in enumerate(sorted(names)):
        (benchmark / name).parent.mkdir(parents=True, exist_ok=True)
        paint(benchmark / name, 100 + number)
    monkeypatch.setenv("STYLEGALLERY_DATA", str(benchmark))
    monkeypatch.setattr("data.benchmark.check_files", lambda *_: None)  # these pictures are not the benchmark's
    monkeypatch.chdir(folder)
    before = torch.get_deterministic_debug_mode()
    yield folder
    torch.set_deterministic_debug_mode(before)
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize("name", ["README.md", "docs/pictures.md", "docs/reproduce.md"])
def test_a_reader_runs_the_page(
    name: str, desk: Path, small: tuple[str, ...], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    blank_figures: None,
) -> None:  # fmt: skip
    done = read_and_run(ROOT / name, desk, small, tiny_model, tmp_path, monkeypatch)
    assert len(done) >= 3
    if name == "docs/reproduce.md":
        assert (desk / "outputs/table1/tables/table.tex").is_file()
        assert (desk / "outputs/table1/docs/claims.md").is_file()


def test_a_reader_scores_a_run(
    desk: Path, small: tuple[str, ...], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/metrics.md begins where a benchmark was run."""
    page = ROOT / "docs/metrics.md"
    first = Command(page, ("python", "run.py", "data=stylegallery60", "method=color_transfer", "out=outputs/run"))
    call([str(ROOT / "run.py"), *first.words[2:], *TINY], first, monkeypatch)
    assert len(read_and_run(page, desk, small, tiny_model, tmp_path, monkeypatch)) == 2
    (scores,) = desk.glob("outputs/run/cells/color_transfer/*/scores.json")
    assert json.loads(scores.read_text())["metrics"]["edge_f1"]["value"] is not None


def read_and_run(
    page: Path, desk: Path, small: tuple[str, ...], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Command]:
    """The commands of the blocks of a page that were run."""
    done: list[Command] = []
    for command in commands(page, tmp_path / "read", home=desk, sentences=False):
        program, *words = command.words
        if program != "python" or any("FOLDER" in word for word in words):  # of weights that are nowhere here
            continue
        if words[0] == "run.py":
            call([str(ROOT / "run.py"), *tiny(words[1:], small, tiny_model)], command, monkeypatch)
        elif words[1] in RUN:
            more = [one for one in small if one != "store=null"] if words[2:3] == ["build"] else []
            call([*map(without_download, words[1:]), *more], command, monkeypatch)
        elif words[1:] == ["stylegallery.weights", "status"]:
            call(words[1:], command, monkeypatch)
        else:
            continue
        done.append(command)
    return done


def without_download(word: str) -> str:
    """A column of a table, `lpips_alex:LPIPS`, as one of a metric that has values here."""
    metric, colon, name = word.partition(":")
    return f"{NO_DOWNLOAD[metric]}:{name}" if colon and metric in NO_DOWNLOAD else word


def tiny(words: list[str], small: tuple[str, ...], model: Path) -> list[str]:
    """The same command on the tiny model. The paper's encoder becomes another block of the shipped one, so that a
    command that forgets it is another method's."""
    flags = [word for word in words if word.startswith("-")]
    kept = [word for word in words if not word.startswith((*NOT_SMALL, "-"))]
    kept = [word.replace("encoder=dinov2", "encoder.block=3") for word in kept]
    if any(word.startswith(("experiment=", "data=")) for word in words):
        some = [OTHERS] if any(word.startswith("experiment=") for word in words) else []
        some = [SOME] if "experiment=table1" in words else some
        if "experiment=acceleration" in words:  # its other runs set what QUICK does
            return [*flags, "model=sd15", f"model.path={model}", *kept, *TINY, CALIBRATION]
        quick = [] if "method=published" in words else QUICK
        return [*flags, "model=sd15", f"model.path={model}", *kept, *TINY, *quick, *some]
    return [*flags, *(one for one in small if one != "store=null"), *kept]
