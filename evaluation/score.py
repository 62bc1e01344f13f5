"""Score every finished result of a benchmark run; what is already scored is left alone.

    python -m evaluation.score OUT [data.root=FOLDER] [--metrics lpips_alex,csd] [--size 256] [--anew]

Each result (OUT/cells/<label>/<item>/) gets scores.json beside its record, each label sets.json with the metrics of the
whole set. A result that cannot be read, or whose content or references are lost or were replaced since, gets reasons in
place of what is missing; everything else is scored, and the exit code is 1.
"""

import argparse
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from evaluation.metric import ANNOTATORS, BATCH, STYLEGALLERY, Metric, MissingWeights, Sample, SetMetric, is_of_sets
from evaluation.registry import build_metrics
from evaluation.samples import LostInput, ReadWhenIndexed, Result
from evaluation.score_files import Score, Scores, SetScores, add_scores, is_about, stored, stored_scores
from evaluation.statistics import FEWEST, estimate_set
from harness.building import place_of
from harness.folder import RECORD, RunFolder
from harness.pictures import Pictures, root_of
from harness.record import own_record
from stylegallery.command import explained_errors, listing, plain_console
from stylegallery.decoding import SMALLEST_SIDE
from stylegallery.errors import InputError, printable, require

ANNOUNCED = (ValueError, RuntimeError, OSError)  # what a metric raises of samples and weights it cannot work with
ANNOTATE = "python -m evaluation.annotations OUT --annotator"
AnyMetric = TypeVar("AnyMetric", Metric, SetMetric)


# --- one metric ---


def reason_of(error: Exception, metric: Metric | SetMetric | None = None) -> str:
    """Why there is no score. Of a bug in a metric it names the line."""
    if isinstance(error, MissingWeights):
        return str(error)
    bug = "" if isinstance(error, ANNOUNCED) else f"{type(error).__name__} at {place_of(error, type(metric))}: "
    return printable(f"failed: {bug}{' '.join(str(error).split())}")


def score_of(metric: Metric | SetMetric, value: float | None, reason: str | None = None) -> Score:
    if value is not None and not math.isfinite(value):
        value, reason = None, f"failed: the value is {value}"
    return Score(value, metric.version, reason)


def values_of(metric: Metric, samples: Sequence[Sample]) -> list[float]:
    """Raises ValueError where a metric does not return one number per sample."""
    values = metric(samples)
    other = [value for value in values if not isinstance(value, Real)] if isinstance(values, list) else [values]
    if other or len(values) != len(samples):
        found = type(other[0]).__name__ if other else f"{len(values)} for {len(samples)}"
        raise ValueError(f"a metric returns a list with one float per sample, not {found}")
    return [float(value) for value in values]


def evaluate(metric: Metric, samples: Sequence[Sample]) -> list[Score]:
    """One score per sample; where a batch fails, its samples are tried one by one."""
    if metric.kind == "regional" and any(sample.annotation is None for sample in samples):
        scored = iter(evaluate(metric, [sample for sample in samples if sample.annotation is not None]))
        missing = score_of(metric, None, f"missing: {ANNOTATE} {annotator_of(metric)}")
        return [next(scored) if sample.annotation else missing for sample in samples]
    try:
        return [score_of(metric, value) for value in values_of(metric, samples)]
    except MissingWeights as error:
        return [score_of(metric, None, reason_of(error)) for _ in samples]
    except Exception as error:
        if len(samples) == 1:
            return [score_of(metric, None, reason_of(error, metric))]
        return [scored for sample in samples for scored in evaluate(metric, [sample])]


def evaluate_set(metric: SetMetric, samples: Sequence[Sample], contents: Sequence[str]) -> Score:
    """The score with its interval; `contents` says which content each sample has."""
    try:
        found = estimate_set(metric(samples), contents, metric.bounds)
    except Exception as error:
        return score_of(metric, None, reason_of(error, metric))
    few = f"no interval: {found.contents} different contents, fewer than {FEWEST}" if found.low is None else None
    return replace(score_of(metric, found.value, few), low=found.low, high=found.high, contents=found.contents)


def annotator_of(metric: Metric | SetMetric) -> str:
    """Whose regions and matches a regional score is about."""
    return str(getattr(metric, "annotator", STYLEGALLERY))


