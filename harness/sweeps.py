"""Sweeps of Hydra (`-m`): every job gets a place of its own, named after what it differs in from the others."""

import hashlib
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from data.benchmark import safe_name

# What a sweep may go over without its jobs' results being others: parts and places of one run.
SHARED = ("shard", "limit", "only", "launcher", "tracker")
LONGEST = 150  # characters of a name


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
