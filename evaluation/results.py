"""The results of a benchmark run as data frames, from the records on disk and nothing else."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import get_class
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from evaluation.metric import STYLEGALLERY, Direction
from harness.folder import ResultFolder, RunFolder
from harness.frozen import read_frozen
from harness.record import OUTDATED, OutdatedRecord, Record, load_record
from harness.schemas import SCORED, SETS_SCORED, read
from stylegallery.errors import InputError, printable

METRICS = Path(__file__).parents[1] / "conf" / "metric"
SCORE = "python -m evaluation.score"
COSTS = ("seconds", "peak_memory_mib")
EMBEDDED = "embedded"
ITEM_COLUMNS = ["label", "item", "content", "metric", "value", "version", "reason"]
SET_COLUMNS = ["label", "metric", "value", "low", "high", "version", "n", "contents", "items", "reason"]


@dataclass(frozen=True)
class MetricInfo:
    """What a table has to know of a metric."""

    direction: Direction
    kind: str
    version: int | None  # of its values; costs have none
    ordered: bool = True  # how its calibration rows must lie; not of a mean over references, which no copy need win
    annotator: str = STYLEGALLERY  # of a regional score: whose regions and matches it is about

    def better(self, first: float, second: float) -> bool:
        return first < second if self.direction == "down" else first > second


@cache
def metric_files() -> dict[str, Path]:
    """Name -> config; looked up, since names come from files of scores."""
    return {path.stem: path for path in METRICS.glob("*.yaml")}


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


@dataclass(frozen=True)
class Results:
    """items: label, item, content (digest of the picture, which says what items resemble each other), metric, value,
    version, reason (one row per score, costs among them; an item without scores has the reason under the metric "");
    sets: label, metric, value, low, high, version, n, contents (their number), items (digest of their ids), reason (why
    there is no value or no interval; one row per score of a whole set);
    models: label -> what its settings load, such as a diffusion model and an adapter, or "none";
    benchmarks: label -> its manifest, "folder" for pictures of the user's own, "" where the settings are lost;
    sizes: label -> the sizes that its pictures were scored at, "512x512";
    mixed: one sentence for everything in which records of one label differ that should not."""

    items: pd.DataFrame
    sets: pd.DataFrame
    models: dict[str, str]
    benchmarks: dict[str, str]
    sizes: dict[str, set[str]]
    mixed: list[str]

    def contents(self) -> pd.Series:
        """item -> its content."""
        return self.items.groupby("item")["content"].first()


def model_name(config: Mapping[str, Any], weights: Collection[str]) -> str:
    """What settings load of `weights`, the dotted names of those that name any: their diffusion model, or all there are
    beside one."""
    part = "model." if config.get("model") else ""
    names = [str(value) for key, value in (config.get("model") or config).items() if f"{part}{key}" in weights]
    return printable(" + ".join(names)) or "none"


def embedded(models: Mapping[str, str]) -> list[str]:
    """The labels of this repository's small model, whose numbers must not be held against a paper's."""
    return [label for label, model in models.items() if EMBEDDED in model.split(" + ")]


def benchmark_name(frozen: Path) -> str:
    return str(read_frozen(frozen)["data"].get("manifest", "folder")) if frozen.is_file() else ""


def scored_at(record: Record, scores: Mapping[str, Any]) -> str:
    """The size of a result when it was scored: its own, unless all were resized."""
    side = scores["size"]
    return "x".join(map(str, [side, side] if side else record.size or ()))


def mixtures(label: str, records: Sequence[Record]) -> list[str]:
    """What the results of one label should have in common and do not: versions, device, code, weights, seed."""
    found: dict[str, Counter[str]] = {}
    for record in (record for record in records if not record.failed):
        weights = {f"weights of {name}": digest for name, digest in record.weights.items()}
        values = {"seed": record.seed, "code": record.code} | weights | record.environment
        for name, value in values.items():
            found.setdefault(name, Counter())[str(value)] += 1
    return [
        f"{label} mixes results of different {name} (number of items): "
        + ", ".join(f"{value} ({count})" for value, count in sorted(values.items()))
        for name, values in found.items()
        if len(values) > 1
    ]


def read_scores(path: Path, shape: TypeAdapter[Any]) -> Any:
    """What scores.json or sets.json holds; None where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    return read(path, shape, "score again") if path.exists() else None


