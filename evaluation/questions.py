"""What the regional scores ask of an item: its regions and matches, made once and shared by all methods.

    python -m evaluation.questions OUT [model=sd15 encoder=dinov2 ...]

asks for every item of every method in OUT, by stages 1 and 2 of StyleGallery on the model of the overrides.
A question is a folder: content.png and reference_1.png ... (indexed label maps on the latent grid, index = label),
matches.json, and question.json, which is written last and says what the question was made from.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from PIL import Image
from rich.console import Console
from torch import Tensor

from data.benchmark import Item, item_generator, load_items
from evaluation.cells import enough_memory, lock, read_frozen, settings_of, writable
from evaluation.launchers import build
from evaluation.metric import Question
from evaluation.progress import Bars
from evaluation.provenance import weights_digests
from evaluation.record import Request
from stylegallery.errors import InputError
from stylegallery.matching import Match
from stylegallery.method import Progress, Silent
from stylegallery.pipeline import StyleGallery
from stylegallery.regions import region_count, write_indexed_png
from stylegallery.weights import first_line

SCHEMA = 1
QUESTION = "question.json"
CONFIGS = Path(__file__).parent.parent / "conf"


def ask_all(out: Path, overrides: Sequence[str], console: Console) -> int:
    """Ask of every item that any method in OUT has planned; questions that are there are kept.

    Returns how many items could not be asked, each with its reason printed.

    Raises:
        InputError: nothing was run in OUT, it cannot be written, or the method of the overrides cannot be built.
    """
    roots = [given.partition("=")[2] for given in overrides if given.startswith("data.root=")]
    overrides = [given for given in overrides if not given.startswith("data.root=")]
    items = planned_items(out, roots[-1] if roots else None)
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("config", overrides=["method=stylegallery", "resizing=square", *overrides])
    except HydraException as error:
        raise InputError(
            f"{' '.join(overrides)} are no settings of method=stylegallery ({first_line(error)})"
        ) from error
    settings = settings_of(config)["method"]
    weights_digests(settings)  # before any item: missing weights are nobody's failure but the settings'
    method, failed = cache(lambda: build(config.method)), 0
    with Bars(console) as bars:
        bar = bars.add_task("questions", total=len(items))
        for item in items:
            with writable(out), lock(out, f"questions/{item.id}"):
                reason = ask_item(method, item, settings, out / "questions" / item.id)
            if reason:
                console.print(f"{item.id} failed: {reason}", style="red", markup=False)
                failed += 1
            bars.advance(bar)
    return failed


def planned_items(out: Path, root: str | None) -> list[Item]:
    """Every item of every method in OUT, once, with the pictures in `root`.

    Raises:
        InputError: nothing was run in OUT, or the pictures of a benchmark are not all there.
    """
    frozen = [read_frozen(path) for path in sorted((out / "config").glob("*.yaml"))]
    if not frozen:
        raise InputError(f"{out} holds no benchmark run; start one with: python run.py data=stylegallery60 out={out}")
    items: dict[str, Item] = {}
    for job in frozen:
        data = {key: value for key, value in job["data"].items() if key != "masks"}  # those of one run, not of all
        data |= {"root": root} if root else {}
        items |= {item.id: item for item in load_items(data)[: job["limit"]]}
    return list(items.values())


def ask_item(method: Callable[[], StyleGallery], item: Item, settings: dict[str, Any], folder: Path) -> str:
    """Write the question of an item unless it is there; why that cannot be done, if it cannot.

    Raises:
        InputError: the method cannot be built, or the folder not be written: what no other item would change.
    """
    try:
        request = Request.of(item, 0, settings)
    except InputError as error:
        return str(error)
    if question_digest(folder) == request.digest():
        return ""
    asker = method()
    try:
        with enough_memory():
            question = ask(asker, item, item_generator(0, item))
        request.require_unchanged()
    except (InputError, FloatingPointError) as error:
        return str(error)
    write_question(folder, question, request)
    return ""


def ask(method: StyleGallery, item: Item, generator: torch.Generator, progress: Progress = Silent()) -> Question:
    """Stages 1 and 2 of StyleGallery on an item: which region should take its style from where.

    Raises:
        InputError: a picture, mask, pin or veto of the item cannot be used.
    """
    plan = method.plan(item, generator, progress)
    content, *references = [analysis.labels.cpu() for analysis in plan.analyses]
    return Question(content, references, plan.matches)


def write_question(folder: Path, question: Question, request: Request) -> None:
    """Write a question so that a reader sees all of it or none; `request` (inputs, config, code) addresses it.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / QUESTION).unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
            partial = Path(temporary)
            for name, labels in named_maps(question).items():
                write_indexed_png(partial / name, labels, (labels.shape[0], labels.shape[1]))
            matches = [asdict(match) for match in question.matches]
            (partial / "matches.json").write_text(json.dumps(matches, indent=1) + "\n")
            about = {"schema": SCHEMA, "digest": request.digest(), "references": len(question.reference_labels)}
            (partial / QUESTION).write_text(json.dumps(about | asdict(request), indent=1) + "\n")
            for path in sorted(partial.iterdir(), key=lambda path: path.name == QUESTION):
                with path.open("rb") as file:  # a power cut leaves whole files
                    os.fsync(file.fileno())
                path.replace(folder / path.name)
    except OSError as error:
        raise InputError(
            f"the question could not be written to {folder} ({error.strerror or error}); make room or pass another out="
        ) from error


def named_maps(question: Question) -> dict[str, Tensor]:
    references = {f"reference_{number}.png": labels for number, labels in enumerate(question.reference_labels, 1)}
    return {"content.png": question.content_labels} | references


def question_digest(folder: Path) -> str | None:
    """What the question in a folder was made from; None where there is no whole question."""
    try:
        read_question(folder)
        return str(json.loads((folder / QUESTION).read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_question(folder: Path) -> Question:
    """The question of a folder.

    Raises:
        InputError: there is none, or its files do not fit together.
    """
    try:
        about = json.loads((folder / QUESTION).read_text())
        content = read_labels(folder / "content.png")
        references = [read_labels(folder / f"reference_{n}.png") for n in range(1, about["references"] + 1)]
        matches = [Match(**match) for match in json.loads((folder / "matches.json").read_text())]
        counts = [region_count(labels) for labels in references]
        whole = about["schema"] == SCHEMA and sorted(match.content_region for match in matches) == list(
            range(1, region_count(content) + 1)
        )
        whole = whole and all(1 <= match.reference_region <= counts[match.reference - 1] for match in matches)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{folder} holds no readable question ({error}); delete it and run the items again") from error
    if not whole:
        raise InputError(f"{folder}: regions and matches do not fit together; delete it and run the items again")
    return Question(content, references, matches)


def read_labels(path: Path) -> Tensor:
    """Label map (h, w), int64, of an indexed PNG."""
    with Image.open(path) as image:
        if image.mode != "P":
            raise ValueError(f"{path.name} is no indexed PNG")
        return torch.from_numpy(np.asarray(image).astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.questions")
    parser.add_argument("out", type=Path, help="folder of a benchmark run")
    parser.add_argument("overrides", nargs="*", help="settings of method=stylegallery, such as model=sd15; data.root=")
    options = parser.parse_args()
    try:
        failed = ask_all(options.out, options.overrides, Console())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
