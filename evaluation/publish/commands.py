"""The commands that make the results of a sweep again, from its frozen settings."""

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from evaluation.annotations import annotated_with, deciding
from evaluation.publish.studies import OURS, Study
from evaluation.score_files import Scores, read_scores
from harness.folder import RunFolder
from harness.frozen import differences

CONFIGS = Path(__file__).parents[2] / "conf"
GROUPS = {"model": "embedded", "encoder": "efficientnet"}  # with their defaults, which commands leave out
TARGET = "stylegallery.pipeline.StyleGallery"
PLAIN = re.compile(r"[A-Za-z_/.~][\w/.@:~-]*")  # texts that need no quotes
KEYWORDS = ("null", "true", "false", "nan", "inf")
ELSEWHERE = ("device", "_target_")  # last parts of settings that depend on the machine or follow from others


def commands(study: Study) -> list[str]:
    """Run, annotate and score, with everything that differs from the defaults; annotate with settings of its own where
    the annotations have other settings than the run."""
    sweep, out = study.sweep, str(study.sweep.out)
    frozen = sweep.frozen[OURS if OURS in study.ran else study.ran[0]]
    run = [f"experiment={study.experiment.name}", *overrides(frozen["method"])]
    if study.manifest != study.experiment.data:
        run.append(f"data={study.manifest}")
    run += [f"limit={frozen['limit']}"] if frozen["limit"] else []
    others = [config for config in annotated_with(sweep.out) if differences(config, deciding(frozen["method"]))]
    annotation = [*overrides(others[0]), "--anew"] if others else []
    scored = next((place.scores for place in RunFolder(sweep.out).results() if place.scores.is_file()), None)
    size = read_scores(scored, Scores).size if scored else None
    return [
        shlex.join(["python", "run.py", *run, f"out={out}"]),
        shlex.join(["python", "-m", "evaluation.annotations", out, *annotation]),
        shlex.join(["python", "-m", "evaluation.score", out, *(["--size", str(size)] if size else [])]),
    ]


def overrides(config: Mapping[str, Any]) -> list[str]:
    """What makes conf/method/stylegallery.yaml these settings, model and encoder by their names in conf/.

    Settings of another method are not looked at.
    """
    if config.get("_target_") != TARGET:
        return []
    chosen = dict(GROUPS)
    for group, default in GROUPS.items():
        names = sorted((path.stem for path in (CONFIGS / group).glob("*.yaml")), key=lambda name: name != default)
        chosen[group] = min(names, key=lambda name: len(changed(config, composed(**chosen | {group: name}), group)))
    named = [f"{group}={name}" for group, name in chosen.items() if name != GROUPS[group]]
    rest = changed(config, composed(**chosen), "")
    return named + [f"method.{key}={as_override(value)}" for key, value in rest.items()]


@cache
def composed(model: str, encoder: str) -> dict[str, Any]:
    """conf/method/stylegallery.yaml as a benchmark composes it with a model and an encoder."""
    choices = [f"method={OURS}", "resizing=square", f"model={model}", f"encoder={encoder}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        container: Any = OmegaConf.to_container(compose("config", overrides=choices).method, resolve=True)
    return container


def changed(config: Mapping[str, Any], standard: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Dotted name and value of every setting (below `group`, if any) that is not the standard one."""
    known = leaves(standard)
    return {
        name: value
        for name, value in leaves(config).items()
        if known.get(name) != value
        and name.startswith(f"{group}." if group else "")
        and name.rpartition(".")[2] not in ELSEWHERE
    }


def leaves(node: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{name}{key}.")
        else:
            found[f"{name}{key}"] = value
    return found


def as_override(value: object) -> str:
    """A value as Hydra's command line reads it; a text stays a text even if it looks like a number."""
    plain = isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in KEYWORDS
    written = str(value) if plain else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return written.replace("${", "\\${")
