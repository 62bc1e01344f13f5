"""Score every finished cell of a benchmark run; what is already scored is left alone.

    python -m evaluation.score OUT [data.root=FOLDER] [--metrics lpips_alex,csd] [--size 256] [--anew]

Each cell (OUT/cells/<label>/<item>/) gets scores.json beside its record, each label sets.json with the metrics of the
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
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from evaluation.annotations import annotation_digest, read_annotation
from evaluation.features import BATCH, MissingWeights
from evaluation.metric import ANNOTATORS, STYLEGALLERY, Annotation, Metric, Sample, SetMetric, is_of_sets
from evaluation.resampling import estimate_set
from evaluation.statistics import FEWEST
from harness.folder import RECORD, SETS, ResultFolder, RunFolder
from harness.locks import lock
from harness.pictures import Pictures, root_of
from harness.provenance import file_digest
from harness.record import Record, load_record, own_record
from harness.schemas import SCORED, SETS_SCORED, read
from stylegallery.command import listing, plain_console
from stylegallery.errors import InputError, printable, require
from stylegallery.files import replacing
from stylegallery.images import SMALLEST_SIDE, read_image

ANNOTATE = "python -m evaluation.annotations OUT --annotator"
CONFIGS = Path(__file__).parent.parent / "conf" / "metric"
AnyMetric = TypeVar("AnyMetric", Metric, SetMetric)
# {"value": float | None, "version": int, "reason": None | "missing: ..." | "failed: ..."}; of regional scores with the
# digest of the "annotation" they are about, of sets with "low", "high" and the number of different contents, "contents"
# (below `FEWEST` of them there is no interval, and the reason says so).
Row = dict[str, Any]


def build_metrics(names: Sequence[str] | None = None) -> tuple[list[Metric], list[SetMetric]]:
    """The metrics of conf/metric, or the named ones: those of single items and those of sets.

    Raises:
        InputError: a name that is none.
    """
    paths = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
    for name in names or ():
        if name not in paths:
            raise InputError(f"{name} is not a metric; pass some of: {', '.join(paths)}")
    metrics = [instantiate(OmegaConf.load(paths[name]), _convert_="all") for name in names or paths]
    return [m for m in metrics if not is_of_sets(m)], [m for m in metrics if is_of_sets(m)]


# --- reading ---


class LostInput(InputError):
    """The content or a reference of a result cannot be read or is another picture by now."""


@lru_cache(maxsize=64)  # neighbouring cells share their content and references, and with them the features
def read_picture(path: Path, modified: int, size: tuple[int, int] | None, digest: str | None) -> Tensor:
    """A picture at size (height, width), of that SHA-256 where one is given; `modified` is part of the cache's key."""
    image = read_image(path)
    if digest is not None and file_digest(path) != digest:
        raise InputError(f"{path} changed since the result; restore it or run the item again")
    if size is None or image.shape[-2:] == size:
        return image
    resized = F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)
    return (resized * 255).round() / 255  # 8 bit, as results are: an identity scores as one exactly


def picture(path: Path, size: tuple[int, int] | None = None, digest: str | None = None) -> Tensor:
    return read_picture(path, path.stat().st_mtime_ns if path.is_file() else 0, size, digest)


@dataclass(frozen=True)
class Cell:
    """One item done by one method. `features` lives as long as the cell, pictures only as long as they are used."""

    place: ResultFolder
    pictures: Pictures = field(compare=False, repr=False)
    features: dict[object, object] = field(default_factory=dict, compare=False, repr=False)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.pictures.out)

    @property
    def label(self) -> str:
        return self.place.label

    @property
    def item(self) -> str:
        return self.place.item

    def record(self) -> Record:
        """Raises InputError where it cannot be read."""
        return self.pictures.relocated(load_record(self.place.path))

    def depends_on(self) -> dict[str, str | None]:
        """What its scores are made of; nothing where the record cannot be read."""
        try:
            return self.record().depends_on(self.place.path)
        except InputError:
            return {}

    def sample(self, size: int | None) -> Sample:
        """All pictures at the size of the result, or `size` x `size`: the whole content, squeezed where it has another
        aspect.

        Raises:
            LostInput: the content or a reference cannot be read or changed since the result.
            InputError: the method failed on the item, or its picture or the record cannot be read.
        """
        record = self.record()
        if record.error is not None:
            raise InputError(record.error)
        image = picture(self.place.picture, (size, size) if size else None)
        shape = image.shape[-2], image.shape[-1]
        try:
            content, *references = [picture(Path(one.path), shape, one.sha256) for one in record.pictures.values()]
        except InputError as problem:
            raise LostInput(str(problem)) from problem
        return Sample(self.item, content, references, image, features=self.features)

    def annotated(self) -> dict[str, str | None]:
        """Annotator -> digest of its annotation of the item; None where there is none."""
        return {annotator: annotation_digest(self.run.annotation(annotator, self.item)) for annotator in ANNOTATORS}

    def annotation(self, annotator: str) -> Annotation | None:
        try:
            return read_annotation(self.run.annotation(annotator, self.item))
        except InputError:
            return None