def read_results(out: Path, without: Collection[str] = ()) -> Results:
    """Everything OUT/cells holds, in sorted order, `without` some labels.

    Raises:
        InputError: there are no records, a file is damaged, or results were scored at several sizes.
    """
    run = RunFolder(out)
    places = run.results()
    if not places:
        raise InputError(f"{out} holds no records (cells/*/*/record.json); run a method with out={out} first")
    places = [place for place in places if place.label not in without]
    if not places:
        raise InputError(f"{out} has no labels but {', '.join(sorted(without))}; leave out fewer")
    labels = sorted({place.label for place in places})
    scored = {place: read_scores(place.scores, SCORED) for place in places}
    sets_scored = {label: read_scores(run.sets(label), SETS_SCORED) for label in labels}
    sizes = {str(scores["size"]) for scores in [*scored.values(), *sets_scored.values()] if scores}
    if len(sizes) > 1:
        raise InputError(f"{out} was scored at sizes {' and '.join(sorted(sizes))}; run {SCORE} {out} again")
    records = {place: record for place in places if (record := current_record(place))}
    models = {place.label: model_name(one.config, one.weights) for place, one in records.items() if one.config}
    made_of = {place: record.depends_on(place.path) for place, record in records.items()}
    of_label = {label: [place for place in records if place.label == label] for label in labels}

    @cache
    def annotation(item: str, annotator: str) -> str | None:
        from evaluation.annotations import annotation_digest  # takes seconds, and most folders need it not

        return annotation_digest(run.annotation(annotator, item))

    items = [
        row
        for place, scores in scored.items()
        for row in item_rows(place, records.get(place), scores, made_of.get(place), partial(annotation, place.item))
    ]
    sets = [
        row
        for label in labels
        for row in set_rows(label, sets_scored[label], {place.item: made_of[place] for place in of_label[label]})
    ]
    return Results(
        pd.DataFrame(items, columns=ITEM_COLUMNS).astype({"value": float, "version": "Int64"}),
        pd.DataFrame(sets, columns=SET_COLUMNS).astype(
            dict.fromkeys(("value", "low", "high"), float)
            | dict.fromkeys(("version", "n", "contents"), "Int64")
            | dict.fromkeys(("items", "reason"), object)
        ),
        {label: models.get(label, "none") for label in labels},
        {label: benchmark_name(run.settings(label)) for label in labels},
        {
            label: {scored_at(records[place], scored[place]) for place in of_label[label] if scored[place]}
            for label in labels
        },
        [line for label in labels for line in mixtures(label, [records[place] for place in of_label[label]])],
    )


def current_record(place: ResultFolder) -> Record | None:
    """None where another version of this code wrote it. Raises InputError where it is damaged."""
    try:
        return load_record(place.path)
    except OutdatedRecord:
        return None


def scores_of(run: RunFolder, place: ResultFolder, record: Record) -> dict[str, float | None]:
    """The scores of one result by metrics, as far as they are about its pictures and annotations of today.

    Raises:
        InputError: scores.json is damaged.
    """
    from evaluation.annotations import annotation_digest  # takes seconds

    scores = read_scores(place.scores, SCORED)
    if scores is None or scores["pictures"] != record.depends_on(place.path):
        return {}
    found = present(scores, lambda annotator: annotation_digest(run.annotation(annotator, place.item)))
    return {metric: score["value"] for metric, score in found.items()}


def present(scores: Any, annotation: Callable[[str], str | None]) -> dict[str, dict[str, Any]]:
    """The scores by metrics that this code has; one of another version of a metric, or of another annotation than
    the present one of its annotator, whose digest `annotation` says, is none, with the remedy."""
    found: dict[str, dict[str, Any]] = {}
    for metric, score in sorted(scores["metrics"].items()):
        if metric not in metric_files():
            continue
        known, stale = metric_info(metric), ""
        if score["version"] != known.version:
            stale = f"not scored in version {known.version}: {SCORE} OUT"
        elif known.kind == "regional" and score.get("annotation") != annotation(known.annotator):
            stale = f"not scored on the present regions and matches: {SCORE} OUT"
        found[metric] = {"value": None, "version": None, "reason": stale} if stale else score
    return found


def item_rows(
    place: ResultFolder, record: Record | None, scores: Any, made_of: object, annotation: Callable[[str], str | None]
) -> list[tuple[Any, ...]]:
    """Scores and costs of one cell, whose scores are `made_of` these pictures today and are about the
    annotations of these digests; a failed, unscored or outdated item (without a record) has the reason in the place of
    every score."""
    label, item = place.label, place.item
    if record is None or record.failed:
        reason = f"failed: {record.error}" if record else OUTDATED
        return [(label, item, None, name, None, None, reason) for name in (*COSTS, "")]
    content = record.inputs["content"].sha256[:12]
    costs = {"seconds": record.total_seconds, "peak_memory_mib": record.peak_memory_mib}
    rows: list[tuple[Any, ...]] = [
        (label, item, content, name, value or None, None, None if value else "not measured")
        for name, value in costs.items()
    ]
    if scores is None or scores.get("pictures") != made_of:  # none, or of other pictures
        return [*rows, (label, item, content, "", None, None, f"not scored: {SCORE} OUT")]
    for metric, score in present(scores, annotation).items():
        rows.append((label, item, content, metric, score["value"], score["version"], score["reason"]))
    return rows


def set_rows(label: str, scores: Any, made_of: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores of the set of a label's cells, where all pictures they were made of are still the same; `made_of`: item ->
    its pictures today."""
    if scores is None:
        return []
    pictures = scores.get("pictures", {})
    same = bool(pictures) and all(made_of.get(item) == these for item, these in pictures.items())
    about = {"label": label, **({"n": scores["n"], "items": scores["items"]} if same else {})}
    return [
        about | {"metric": metric} | (score if same else {"reason": f"not scored: {SCORE} OUT"})
        for metric, score in present(scores, lambda annotator: None).items()
    ]