def due(
    metrics: Iterable[AnyMetric], scores: Mapping[str, Score],
    annotations: Mapping[str, str | None] = MappingProxyType({}),
) -> list[AnyMetric]:  # fmt: skip
    """Metrics without a value of their present version, and regional ones that are about another annotation than the
    present one; annotations: annotator -> digest."""

    def valid(metric: AnyMetric) -> bool:
        found = scores.get(metric.name)
        if found is None or found.value is None or found.version != metric.version:
            return False
        return metric.kind != "regional" or is_about(found, annotations.get(annotator_of(metric)))

    return [metric for metric in metrics if not valid(metric)]


# --- results and labels ---


def score_results(results: Sequence[Result], metrics: Sequence[Metric], size: int | None) -> dict[Result, InputError]:
    """Write scores.json of some results; returns those that cannot be scored and why. Scores that are there of the same
    pictures stay."""
    broken: dict[Result, InputError] = {}
    samples: list[Sample] = []
    waiting: list[tuple[Result, Scores, dict[str, Score]]] = []
    by_item = {result.place.item: result for result in results}  # whose annotations all methods share
    present = {item: result.annotation_digests() for item, result in by_item.items()}
    digests = {result: present[result.place.item] for result in results}
    for result in results:
        about = Scores({}, result.depends_on(), size)
        scores = stored_scores(result.place.scores, about)
        missing = due(metrics, scores, digests[result])
        if about.pictures.get("result") and not missing:
            continue
        try:
            samples.append(result.sample(size))
            waiting.append((result, about, scores))
        except InputError as error:
            broken[result] = error
            failed = {metric.name: score_of(metric, None, reason_of(error)) for metric in missing}
            add_scores(result.run.path, result.place.scores, about, failed)
    needed = {result.place.item for result, *_ in waiting}
    annotations = {(item, who): by_item[item].annotation(who) for item in needed for who in ANNOTATORS}
    for metric in metrics:
        who = annotator_of(metric)
        chosen = [index for index, (result, _, scores) in enumerate(waiting) if due([metric], scores, digests[result])]
        given = [replace(samples[index], annotation=annotations[waiting[index][0].place.item, who]) for index in chosen]
        for index, found in zip(chosen, evaluate(metric, given), strict=True):
            result, _, scores = waiting[index]
            digest = digests[result][who] if metric.kind == "regional" else None
            scores[metric.name] = replace(found, annotation=digest)
    for result, about, scores in waiting:
        mine = {metric.name: scores[metric.name] for metric in metrics}
        add_scores(result.run.path, result.place.scores, about, mine)
    return broken


def score_set(
    run: RunFolder, label: str, results: Sequence[Result], metrics: Sequence[SetMetric], size: int | None
) -> None:
    """Write sets.json of a label from its readable results, with their number N; values that are there for these stay,
    whether or not the inputs can still be read."""
    pictures = {result.place.item: result.depends_on() for result in results}
    items = hashlib.sha256(json.dumps(list(pictures)).encode()).hexdigest()
    about = SetScores({}, pictures, items, size, len(results))
    scores = stored_scores(run.sets(label), about)
    fresh = [Result(one.place, one.pictures) for one in results]  # with features of their own, freed with the set
    contents = [str(made_of.get("content")) for made_of in pictures.values()]
    for metric in due(metrics, scores):
        scores[metric.name] = evaluate_set(metric, ReadWhenIndexed(fresh, size), contents)
    add_scores(run.path, run.sets(label), about, scores)


# --- the size of all pictures ---


def common_size(results: Sequence[Result], console: Console) -> int | None:
    """The smallest side of any result where results differ in size; None where every picture keeps its own.

    Most scores depend on the size, so methods that paint at another one must not be compared at theirs.
    """
    sizes: dict[str, set[tuple[int, int]]] = {}
    for result in results:
        record = own_record(result.place.path)
        if record and record.size:
            sizes.setdefault(result.place.item, set()).add(record.size)
    if all(len(found) == 1 for found in sizes.values()):
        return None
    smallest = min(side for found in sizes.values() for size in found for side in size)
    console.print(
        f"results of one item differ in size: all are scored at {smallest}x{smallest} px; --size takes another"
    )
    return smallest


def scored_at(results: Sequence[Result]) -> set[int | None]:
    """The sizes that results were scored at before."""
    sets = {result.run.sets(result.place.label) for result in results}
    found = [*(stored(result.place.scores, Scores) for result in results), *(stored(path, SetScores) for path in sets)]
    return {scores.size for scores in found if scores}