class ReadWhenIndexed(Sequence[Sample]):
    """The samples of a set, whose pictures would not fit into memory together."""

    def __init__(self, cells: Sequence[Cell], size: int | None) -> None:
        self.cells, self.size = cells, size

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [cell.sample(self.size) for cell in self.cells[index]]
        return self.cells[index].sample(self.size)


# --- scoring ---


def reason_of(error: Exception) -> str:
    return str(error) if isinstance(error, MissingWeights) else printable(f"failed: {' '.join(str(error).split())}")


def row(metric: Metric | SetMetric, value: float | None, reason: str | None = None) -> Row:
    if value is not None and not math.isfinite(value):
        value, reason = None, f"failed: the value is {value}"
    return {"value": value, "version": metric.version, "reason": reason}


def evaluate(metric: Metric, samples: Sequence[Sample]) -> list[Row]:
    """One row per sample; where a batch fails, its samples are tried one by one."""
    if metric.kind == "regional" and any(sample.annotation is None for sample in samples):
        scored = iter(evaluate(metric, [sample for sample in samples if sample.annotation is not None]))
        return [
            next(scored) if sample.annotation else row(metric, None, f"missing: {ANNOTATE} {annotator_of(metric)}")
            for sample in samples
        ]
    try:
        return [row(metric, value) for value in metric(samples)]
    except MissingWeights as error:
        return [row(metric, None, reason_of(error)) for _ in samples]
    except (ValueError, RuntimeError, OSError) as error:
        if len(samples) == 1:
            return [row(metric, None, reason_of(error))]
        return [scored for sample in samples for scored in evaluate(metric, [sample])]


def evaluate_set(metric: SetMetric, samples: Sequence[Sample], contents: Sequence[str]) -> Row:
    """The score with its interval; `contents` says which content each sample has."""
    try:
        found = estimate_set(metric(samples), contents, metric.bounds)
    except (ValueError, RuntimeError, OSError) as error:
        return row(metric, None, reason_of(error)) | {"low": None, "high": None, "contents": None}
    few = f"no interval: {found.contents} different contents, fewer than {FEWEST}" if found.low is None else None
    return row(metric, found.value, few) | {"low": found.low, "high": found.high, "contents": found.contents}


def read_scores(path: Path) -> dict[str, Any]:
    """Raises InputError where there is no whole file of scores."""
    shape: TypeAdapter[Any] = SETS_SCORED if path.name == SETS else SCORED
    scores: dict[str, Any] = read(path, shape, "score again")
    return scores


def read_rows(path: Path, about: dict[str, Any]) -> dict[str, Row]:
    """The rows of a scores file that is about the same pictures and size; none of any other or of a damaged one."""
    try:
        scores = read_scores(path)
    except InputError:
        return {}
    return scores["metrics"] if all(scores[key] == value for key, value in about.items()) else {}


def annotator_of(metric: Metric | SetMetric) -> str:
    """Whose regions and matches a regional score is about."""
    return str(getattr(metric, "annotator", STYLEGALLERY))


