"""The results of a benchmark run as data frames, from the records on disk and nothing else."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.annotation_files import annotation_digest
from evaluation.registry import COSTS, metric_files, metric_info
from evaluation.score_files import Score, Scores, SetScores, is_about, read_scores
from harness.folder import ResultFolder, RunFolder
from harness.frozen import read_frozen
from harness.record import OUTDATED, OutdatedRecord, Record, load_record
from stylegallery.errors import InputError, printable

SCORE = "python -m evaluation.score"
EMBEDDED = "embedded"
ITEM_COLUMNS = ["label", "item", "content", "metric", "value", "version", "reason"]
SET_COLUMNS = ["label", "metric", "value", "low", "high", "version", "n", "contents", "items", "reason"]


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
    beside one. Of a path the last two parts: where a machine keeps its files is nothing for a published page."""
    part = "model." if config.get("model") else ""
    found = [str(value) for key, value in (config.get("model") or config).items() if f"{part}{key}" in weights]
    names = ["/".join(Path(name).parts[-2:]) if Path(name).is_absolute() else name for name in found]
    return printable(" + ".join(names)) or "none"


def embedded(models: Mapping[str, str]) -> list[str]:
    """The labels of this repository's small model, whose numbers must not be held against a paper's."""
    return [label for label, model in models.items() if EMBEDDED in model.split(" + ")]


def benchmark_name(frozen: Path) -> str:
    return str(read_frozen(frozen)["data"].get("manifest", "folder")) if frozen.is_file() else ""


def scored_at(record: Record, scores: Scores) -> str:
    """The size of a result when it was scored: its own, unless all were resized."""
    return "x".join(map(str, [scores.size, scores.size] if scores.size else record.size or ()))


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
    scored = {place: read_scores(place.scores, Scores) for place in places if place.scores.exists()}
    sets_scored = {label: read_scores(path, SetScores) for label in labels if (path := run.sets(label)).exists()}
    every: list[Scores | SetScores] = [*scored.values(), *sets_scored.values()]
    sizes = {str(scores.size) for scores in every}
    if len(sizes) > 1:
        raise InputError(f"{out} was scored at sizes {' and '.join(sorted(sizes))}; run {SCORE} {out} again")
    records = {place: record for place in places if (record := current_record(place))}
    models = {place.label: model_name(one.config, one.weights) for place, one in records.items() if one.config}
    made_of = {place: record.depends_on(place.path) for place, record in records.items()}
    of_label = {label: [place for place in records if place.label == label] for label in labels}

    @cache
    def annotation(item: str, annotator: str) -> str | None:
        return annotation_digest(run.annotation(annotator, item))

    items = [
        row
        for place in places
        for row in item_rows(
            place, records.get(place), scored.get(place), made_of.get(place), partial(annotation, place.item)
        )
    ]
    sets = [
        row
        for label, scores in sets_scored.items()
        for row in set_rows(label, scores, {place.item: made_of[place] for place in of_label[label]})
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
            label: {scored_at(records[place], scored[place]) for place in of_label[label] if place in scored}
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
    if not place.scores.exists():
        return {}
    scores = read_scores(place.scores, Scores)
    if scores.pictures != record.depends_on(place.path):
        return {}
    found = present(scores, cache(lambda annotator: annotation_digest(run.annotation(annotator, place.item))))
    return {metric: score.value for metric, score in found.items()}


def present(scores: Scores | SetScores, annotation: Callable[[str], str | None]) -> dict[str, Score]:
    """The scores by the metrics that this code has. A score of another version of its metric, or of another annotation
    than the present one, loses its value and has the remedy as its reason. annotation: annotator -> digest."""
    found: dict[str, Score] = {}
    for metric, score in sorted(scores.metrics.items()):
        if metric not in metric_files():
            continue
        known, stale = metric_info(metric), ""
        if score.version != known.version:
            stale = f"not scored in version {known.version}: {SCORE} OUT"
        elif known.kind == "regional" and not is_about(score, annotation(known.annotator)):
            stale = f"not scored on the present regions and matches: {SCORE} OUT"
        found[metric] = Score(None, None, stale) if stale else score
    return found


def item_rows(
    place: ResultFolder, record: Record | None, scores: Scores | None, made_of: object,
    annotation: Callable[[str], str | None],
) -> list[tuple[Any, ...]]:  # fmt: skip
    """Scores and costs of one result. `made_of` are its pictures today, `annotation` says annotator -> digest. A
    failed, unscored or outdated result (without a record) has the reason in place of every score."""
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
    if scores is None or scores.pictures != made_of:  # none, or of other pictures
        return [*rows, (label, item, content, "", None, None, f"not scored: {SCORE} OUT")]
    for metric, score in present(scores, annotation).items():
        rows.append((label, item, content, metric, score.value, score.version, score.reason))
    return rows


def set_rows(label: str, scores: SetScores, made_of: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores of all results of a label together, where all pictures they were made of are still the same; `made_of`:
    item -> its pictures today."""
    same = bool(scores.pictures) and all(made_of.get(item) == these for item, these in scores.pictures.items())
    about = {"label": label, **({"n": scores.n, "items": scores.items} if same else {})}
    return [
        about | {"metric": metric} | (asdict(score) if same else {"reason": f"not scored: {SCORE} OUT"})
        for metric, score in present(scores, lambda annotator: None).items()
    ]
