"""The metrics of conf/metric: what tables have to know of them, and the metrics themselves."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from evaluation.metric import STYLEGALLERY, Direction, Metric, SetMetric, is_of_sets
from harness.building import build
from stylegallery.errors import InputError
from stylegallery.overrides import CONFIGS
from stylegallery.settings import check_values

METRICS = CONFIGS / "metric"
COSTS = ("seconds", "peak_memory_mib")  # columns of tables that records hold, beside the metrics
SAID = {"direction": Direction, "kind": Literal["structure", "style", "regional", "set"], "version": int}


@dataclass(frozen=True)
class MetricInfo:
    """What a table has to know of a metric.

    version: of its values; costs have none. ordered: whether its calibration rows must lie as its kind says; a copy of
    one reference need not win a mean over references. annotator: whose regions and matches a regional score is about.
    """

    direction: Direction
    kind: str
    version: int | None
    ordered: bool = True
    annotator: str = STYLEGALLERY

    def better(self, first: float, second: float) -> bool:
        return first < second if self.direction == "down" else first > second


@cache
def metric_files() -> dict[str, Path]:
    """Name -> config. Names come from files of scores, so they are looked up here and never become paths."""
    return {path.stem: path for path in sorted(METRICS.glob("*.yaml"))}


@cache
def metric_info(metric: str) -> MetricInfo:
    """Direction, kind and version of a metric, as the class that its config names says them.

    Raises:
        InputError: this code does not know the metric, or the class does not say them, or says what no metric has.
    """
    if metric in COSTS:
        return MetricInfo("down", "cost", None)
    if metric not in metric_files():
        raise InputError(f"the scores name a metric {metric} that {METRICS} does not have; score again with this code")
    config = OmegaConf.load(metric_files()[metric])
    says = constants(str(OmegaConf.select(config, "_target_")))
    ordered = OmegaConf.select(config, "over") != "mean"
    annotator = str(OmegaConf.select(config, "annotator", default=STYLEGALLERY))
    if missing := [name for name in SAID if name not in says]:
        raise InputError(
            f"the class of the metric {metric} does not say its {missing[0]}; add it there, as in "
            "evaluation/metrics/edge_f1.py (tables read the body of this class alone, not of those it inherits from)"
        )
    check_values({name: says[name] for name in SAID}, SAID, f"metric.{metric}")
    return MetricInfo(says["direction"], says["kind"], says["version"], ordered, annotator)


def constants(target: str) -> dict[str, Any]:
    """What the body of a class says in so many words, by its names; nothing where there is no such class.

    Its source is read and not run: modules of metrics import PyTorch and networks, which takes seconds that tables need
    not wait for.
    """
    module, _, name = target.rpartition(".")
    spec = find_spec(module)
    tree = ast.parse(Path(spec.origin).read_bytes()) if spec and spec.origin else ast.Module([], [])
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    said: dict[str, Any] = {}
    for line in (line for found in classes for line in found.body):
        if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Constant):
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            said |= {place.id: line.value.value for place in targets if isinstance(place, ast.Name)}
    return said


def build_metrics(names: Sequence[str] | None = None) -> tuple[list[Metric], list[SetMetric]]:
    """The metrics of conf/metric, or the named ones: those of single items and those of sets.

    Raises:
        InputError: there is no metric of a name, or one cannot be built.
    """
    paths = metric_files()
    for name in names or ():
        if name not in paths:
            raise InputError(f"{name} is not a metric; pass some of: {', '.join(paths)}")
    metrics = [build_metric(name, paths[name]) for name in names or paths]
    return [m for m in metrics if not is_of_sets(m)], [m for m in metrics if is_of_sets(m)]


def build_metric(name: str, path: Path) -> Any:
    """The metric of a config. Raises InputError where it cannot be built or is not what `evaluation.metric` says."""
    made = build(OmegaConf.load(path), f"metric.{name}")
    metric_info(name)
    if getattr(made, "name", None) != name:
        raise InputError(f"{path} makes a metric with name={getattr(made, 'name', None)!r}; give both one name")
    if not callable(made) or not hasattr(made, "bounds"):
        lacks = "bounds" if callable(made) else "__call__(samples)"
        raise InputError(f"the class of the metric {name} has no {lacks}; add it, as in evaluation/metrics/edge_f1.py")
    return made
