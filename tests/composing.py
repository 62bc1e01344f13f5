"""A method, or a part of one, as the command line would get it: the config composed and instantiated."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from harness.building import build
from harness.frozen import METHODS
from stylegallery.provenance import nodes
from stylegallery.settings import located

ROOT = Path(__file__).parent.parent
Made = TypeVar("Made")
INTERPOLATED = {
    "${device}": "cpu",
    "${output_size}": "model",
    "${time_budget}": None,
    "${batch}": 1,
    "${depth}": None,
    "${segmenter}": None,
}


def compose_config(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=[f"method={name}", "device=cpu", *overrides])


def build_method(name: str, *overrides: str) -> Any:
    """Raises InputError as run.py does, without hydra's wrapping."""
    return build(compose_config(name, *overrides).method)


def configured(call: Callable[..., Made], *args: Any, **given: Any) -> Made:
    """What a class or function makes of the settings that conf/ has for it, presets left out, and of those given."""
    given = dict(inspect.signature(call).bind_partial(*args, **given).arguments)
    settings = settings_by_target()[named(call)] | given
    for key in settings.keys() - given.keys():
        value = settings[key]
        if isinstance(value, Mapping) and "_target_" in value:
            settings[key] = configured(located(value["_target_"], key))
    return call(**settings)


def named(call: Callable[..., Any]) -> str:
    return f"{call.__module__}.{call.__qualname__}"


@cache
def settings_by_target() -> dict[str, dict[str, Any]]:
    """The nodes of conf/ that methods are made of, by what they name. Model, encoder and resolution are to be given."""
    files = [path for group in METHODS for path in (ROOT / "conf" / group).glob("*.yaml")]
    written = [OmegaConf.to_container(OmegaConf.load(path)) for path in files]
    return {
        node["_target_"]: {
            key: INTERPOLATED.get(value, value) if isinstance(value, str) else value
            for key, value in node.items()
            if key not in ("_target_", "defaults")
        }
        for _, node in nodes(written)
        if "_target_" in node
    }
