"""What conf/ promises as a whole: every model has its preset, every default one place, every weight its mark."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from composing import ROOT, compose_config
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.frozen import METHODS
from stylegallery.errors import InputError
from stylegallery.overrides import in_one_sentence
from stylegallery.provenance import nodes
from stylegallery.settings import check, located, names_weights, parameters_of

CONF = ROOT / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
PRESETS = sorted((CONF / "preset").glob("*/*.yaml"))


# --- presets ---


def test_every_method_with_presets_has_one_for_every_model() -> None:
    """With a comment alone where the method needs none: absence is said, and is no accident."""
    for folder in {path.parent for path in PRESETS}:
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
@pytest.mark.slow
def test_variants_of_stylegallery_share_its_presets(method: str, model: str) -> None:
    preset = OmegaConf.load(CONF / "preset" / "stylegallery" / f"{model}.yaml")
    found = compose_config(method, f"model={model}").method
    if method == "stylegallery_released" and "guidance" in preset:  # as published: features at every timestep
        preset.guidance.refresh = 1
    assert OmegaConf.merge(found, preset) == found


def test_a_preset_may_be_chosen_and_settings_of_the_command_line_win_over_it() -> None:
    found = compose_config("stylegallery", "preset/stylegallery@method=sd15", "method.guidance.layers=4").method
    assert (found.guidance.steps, found.guidance.layers, found.segmentation.components) == (150, 4, 60)
    found = compose_config("stylegallery", "method.guidance.steps=7").method
    assert (found.guidance.steps, found.guidance.betas) == (7, [0.7, 0.95])


def test_the_fast_preset_comes_over_that_of_the_model_and_below_the_command_line() -> None:
    found = compose_config("stylegallery", "model=sd15_lcm", "preset=fast", "method.guidance.steps=30").method
    assert (found.guidance.steps, found.guidance.iterations, found.guidance.learning_rate) == (30, 1, 0.15)
    assert (found.recolouring, found.guidance.extras.initial, found.guidance.content_weight) == (1, "content", 0.33)


def test_the_fast_preset_is_refused_by_methods_without_its_settings() -> None:
    config = compose_config("gatys", "preset=fast")
    with pytest.raises(InputError, match=r"^method.recolouring is not a setting of baselines.gatys.Gatys"):
        check(OmegaConf.to_container(config.method, resolve=True), "method")


def test_a_preset_of_another_method_is_refused() -> None:
    given = ["experiment=table1", "preset/img2img@method=sd15"]
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(InputError, match=r"^preset/img2img@method= is for methods with these presets; pass method=img2"),
        in_one_sentence(given),
    ):
        compose("config", overrides=given)


def test_a_model_without_a_preset_says_which_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# @package _global_\ndefaults: [sd15]\n")
    given = [f"hydra.searchpath=[file://{tmp_path}]", "model=mine"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        says = r"^model=mine has no settings in preset/stylegallery; write conf/preset/stylegallery/mine.yaml "
        with pytest.raises(InputError, match=says), in_one_sentence(given):
            compose("config", overrides=[*given, "method=global_style"])
        assert compose("config", overrides=[*given, "method=styleid"]).method.model.path.startswith("stable-")


# --- weights ---

LOADERS = {  # what loads from a file or folder -> which of its arguments name that
    "locate": slice(1), "locate_file": slice(1), "model_files": slice(1), "Path": slice(1), "Captions": slice(1),
    "load_controlnet": slice(2), "load_pipeline": slice(1), "pretrained": slice(1, 2), "processor_of": slice(1, 2),
}  # fmt: skip


def targets(*groups: str) -> list[str]:
    files = [OmegaConf.to_container(OmegaConf.load(path)) for group in groups for path in CONF.glob(f"{group}/*.yaml")]
    return sorted({str(node["_target_"]) for _, node in nodes(files) if "_target_" in node})


def constructors(target: str) -> Iterator[Callable[..., Any]]:
    """A function, or the `__init__` of a class and its bases, as they are written."""
    found: Any = located(target, target)
    for owner in found.__mro__ if isinstance(found, type) else [found]:
        written = vars(owner).get("__init__") if isinstance(owner, type) else owner
        if written and not is_dataclass(owner) and inspect.isroutine(inspect.unwrap(written)) and owner is not object:
            yield inspect.unwrap(written)


def loaded_by(call: Callable[..., Any]) -> Iterator[str]:
    """Names that a function passes on to what loads from a file or folder."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(call)))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOADERS:
            yield from (one.id for one in node.args[LOADERS[node.func.id]] if isinstance(one, ast.Name))


@pytest.mark.parametrize("target", targets(*METHODS, "metric"))
def test_what_is_loaded_is_marked_as_weights(target: str) -> None:
    """Else it would take no part in the digest of a result."""
    accepted = parameters_of(located(target, target))
    loaded = {name for call in constructors(target) for name in loaded_by(call)} & accepted.keys()
    assert {name for name in loaded if not names_weights(accepted[name])} == set()


def test_marks_are_where_weights_are() -> None:
    marked = {target: {n for n, k in parameters_of(located(target, target)).items() if names_weights(k)}
              for target in targets(*METHODS)}  # fmt: skip
    assert marked["stylegallery.models.factory.from_directory"] == {"path", "lora"}
    assert marked["baselines.instantstyle.InstantStyle"] == {"base", "controlnet", "adapter", "captions"}
    assert (
        marked["baselines.stytr2.StyTR2"] == set(loaded_by(next(constructors("baselines.stytr2.StyTR2")))) == {"path"}
    )
    assert marked["baselines.identity.Identity"] == set()


# --- defaults ---

FIXED_BY_WEIGHTS = {"encoder_width", "encoder_layers", "embedding"}  # of StyleShot's network; tests build a smaller one


@pytest.mark.parametrize("target", targets("*"))
def test_a_default_stands_in_conf_alone(target: str) -> None:
    """What decides a result is in its settings, and so in its record. None and () in a signature say that there is
    nothing: no default."""
    found: Any = located(target, target)
    owners = [owner for owner in found.__mro__ if owner is not object] if isinstance(found, type) else [found]
    parameters = [one for owner in owners for one in inspect.signature(owner).parameters.values()]
    with_default = {one.name for one in parameters if one.default not in (one.empty, None, ())}
    assert with_default <= FIXED_BY_WEIGHTS


def test_a_config_that_is_no_yaml_is_one_sentence_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\nmethod: [a\n")
    with (
        initialize_config_dir(str(tmp_path), version_base="1.3"),
        pytest.raises(InputError, match=r"cannot be resolved .*config\.yaml.*line 3"),
        in_one_sentence([]),
    ):
        compose("config")
