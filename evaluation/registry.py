"""The metrics of conf/metric: what tables have to know of them, and the metrics themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from evaluation.metric import STYLEGALLERY, Direction, Metric, SetMetric, is_of_sets
from stylegallery.errors import InputError
from stylegallery.overrides import CONFIGS

METRICS = CONFIGS / "metric"
COSTS = ("seconds", "peak_memory_mib")  # columns of tables that records hold, beside the metrics


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
    """Direction, kind and version of a metric, from the class its config names; no weights are needed.

    Raises:
        InputError: this code does not know the metric.
    """
    if metric in COSTS:
        return MetricInfo("down", "cost", None)
    if metric not in metric_files():
        raise InputError(f"the scores name a metric {metric} that {METRICS} does not have; score again with this code")
    config = OmegaConf.load(metric_files()[metric])
    found = get_class(str(OmegaConf.select(config, "_target_")))
    ordered = OmegaConf.select(config, "over") != "mean"
    annotator = str(OmegaConf.select(config, "annotator", default=STYLEGALLERY))
    return MetricInfo(found.direction, found.kind, found.version, ordered, annotator)  # type: ignore[attr-defined]


def build_metrics(names: Sequence[str] | None = None) -> tuple[list[Metric], list[SetMetric]]:
    """The metrics of conf/metric, or the named ones: those of single items and those of sets.

    Raises:
        InputError: there is no metric of a name.
    """
    paths = metric_files()
    for name in names or ():
        if name not in paths:
            raise InputError(f"{name} is not a metric; pass some of: {', '.join(paths)}")
    metrics = [instantiate(OmegaConf.load(paths[name]), _convert_="all") for name in names or paths]
    return [m for m in metrics if not is_of_sets(m)], [m for m in metrics if is_of_sets(m)]