def due(
    metrics: Iterable[AnyMetric], rows: dict[str, Row], annotated: Mapping[str, str | None] = MappingProxyType({})
) -> list[AnyMetric]:
    """Metrics without a value of their present version, and regional ones that are about another annotation."""

    def valid(metric: AnyMetric) -> bool:
        found = rows.get(metric.name, {})
        current = metric.kind != "regional" or found.get("annotation") == annotated.get(annotator_of(metric))
        return found.get("value") is not None and found["version"] == metric.version and current

    return [metric for metric in metrics if not valid(metric)]


def write_rows(out: Path, path: Path, about: dict[str, Any], rows: dict[str, Row]) -> None:
    """Add rows to a scores file; those that it has of the same pictures and size stay, other processes' too.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with lock(out, "scores"), replacing(path) as temporary:
            metrics = dict(sorted((read_rows(path, about) | rows).items()))
            temporary.write_text(json.dumps({"metrics": metrics, **about}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); make room or check permissions") from error


def score_cells(cells: Sequence[Cell], metrics: Sequence[Metric], size: int | None) -> dict[Cell, InputError]:
    """Write scores.json of some cells; returns those that cannot be scored and why. What they were scored before, of
    the same picture, stays."""
    broken: dict[Cell, InputError] = {}
    samples: list[Sample] = []
    waiting: list[tuple[Cell, dict[str, Any], dict[str, Row]]] = []
    annotated = {cell: cell.annotated() for cell in cells}
    for cell in cells:
        pictures = cell.depends_on()
        about: dict[str, Any] = {"pictures": pictures, "size": size}
        rows = read_rows(cell.place.scores, about)
        missing = due(metrics, rows, annotated[cell])
        if pictures.get("result") and not missing:
            continue
        try:
            samples.append(cell.sample(size))
            waiting.append((cell, about, rows))
        except InputError as error:
            broken[cell] = error
            failed = {metric.name: row(metric, None, reason_of(error)) for metric in missing}
            write_rows(cell.run.path, cell.place.scores, about, failed)
    annotations = {(cell, annotator): cell.annotation(annotator) for cell, *_ in waiting for annotator in ANNOTATORS}
    for metric in metrics:
        annotator = annotator_of(metric)
        wanting = [index for index, (cell, _, rows) in enumerate(waiting) if due([metric], rows, annotated[cell])]
        given = [replace(samples[index], annotation=annotations[waiting[index][0], annotator]) for index in wanting]
        for index, scored in zip(wanting, evaluate(metric, given), strict=True):
            about_it = {"annotation": annotated[waiting[index][0]][annotator]} if metric.kind == "regional" else {}
            waiting[index][2][metric.name] = scored | about_it
    for cell, about, rows in waiting:
        write_rows(cell.run.path, cell.place.scores, about, {metric.name: rows[metric.name] for metric in metrics})
    return broken


def score_set(
    run: RunFolder, label: str, cells: Sequence[Cell], metrics: Sequence[SetMetric], size: int | None
) -> None:
    """Write sets.json of a label from its cells with readable results, with their number N; values that are there for
    these stay, whether or not the inputs can still be read."""
    pictures = {cell.item: cell.depends_on() for cell in cells}
    items = hashlib.sha256(json.dumps(list(pictures)).encode()).hexdigest()
    about = {"pictures": pictures, "items": items, "size": size, "n": len(cells)}
    rows = read_rows(run.sets(label), about)
    fresh = [Cell(cell.place, cell.pictures) for cell in cells]  # with features of their own, freed with the set
    contents = [str(made_of.get("content")) for made_of in pictures.values()]
    for metric in due(metrics, rows):
        rows[metric.name] = evaluate_set(metric, ReadWhenIndexed(fresh, size), contents)
    write_rows(run.path, run.sets(label), about, rows)


def common_size(cells: Sequence[Cell], console: Console) -> int | None:
    """The smallest side of any result where results differ in size; None where every picture keeps its own.

    Most scores depend on the size, so methods that paint at another one must not be compared at theirs.
    """
    sizes: dict[str, set[tuple[int, int]]] = {}
    for cell in cells:
        record = own_record(cell.place.path)
        if record and record.size:
            sizes.setdefault(cell.item, set()).add(record.size)
    if all(len(found) == 1 for found in sizes.values()):
        return None
    smallest = min(side for found in sizes.values() for size in found for side in size)
    console.print(
        f"results of one item differ in size: all are scored at {smallest}x{smallest} px; --size takes another"
    )
    return smallest


def scored_at(cells: Sequence[Cell]) -> set[int | None]:
    """The sizes that results were scored at before."""
    paths = {cell.place.scores for cell in cells} | {cell.run.sets(cell.label) for cell in cells}
    found: set[int | None] = set()
    for path in paths:
        with suppress(InputError):
            found.add(read_scores(path)["size"])
    return found


def size_of(out: Path, cells: Sequence[Cell], given: int | None, anew: bool, console: Console) -> int | None:
    """The size to score at: the given one, else that of the scores that are there, unless a result is smaller by now.

    Raises:
        InputError: results were scored at another size than the given one, and not `anew`.
    """
    before = scored_at(cells)
    if given and before - {given} and not anew:
        sizes = " and ".join(sorted("their own size" if size is None else f"{size} px" for size in before - {given}))
        raise InputError(
            f"{out} holds scores of results at {sizes}; leave out --size to go on there, or pass --anew to replace "
            f"them by scores at {given} px"
        )
    if not given and not anew and len(before) == 1 and (kept := next(iter(before))):
        common = common_size(cells, Console(quiet=True))
        if common is None or kept <= common:
            console.print(f"results are scored at {kept} px, as before; --size takes another")
            return kept
    return given or common_size(cells, console)


def score(
    out: Path, names: Sequence[str] | None, size: int | None, console: Console, root: str | None = None,
    anew: bool = False,
) -> bool:  # fmt: skip
    """Score a run and print a summary; whether every cell could be scored. `root` is where pictures were moved to;
    `anew`: replace scores of another size.

    Raises:
        InputError: no cells in `out`, an unknown metric, scores of another size, or a file that cannot be written.
    """
    require(size is None or size >= SMALLEST_SIDE, f"--size is at least {SMALLEST_SIDE}", size)
    run, pictures = RunFolder(out), Pictures(out, root)
    cells = [Cell(place, pictures) for place in run.results()]
    if not cells:
        raise InputError(f"{out} holds no finished cells (cells/<label>/<item>/{RECORD}); pass the folder of a run")
    cells.sort(key=lambda cell: (cell.item, cell.label))
    metrics, set_metrics = build_metrics(names)
    size = size_of(out, cells, size, anew, console)
    broken: dict[Cell, InputError] = {}
    with torch.inference_mode():
        groups = [cells[start : start + BATCH] for start in range(0, len(cells), BATCH)]
        for group in track(groups, "scores", console=console, transient=True):
            broken |= score_cells(group, metrics, size)
            for cell in group:
                cell.features.clear()
        readable = [cell for cell in cells if cell not in broken or isinstance(broken[cell], LostInput)]
        for label in sorted({cell.label for cell in cells}) if set_metrics else ():
            own = [cell for cell in readable if cell.label == label]
            score_set(run, label, own, set_metrics, size)
    console.print(summary(out, cells, [*metrics, *set_metrics]))
    for cell, error in broken.items():
        console.print(f"{cell.label}/{cell.item}: {reason_of(error)}", style="red", soft_wrap=True)
    return not broken


def summary(out: Path, cells: Sequence[Cell], metrics: Sequence[Metric | SetMetric]) -> Table:
    """Per metric: how many values there are, and why others are not."""
    files = [cell.place.scores for cell in cells]
    sets = [RunFolder(out).sets(label) for label in sorted({cell.label for cell in cells})]
    table = listing("metric", "better", "values", "without", title=str(out))
    for metric in metrics:
        rows = [read_rows(path, {}).get(metric.name, {}) for path in (sets if is_of_sets(metric) else files)]
        reasons = Counter(row.get("reason") for row in rows if row.get("value") is None)
        without = "\n".join(f"{count} {reason}" for reason, count in reasons.most_common(3))
        count = len(rows) - sum(reasons.values())
        table.add_row(metric.name, {"up": "higher", "down": "lower"}[metric.direction], f"{count}/{len(rows)}", without)
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
    options = parser.parse_args()
    try:
        names, root = options.metrics and options.metrics.split(","), root_of(options.places)
        whole = score(options.out, names, options.size, plain_console(), root, options.anew)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
