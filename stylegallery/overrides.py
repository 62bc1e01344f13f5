"""Overrides of the command line: what Hydra and OmegaConf say of those they cannot use, in one sentence."""

import difflib
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stylegallery.errors import InputError
from stylegallery.files import cache_folder, notice
from stylegallery.settings import Positive, check_values

CONFIGS = Path(__file__).parent.parent / "conf"
LIBRARIES = ("hydra.", "omegaconf.", "antlr4.", "yaml.")
FULL = "HYDRA_FULL_ERROR"
STORE = {"folder": str | None, "limit": Positive}
OF_A_RUN = ("seed", "out", "label", "shard", "limit", "only", "data", "experiment", "launcher", "tracker")


@contextmanager
def in_one_sentence(overrides: Sequence[str]) -> Iterator[None]:
    """Raises InputError in place of what Hydra and OmegaConf raise; HYDRA_FULL_ERROR=1 lets all of it through."""
    before = os.environ.get(FULL)
    os.environ[FULL] = "1"  # Hydra raises instead of printing and leaving
    try:
        yield
    except Exception as error:
        if before == "1" or isinstance(error, InputError) or not of_libraries(error):
            raise
        raise InputError(sentence(error, overrides)) from error
    finally:
        if before is None:
            del os.environ[FULL]
        else:
            os.environ[FULL] = before


def composed(overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The settings of a method and of its store, resolved, as the command line has them.

    Raises:
        InputError: one of them is not to be had, or has no effect on a method.
    """
    from hydra import compose, initialize_config_dir

    with in_one_sentence(overrides), initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
        settings: Any = OmegaConf.to_container(config.method, resolve=True)
        store = store_settings(config)
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    if others := sorted(given & {*config.data, *OF_A_RUN}):
        raise InputError(f"{others[0]}= has no effect here; analyse takes pictures, masks and the seed, match pins")
    return settings, store


def store_settings(config: DictConfig) -> dict[str, Any] | None:
    """The node `store` of a config, with an absolute folder; None where nothing is to be kept.

    Raises:
        InputError: a setting in it is not of its type.
    """
    if config.store is None:
        return None
    if not OmegaConf.is_dict(config.store):
        raise InputError(f"store is {config.store}; pass store.folder= or store.limit=, or store=null to keep nothing")
    found: Any = OmegaConf.to_container(config.store, resolve=True)
    check_values({name: found[name] for name in found.keys() & STORE}, STORE, "store")
    folder = found.get("folder")
    try:
        place = Path(folder).expanduser().absolute() if folder else cache_folder()
    except RuntimeError:
        notice("this user has no home folder, so that nothing is kept of pictures; pass store.folder=")
        return None
    return found | {"folder": str(place) if folder else None}  # None: each machine has its own


def as_hydra_reads(override: str) -> str:
    """Points as keys of pins, '0.4,0.7': [1, 2], as Hydra's grammar has them: it knows no quoted keys."""
    if not override.startswith("pins="):
        return override
    return re.sub(r"""(?<=[{,\s])(["'])([^"']*)\1(?=\s*:)""", lambda key: key[2].replace(",", "\\,"), override)


def of_libraries(error: Exception) -> bool:
    """Whether an error comes from composing or resolving settings, not from what is done with them."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].startswith(LIBRARIES)


def sentence(error: Exception, overrides: Sequence[str]) -> str:
    """What is wrong and what to write instead."""
    message = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if group.startswith("preset/") and not any(one.startswith(f"{group}@") for one in overrides):
            return (
                f"model={option} has no settings in {group}; write conf/{group}/{option}.yaml with those that this "
                f"model needs, with a comment alone where it needs none, or pass {group}@method= one of "
                + ", ".join(error.options)
            )
        close = difflib.get_close_matches(option, error.options, n=1)
        hint = f"did you mean {close[0]}? There are" if close else "pass one of"
        return f"{group}={option} does not exist; {hint} {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override} is not NAME=VALUE; python run.py --help shows how to write settings"
        return (
            f"{error.override!r} cannot be read; a value with spaces, commas, brackets, quotes, ~ or = takes quotes of "
            "its own, such as 'content=\"my photo (1).jpg\"', and a list is written [a,b]"
        )
    if found := re.search(r"Could not override '(.+?)'|key: '(.+?)'", message):
        name = found[1] or found[2]
        if method := re.match(r"preset/(\w+)@method$", name):
            return f"{name}= is for methods with these presets; pass method={method[1]} too, and leave out experiment="
        return f"{name} is not a setting; {nearest(name, overrides)}"
    if found := re.search(r"Could not append to config\. An item is already at '(.+?)'", message):
        return f"{found[1]} is a setting already; write {found[1]}= without the +"
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?:$| requires)", message, re.M):
        return (
            f"{found[1]} is several values; write [a,b] for a list, put quotes around a text, or put -m before the "
            "settings to run one after the other"
        )
    named = re.search(r"full_key: (\S+)", message)
    lines = [line.strip() for line in message.partition("Config search path:")[0].splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(("full_key", "object_type", "See http")))
    return f"{named[1] if named else 'these settings'} cannot be resolved ({said}); python run.py --help lists all"


def nearest(name: str, overrides: Sequence[str]) -> str:
    """A hint which setting was meant: one that ends alike, or is spelled alike."""
    known = names(overrides)
    if name in known:  # of a sweep over a group the first job may have it and another not
        return "not every choice of this sweep has it"
    alike = [other for other in known if other.endswith(f".{name}")]
    close = alike[:3] or difflib.get_close_matches(name, known, n=1)
    return f"did you mean {' or '.join(close)}?" if close else "python run.py --help lists all"


def names(overrides: Sequence[str]) -> list[str]:
    """Every setting and group that there is with the choices of the overrides, by its dotted name."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    defaults = OmegaConf.load(CONFIGS / "config.yaml").defaults
    keys = [str(key) for entry in defaults if OmegaConf.is_dict(entry) for key in entry]
    groups = [key for key in keys if not key.startswith("override ")]
    parsed = OverridesParser.create().parse_overrides([text for text in overrides if not text.startswith("-")])
    choices = [one.input_line or "" for one in parsed if one.key_or_group in groups and not one.is_sweep_override()]
    GlobalHydra.instance().clear()  # nothing is composed after an error
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("config", overrides=choices)
    return groups + sorted(dotted(OmegaConf.to_container(config)))


def dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """Names of all that stands in nested mappings."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from dotted(value, f"{prefix}{key}.")
