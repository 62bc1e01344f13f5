"""Every experiment composes, and runs on one item of two references with two steps of the tiny model."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Gallery
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from rich.console import Console

import run
from data.benchmark import load_items
from harness.experiments import runs
from harness.frozen import freeze
from stylegallery.errors import InputError
from stylegallery.models.factory import from_directory

pytestmark = pytest.mark.slow  # processes, or many runs of the whole program

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml") if path.stem != "none")
NEEDS_WEIGHTS = {
    "stytr2", "styleshot", "ip_adapter", "instantstyle", "style_aligned", "stylegallery@depth", "stylegallery@sam",
}  # fmt: skip


@pytest.fixture
def composed_experiment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield
    torch.set_deterministic_debug_mode(before)
    HydraConfig.instance().cfg = None


def settings(*overrides: str) -> DictConfig:
    """The config as `python run.py` would get it."""
    config = compose("config", overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


def paint_masks(gallery: Gallery, folder: Path) -> Path:
    """The upper left quarter of every content is a region."""
    folder.mkdir()
    for content in gallery.contents.iterdir():
        pixels = np.zeros((64, 64), dtype=np.uint8)
        pixels[:32, :32] = 1
        Image.fromarray(pixels).save(folder / content.name)
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs(
    name: str, composed_experiment: None, gallery: Gallery, tiny_model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no weights"))
    # Methods leave no trace on a model (test_baselines), so that all runs of a test can have the same.
    monkeypatch.setattr("stylegallery.models.factory.from_directory", cache(from_directory))
    out = tmp_path / "out"
    two_references = gallery._replace(references=gallery.references / "set2").overrides()
    config = settings(
        f"experiment={name}", *two_references, "limit=1", f"out={out}", "model=sd15",
        f"model.path={tiny_model}", "device=cpu", "resolution=64", "++method.steps=2",
        "method.segmentation.inversion_steps=2", "method.segmentation.restarts=1",
        *([] if name == "acceleration" else ["method.guidance.steps=2", "method.guidance.iterations=1"]),
    )  # fmt: skip
    if name == "acceleration":  # its runs differ in steps and updates: a few of each do
        for number, label in enumerate(label for label in config.experiment.runs if label.startswith("stylegallery")):
            config.experiment.runs[label] = [f"method.guidance.steps={number + 1}", "method.guidance.iterations=2"]
    if name == "ablation_regions":
        masks = paint_masks(gallery, tmp_path / "masks")  # of the gallery's contents, not of the benchmark's
        config.experiment.runs["stylegallery@user_masks"] = [f"data.masks={masks}"]
    console = Console(file=io.StringIO(), width=300)
    complete = run.run(config, console)
    labels = list(config.experiment.runs)
    for label in labels:
        records = [json.loads(path.read_text()) for path in (out / "cells" / label).glob("*/record.json")]
        if label in NEEDS_WEIGHTS:
            assert not records
        else:
            assert [record.get("error") for record in records] == [None], label
            assert all((out / "cells" / label / record["item"] / "stylised.png").is_file() for record in records)
    assert complete == (not NEEDS_WEIGHTS.intersection(labels))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output.count("was not run") == len(NEEDS_WEIGHTS.intersection(labels))
    not_run = re.findall(r"labels not run .* (\d+)", output)
    assert [int(number) for number in not_run] == ([] if complete else [output.count("was not run")])
    assert output.count("stylegallery.weights fetch") >= len(NEEDS_WEIGHTS.intersection(labels))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_runs_of_an_experiment_differ_from_one_another(name: str, composed_experiment: None) -> None:
    config = settings(f"experiment={name}")
    found = [
        (str([OmegaConf.to_container(one[key], resolve=True) for key in ("method", "data")]), one.seed)
        for _, one in runs(config)
    ]
    assert len(set(found)) == len(found) >= 3
    assert {"identity", "reference_copy"} <= set(config.experiment.runs)  # calibration rows of every table
    assert config.experiment.reproduces


def test_settings_of_the_command_line_win_where_a_method_has_them(composed_experiment: None) -> None:
    config = settings("experiment=ablation_losses", "method.guidance.steps=7", "seed=3")
    found = dict(runs(config))
    assert found["stylegallery@style_weight=0"].method.guidance.steps == 7
    assert found["stylegallery@style_weight=0"].method.guidance.style_weight == 0
    assert "guidance" not in found["identity"].method
    assert {one.seed for one in found.values()} == {3}
    assert found["identity"].data.manifest == "stylegallery60"


def test_a_preset_of_the_command_line_goes_to_the_methods_that_have_it(composed_experiment: None) -> None:
    only = "only=[identity,attention_distillation,stylegallery,global_style]"
    config = settings("experiment=table1", "preset/stylegallery@method=sd15_lcm", "method.guidance.layers=4", only)
    found = dict(runs(config))
    for label in ("stylegallery", "global_style"):
        guidance = found[label].method.guidance
        assert (guidance.steps, guidance.learning_rate, guidance.layers) == (28, 0.25, 4)  # steps 50 without it
    assert found["attention_distillation"].method.steps == 50
    assert "guidance" not in found["identity"].method


def test_the_fast_preset_goes_to_the_methods_with_guidance(composed_experiment: None) -> None:
    found = dict(runs(settings("experiment=table1", "preset=fast", "only=[identity,styleid,gatys,stylegallery]")))
    assert found["stylegallery"].method.guidance.steps == 36
    assert not any("guidance" in found[label].method for label in ("identity", "styleid", "gatys"))


@pytest.mark.parametrize(
    ("experiment", "override"),
    [("table1", "method=stylegallery"), ("seeds", "seed=3"), ("ablation_losses", "method.guidance.style_weight=1")],
)
def test_what_the_runs_differ_in_cannot_be_given_for_all(
    composed_experiment: None, experiment: str, override: str
) -> None:
    """Every label would hold the same results."""
    with pytest.raises(InputError, match=f"{override.partition('=')[0]} is what the runs of this experiment differ in"):
        list(runs(settings(f"experiment={experiment}", override)))


def test_one_run_of_the_regions_has_the_masks_of_the_user(composed_experiment: None, tmp_path: Path) -> None:
    config = settings("experiment=ablation_regions", "data=mixed60", f"data.root={tmp_path}")
    found = dict(runs(config))
    items = {label: load_items(one.data, check=False) for label, one in found.items()}
    masked = items.pop("stylegallery@user_masks")
    assert all(item.mask and item.mask.is_file() for item in masked)
    assert [replace(item, mask=None) for item in masked] == items["stylegallery"]
    assert all(others == items["stylegallery"] for others in items.values())
    frozen = freeze(tmp_path, "stylegallery@user_masks", found["stylegallery@user_masks"])
    assert frozen["data"]["masks"] == "stylegallery"  # the name of a folder here: not where it is
    assert found["stylegallery"].method.depth is None and found["stylegallery@depth"].method.depth is not None


def test_masks_that_a_benchmark_lacks_stop_their_run_alone(
    composed_experiment: None, gallery: Gallery, tmp_path: Path
) -> None:
    config = settings("experiment=ablation_regions", *gallery.overrides(), "limit=1", f"out={tmp_path / 'out'}")
    config.experiment.runs = {"identity": ["method=identity"], "x": ["method=identity", "data.masks=stylegallery"]}
    config.experiment.against = "identity"
    console = Console(file=io.StringIO(), width=300)
    assert not run.run(config, console)
    assert "x was not run: masks stylegallery: 4 files are missing (c0.json, c1.json, c2.json, ...)" in (
        console.file.getvalue()  # type: ignore[attr-defined]
    )
    assert [path.name for path in (tmp_path / "out" / "cells").iterdir()] == ["identity"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"runs": None}, "experiment=table1: experiment.runs: Input should be a valid dictionary; mend conf/"),
        ({"runs": {}}, "experiment=table1: experiment.runs is empty; mend conf/experiment/table1.yaml"),
        ({"runs": {"mine": "method=mine"}}, "experiment=table1: experiment.runs.mine: Input should be a valid list"),
        ({"benchmarks": []}, "experiment=table1: experiment.benchmarks is empty; mend"),
        ({"grups": ["family"]}, "experiment=table1: experiment.grups: Unexpected keyword argument; mend"),
        ({"against": "nobody"}, "experiment=table1: experiment.against is nobody; make it one of identity, ref"),
    ],
)
def test_a_mistake_in_an_experiment_is_told_before_its_first_run(
    composed_experiment: None, change: dict[str, object], says: str
) -> None:
    config = settings("experiment=table1")
    OmegaConf.set_struct(config, False)
    for key, value in change.items():
        config.experiment[key] = value
    with pytest.raises(InputError, match=re.escape(says)):
        list(runs(config))
