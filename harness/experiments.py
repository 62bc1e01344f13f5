"""What is run: the runs of an experiment or of a command line, each with its label, and the jobs of a sweep (`-m`)."""

import hashlib
import sys
from collections.abc import Iterator

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from data.benchmark import safe_name
from stylegallery.errors import InputError

# What a sweep may go over without its jobs' results being others: parts and places of one run.
SHARED = ("shard", "limit", "only", "launcher", "tracker")
LONGEST = 150  # characters of a name


def runs(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Label and config of every run: that of the command line, or those of an experiment, `only` some of them or all.

    The command line comes after the settings of a run and wins; its `method.` settings go to methods that have them
    (`++method.steps=50` where StyleGallery itself has none). Jobs of a sweep (`-m`) have labels of their own:
    `stylegallery@seed=1`.
    """
    told_apart = ["out", "label", "experiment", *(["method"] if config.label is None else [])]
    name = difference(*told_apart, *([] if config.out else ["data"]))
    job = f"@{name}" if name else ""
    if config.experiment is None:
        label = HydraConfig.get().runtime.choices["method"] if config.label is None else config.label
        yield f"{label}{job}", config
        return
    labels = [str(label) for label in config.experiment.runs]
    given_only = config.only if OmegaConf.is_list(config.only) else [config.only]
    only = labels if config.only is None else [str(label) for label in given_only]
    if unknown := sorted(set(only).difference(labels)):
        raise InputError(f"only= names {unknown[0]}, but the runs of this experiment are {', '.join(labels)}")
    given = [override for override in HydraConfig.get().overrides.task if not override.startswith("experiment=")]
    some = [override for override in given if override.lstrip("+").startswith("method.")]
    differ = {key_of(override) for overrides in config.experiment.runs.values() for override in overrides}
    if clash := sorted(differ & {key_of(override) for override in given}):
        raise InputError(
            f"{clash[0]} is what the runs of this experiment differ in, so it cannot be given for all of them; "
            "leave it out, or run without experiment="
        )
    data = [] if any(override.startswith("data=") for override in given) else [f"data={config.experiment.data}"]
    for label, overrides in config.experiment.runs.items():
        if str(label) not in only:
            continue
        of_all = [*data, *overrides, *(override for override in given if override not in some)]
        bare = compose("config", overrides=of_all)
        own = [override for override in some if OmegaConf.select(bare, key_of(override), default=bare) != bare]
        yield f"{label}{job}", compose("config", overrides=[*of_all, *own]) if own else bare


def key_of(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def difference(*but: str) -> str:
    """`seed=1,content_weight=0.26`: what this job of a sweep differs in from the others, as a name; empty without one.

    Settings named in `but` are left out: they tell the jobs apart already.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return ""
    parser = OverridesParser.create()
    given = parser.parse_overrides([argument for argument in sys.argv[1:] if "=" in argument and argument[0] != "-"])
    swept = {override.key_or_group for override in given if override.is_sweep_override()}
    swept |= set(HydraConfig.get().sweeper.get("params") or ())
    parts = []
    for override in parser.parse_overrides(list(HydraConfig.get().overrides.task)):
        key = override.key_or_group
        if key in swept and key.partition(".")[0] not in SHARED and key not in but:
            value = str(override.get_value_element_as_str())
            parts.append(f"{safe_name(key.rpartition('.')[2])}={safe_name(value)}")
    name = ",".join(parts)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
