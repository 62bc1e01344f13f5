"""Every experiment composes, and runs on two items with two steps of the tiny model."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Gallery
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

import run

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml") if path.stem != "none")
NEEDS_WEIGHTS = {
    "stytr2", "styleshot", "ip_adapter", "instantstyle", "style_aligned", "stylegallery@depth", "stylegallery@sam",
}  # fmt: skip


@pytest.fixture
def composed_experiment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    HydraConfig.instance().cfg = None


def settings(*overrides: str) -> DictConfig:
    """The config as `python run.py` would get it."""
    config = compose("config", overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs(
    name: str, composed_experiment: None, gallery: Gallery, tiny_model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no weights"))
    out = tmp_path / "out"
    config = settings(
        f"experiment={name}", *gallery.overrides(), "limit=2", f"out={out}", "model=sd15", f"model.path={tiny_model}",
        "device=cpu", "resolution=64", "++method.steps=2", "method.guidance.steps=2", "method.guidance.iterations=1",
        "method.segmentation.inversion_steps=2", "method.segmentation.restarts=1",
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=300)
    complete = run.run(config, console)
    labels = list(config.experiment.runs)
    for label in labels:
        records = [json.loads(path.read_text()) for path in (out / "cells" / label).glob("*/record.json")]
        if label in NEEDS_WEIGHTS:
            assert not records
        else:
            assert [record.get("error") for record in records] == [None, None], label
            assert all((out / "cells" / label / record["item"] / "stylised.png").is_file() for record in records)
    assert complete == (not NEEDS_WEIGHTS.intersection(labels))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert output.count("was not run") == len(NEEDS_WEIGHTS.intersection(labels))
    assert output.count("stylegallery.weights fetch") >= len(NEEDS_WEIGHTS.intersection(labels))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_runs_of_an_experiment_differ_from_one_another(name: str, composed_experiment: None) -> None:
    config = settings(f"experiment={name}")
    methods = [
        (str(OmegaConf.to_container(settings.method, resolve=True)), settings.seed) for _, settings in run.runs(config)
    ]
    assert len(set(methods)) == len(methods) >= 3
    assert {"identity", "reference_copy"} <= set(config.experiment.runs)  # calibration rows of every table
    assert config.experiment.reproduces


def test_settings_of_the_command_line_win_where_a_method_has_them(composed_experiment: None) -> None:
    config = settings("experiment=ablation_losses", "method.guidance.steps=7", "seed=3")
    found = dict(run.runs(config))
    assert found["stylegallery@style_weight=0"].method.guidance.steps == 7
    assert found["stylegallery@style_weight=0"].method.guidance.style_weight == 0
    assert "guidance" not in found["identity"].method
    assert {one.seed for one in found.values()} == {3}
    assert found["identity"].data.manifest == "stylegallery60"