def size_of(out: Path, results: Sequence[Result], given: int | None, anew: bool, console: Console) -> int | None:
    """The size to score at: the given one, else that of the scores that are there, unless a result is smaller by now.

    Raises:
        InputError: results were scored at another size than the given one, and not `anew`.
    """
    before = scored_at(results)
    if given and before - {given} and not anew:
        sizes = " and ".join(sorted("their own size" if size is None else f"{size} px" for size in before - {given}))
        raise InputError(
            f"{out} holds scores of results at {sizes}; leave out --size to go on there, or pass --anew to replace "
            f"them by scores at {given} px"
        )
    if not given and not anew and len(before) == 1 and (kept := next(iter(before))):
        common = common_size(results, Console(quiet=True))
        if common is None or kept <= common:
            console.print(f"results are scored at {kept} px, as before; --size takes another")
            return kept
    return given or common_size(results, console)


def score(
    out: Path, names: Sequence[str] | None, size: int | None, console: Console, root: str | None = None,
    anew: bool = False,
) -> bool:  # fmt: skip
    """Score a run and print a summary; whether every result could be scored. `root`: where the pictures are now;
    `anew`: replace scores of another size.

    Raises:
        InputError: no results in `out`, an unknown metric, scores of another size, or a file that cannot be written.
    """
    require(size is None or size >= SMALLEST_SIDE, f"--size is at least {SMALLEST_SIDE}", size)
    run, pictures = RunFolder(out), Pictures(out, root)
    results = [Result(place, pictures) for place in run.results()]
    if not results:
        raise InputError(f"{out} holds no finished results (cells/<label>/<item>/{RECORD}); pass the folder of a run")
    results.sort(key=lambda result: (result.place.item, result.place.label))
    metrics, set_metrics = build_metrics(names)
    size = size_of(out, results, size, anew, console)
    import torch  # takes seconds, which --help and mistakes in a call need not wait for

    broken: dict[Result, InputError] = {}
    with torch.inference_mode():
        groups = [results[start : start + BATCH] for start in range(0, len(results), BATCH)]
        for group in track(groups, "scores", console=console, transient=True):
            broken |= score_results(group, metrics, size)
            for result in group:
                result.features.clear()
        readable = [result for result in results if result not in broken or isinstance(broken[result], LostInput)]
        for label in sorted({result.place.label for result in results}) if set_metrics else ():
            own = [result for result in readable if result.place.label == label]
            score_set(run, label, own, set_metrics, size)
    console.print(summary(run, results, [*metrics, *set_metrics]))
    for result, error in broken.items():
        console.print(f"{result.place.label}/{result.place.item}: {reason_of(error)}", style="red", soft_wrap=True)
    return not broken


def summary(run: RunFolder, results: Sequence[Result], metrics: Sequence[Metric | SetMetric]) -> Table:
    """Per metric: how many values there are, and why others are not."""
    single = [stored(result.place.scores, Scores) for result in results]
    sets = [stored(run.sets(label), SetScores) for label in sorted({result.place.label for result in results})]
    table = listing("metric", "better", "values", "without", title=str(run.path))
    for metric in metrics:
        of_all = sets if is_of_sets(metric) else single
        found = [scores.metrics.get(metric.name) if scores else None for scores in of_all]
        reasons = Counter(score and score.reason for score in found if score is None or score.value is None)
        without = "\n".join(f"{count} {reason}" for reason, count in reasons.most_common(3))
        count = f"{len(found) - sum(reasons.values())}/{len(found)}"
        table.add_row(metric.name, {"up": "higher", "down": "lower"}[metric.direction], count, without)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.score", description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of a benchmark run")
    parser.add_argument("--metrics", help="names of conf/metric, separated by commas (default: all)")
    parser.add_argument(
        "--size",
        type=int,
        help="side in px all pictures are resized to (default: that of the scores that are there, else the results' "
        "own, the smallest where they differ)",
    )
    parser.add_argument("--anew", action="store_true", help="replace all scores of another size")
    parser.add_argument(
        "places", nargs="*", metavar="data.root=FOLDER", help="where the pictures are now, if elsewhere"
    )
    options = parser.parse_intermixed_args()
    with explained_errors():
        names, root = options.metrics and options.metrics.split(","), root_of(options.places)
        whole = score(options.out, names, options.size, plain_console(), root, options.anew)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
