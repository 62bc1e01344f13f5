"""What conf/ promises as a whole: every model has its preset, every default one place, every weight its mark."""

from pathlib import Path

import pytest
from composing import ROOT, compose_config
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stylegallery.errors import InputError
from stylegallery.overrides import in_one_sentence

CONF = ROOT / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
PRESETS = sorted((CONF / "preset").glob("*/*.yaml"))


# --- presets ---


def test_every_method_with_presets_has_one_for_every_model() -> None:
    """With a comment alone where the method needs none: absence is said, and is no accident."""
    for folder in (CONF / "preset").iterdir():
        assert sorted(path.stem for path in folder.iterdir()) == MODELS, folder
    for path in PRESETS:
        assert path.read_text().startswith("# "), path


def test_no_preset_is_another_ones_alias() -> None:
    tuned = [OmegaConf.load(path) for path in PRESETS]
    texts = [OmegaConf.to_yaml(node) for node in tuned if node]
    assert len(set(texts)) == len(texts) >= 5
    assert not any("defaults" in node for node in tuned)


@pytest.mark.parametrize("method", ["stylegallery", "stylegallery_released", "global_style"])
@pytest.mark.parametrize("model", MODELS)
def test_variants_of_stylegallery_share_its_presets(method: str, model: str) -> None:
    preset = OmegaConf.load(CONF / "preset" / "stylegallery" / f"{model}.yaml")
    found = compose_config(method, f"model={model}").method
    assert OmegaConf.merge(found, preset) == found


def test_a_preset_may_be_chosen_and_settings_of_the_command_line_win_over_it() -> None:
    found = compose_config("stylegallery", "preset/stylegallery@method=sd15", "method.guidance.layers=4").method
    assert (found.guidance.steps, found.guidance.layers, found.segmentation.components) == (150, 4, 60)
    found = compose_config("stylegallery", "method.guidance.steps=7").method
    assert (found.guidance.steps, found.guidance.iterations) == (7, 3)


def test_a_model_without_a_preset_says_which_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# @package _global_\ndefaults: [sd15]\n")
    given = [f"hydra.searchpath=[file://{tmp_path}]", "model=mine"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        says = r"^model=mine has no settings in preset/stylegallery; write conf/preset/stylegallery/mine.yaml "
        with pytest.raises(InputError, match=says), in_one_sentence(given):
            compose("config", overrides=[*given, "method=global_style"])
        assert compose("config", overrides=[*given, "method=styleid"]).method.model.path.startswith("stable-")
