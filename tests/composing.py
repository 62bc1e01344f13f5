"""A method as the command line would get it: the config composed and instantiated."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from harness.building import build

ROOT = Path(__file__).parent.parent


def compose_config(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=[f"method={name}", "device=cpu", *overrides])


def build_method(name: str, *overrides: str) -> Any:
    """Raises InputError as run.py does, without hydra's wrapping."""
    return build(compose_config(name, *overrides).method)
