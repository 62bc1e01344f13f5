"""Annotations: the regions and matches of items that regional scores ask about, made once and shared by all methods.

    python -m evaluation.annotations OUT [--annotator NAME] [--anew] [model=sd15 encoder=dinov2 ...]

annotates every item of every method in OUT, twice. The annotator `stylegallery` runs stages 1 and 2 of StyleGallery
with the settings of its label in OUT. Settings need to be given only where OUT has no such label. Other settings than
those of the run, or of the annotations that are there, are refused; --anew replaces the annotations. The annotator
`independent` (see `evaluation.independent`) has no settings.
`evaluation.annotation_files` says what files an annotation has.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from rich.console import Console

from data.benchmark import MASKS, load_items
from evaluation.annotation_files import MOST_REFERENCES, annotation_digest, read_source, write_annotation
from evaluation.metric import ANNOTATORS, INDEPENDENT, STYLEGALLERY, Annotation
from harness.building import build
from harness.folder import RunFolder
from harness.frozen import METHODS, differences, first_of, read_frozen, require_declared, settings_of
from harness.locks import lock
from harness.record import Request
from stylegallery.command import explained_errors, plain_console
from stylegallery.contract import Item, Progress, Silent
from stylegallery.errors import InputError
from stylegallery.files import writable
from stylegallery.memory import enough_memory
from stylegallery.overrides import CONFIGS, in_one_sentence
from stylegallery.overrides import composed as method_and_store
from stylegallery.progress import Bars
from stylegallery.provenance import weights_digests, with_absolute_paths

if TYPE_CHECKING:  # the networks take seconds to import, which --help and errors of settings need not wait for
    import torch

    from stylegallery.pipeline import StyleGallery

TARGET = "stylegallery.pipeline.StyleGallery"
Annotate = Callable[[Item], Annotation]
PLACES = ("data.root=", "device=", "store")  # where things are; settings decide annotations


def annotate_with_stylegallery(out: Path, overrides: Sequence[str], console: Console, anew: bool = False) -> int:
    """Annotate every item that any method in OUT has planned; annotations that are there are kept.

    `anew`: replace annotations that were made with other settings.
    Returns how many items could not be annotated, each with its reason printed.

    Raises:
        InputError: nothing was run in OUT, it cannot be written, the settings are others than before, or their method
            cannot be built.
    """
    given = dict(override.split("=", 1) for override in overrides if override.startswith(PLACES))
    overrides = [override for override in overrides if not override.startswith(PLACES)]
    runs = frozen_runs(out)
    if (old := RunFolder(out).outdated_annotations).is_dir():
        console.print(f"{old} is outdated: an earlier version of this code wrote it, and nothing reads it; delete it")
    items = planned_items(runs.values(), given.get("data.root"))
    settings = composed(overrides) if overrides else settings_of_run(out, runs)
    if "device" in given:
        settings = on_device(settings, given["device"])
    if not anew:
        require_same(out, runs, settings)
    weights_digests(settings)  # before any item: missing weights are an error of the settings, not of items
    _, store = method_and_store([f"{name}={value}" for name, value in given.items() if name.startswith("store")])

    def load() -> Annotate:
        from stylegallery.draws import generator_for

        method = build(settings, store=store)
        return lambda item: regions_and_matches(method, item, generator_for(method, 0, item))

    return annotate_items(out, STYLEGALLERY, items, deciding(settings), load, console)


def annotate_independently(out: Path, overrides: Sequence[str], console: Console) -> int:
    """Annotate every item that any method in OUT has planned; returns as `annotate_with_stylegallery`.

    Raises:
        InputError: nothing was run in OUT, it cannot be written, or `overrides` has more than places.
    """
    from evaluation.independent import IndependentAnnotator

    given = dict(override.split("=", 1) for override in overrides if override.startswith(PLACES))
    if len(given) < len(overrides):
        raise InputError("the independent annotator has no settings; pass data.root= at most")
    items = planned_items(frozen_runs(out).values(), given.get("data.root"), labelled=True)
    settings = {"_target_": f"{IndependentAnnotator.__module__}.{IndependentAnnotator.__qualname__}"}
    return annotate_items(out, INDEPENDENT, items, settings, lambda: IndependentAnnotator().annotate, console)


def annotate_items(
    out: Path, annotator: str, items: Sequence[Item], settings: dict[str, Any], load: Callable[[], Annotate],
    console: Console,
) -> int:  # fmt: skip
    """Write the annotations that are missing; returns how many items failed, each with its reason printed.

    `settings` decide the annotations; `load` is called when the first item needs it, and raises what fails for all.
    """
    failed, load = 0, cache(load)
    with Bars(console) as bars:
        bar = bars.add_task(f"annotations, {annotator}", total=len(items))
        for item in items:
            folder = RunFolder(out).annotation(annotator, item.id)
            with writable(out), lock(out, f"annotations/{annotator}/{item.id}"):
                reason = annotate_item(load, item, settings, folder)
            if reason:
                console.print(f"{item.id} failed: {reason}", style="red", markup=False)
                failed += 1
            bars.advance(bar)
    return failed


# --- which items, and with which settings ---


def frozen_runs(out: Path) -> dict[str, dict[str, Any]]:
    """Label -> frozen settings. Raises InputError where nothing was run in OUT."""
    runs = {label: read_frozen(RunFolder(out).settings(label)) for label in RunFolder(out).labels()}
    if not runs:
        raise InputError(f"{out} holds no benchmark run; start one with: python run.py data=stylegallery60 out={out}")
    return runs


def planned_items(runs: Iterable[Mapping[str, Any]], root: str | None, labelled: bool = False) -> list[Item]:
    """Every item of every method, once, with the pictures in `root`. `labelled`: with masks, from data/masks for
    pictures of a benchmark, from the folder `data.masks` for the user's own.

    Raises:
        InputError: the pictures of a benchmark are not all there.
    """
    from evaluation.independent import with_labels

    items: dict[str, Item] = {}
    for run in runs:
        data = dict(run["data"]) | ({"root": root} if root else {})
        masks = data.pop("masks", None)  # those of one run do not count for all
        loaded = load_items(data)[: run["limit"]]
        folder = MASKS / data["files"] if "files" in data else Path(masks) if masks else None
        if labelled and folder:
            loaded = [with_labels(item, folder) for item in loaded]
        items |= {item.id: item for item in loaded if item.mask or item.id not in items}
    return list(items.values())


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of method=stylegallery with overrides.

    Raises:
        InputError: there are no such settings, or they find no regions or draw their matches.
    """
    with in_one_sentence(overrides), initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("config", overrides=["method=stylegallery", "resizing=square", *overrides])
        settings: dict[str, Any] = with_absolute_paths(settings_of(config)["method"])
    if not can_annotate(settings):
        raise InputError(
            "annotations are made with method=stylegallery and matches that are not drawn at random, not with "
            + " ".join(overrides)
        )
    return settings


def can_annotate(settings: Mapping[str, Any]) -> bool:
    """Whether settings are StyleGallery's and do not draw the matches at random, which would say nothing of an item."""
    return settings.get("_target_") == TARGET and settings["matching"].get("assignment") != "random"


def candidates(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Label -> settings that annotations can be made with: those of `stylegallery`, where it was run, else those of one
    label for each different way to find regions and matches."""
    found: dict[str, dict[str, Any]] = {}
    for label, run in sorted(runs.items(), key=lambda pair: pair[0] != "stylegallery"):
        settings = run["method"]
        if can_annotate(settings):
            if label == "stylegallery":
                return {label: settings}
            if all(differences(deciding(other), deciding(settings)) for other in found.values()):
                found[label] = settings
    return found


def settings_of_run(out: Path, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Raises InputError where OUT has no label of StyleGallery, or several that find other regions and matches."""
    found = candidates(runs)
    if len(found) == 1:
        ((label, settings),) = found.items()
        require_declared(settings, METHODS, RunFolder(out).settings(label))
        return settings
    has = f"several ways to find regions and matches ({', '.join(found)})" if found else "no run of method=stylegallery"
    raise InputError(
        f"{out} holds {has}, so that the settings to annotate with must be given: "
        f"python -m evaluation.annotations {out} model=... encoder=... resolution=...; "
        "--annotator independent needs none"
    )


def require_same(out: Path, runs: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Raises InputError where annotations were made with other settings; before there are any, where StyleGallery was
    run with others."""
    before = [("annotations made", config) for config in annotated_with(out)]
    if not before and len(found := candidates(runs)) == 1:
        before = [(f"{label} run", config) for label, config in found.items()]
    for what, config in before:
        if changed := differences(deciding(config), deciding(settings)):
            raise InputError(
                f"{out} holds {what} with other settings ({first_of(changed)}); annotate with those, or pass --anew to "
                "annotate every item with the new ones"
            )


def annotated_with(out: Path) -> list[dict[str, Any]]:
    """The different settings that the annotations of OUT were made with; unreadable annotations are left out."""
    configs: dict[str, dict[str, Any]] = {}
    for folder in RunFolder(out).annotations(STYLEGALLERY):
        with suppress(InputError):
            config = read_source(folder).config
            configs[json.dumps(config, sort_keys=True)] = config
    return list(configs.values())


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of stages 1 and 2; those of stage 3 and the device do not decide regions and matches."""
    kept = {
        key: value
        for key, value in settings.items()
        if key not in ("guidance", "recolouring", "contrast", "time_budget", "batch", "device")
    }
    return {key: deciding(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def on_device(settings: Mapping[str, Any], device: str) -> dict[str, Any]:
    """The settings with every `device` in them replaced."""
    return {
        key: device if key == "device" else on_device(value, device) if isinstance(value, Mapping) else value
        for key, value in settings.items()
    }


# --- one item ---


def annotate_item(load: Callable[[], Annotate], item: Item, settings: dict[str, Any], folder: Path) -> str:
    """Write the annotation of an item unless it is there; why that cannot be done, if it cannot.

    Raises:
        InputError: the method cannot be built, or the folder cannot be written: other items would fail the same way.
    """
    if (count := len(item.references)) > MOST_REFERENCES:
        return (
            f"it has {count} references, and annotations are of {MOST_REFERENCES} at most; regional scores leave it out"
        )
    try:
        request = Request.of(item, 0, settings)
    except InputError as error:
        return str(error)
    if annotation_digest(folder) == request.digest():
        return ""
    annotate = load()
    try:
        with enough_memory():
            annotation = annotate(item)
        request.require_unchanged()
    except (InputError, FloatingPointError) as error:
        return str(error)
    write_annotation(folder, annotation, request)
    return ""


def regions_and_matches(
    method: "StyleGallery", item: Item, generator: "torch.Generator", progress: Progress = Silent()
) -> Annotation:
    """Stages 1 and 2 of StyleGallery on an item: which region should take its style from where.

    Raises:
        InputError: a picture, mask, pin or veto of the item cannot be used.
    """
    plan = method.plan(item, generator, progress)
    content, *references = [analysis.labels.cpu() for analysis in plan.analyses]
    return Annotation(content, references, plan.matches)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.annotations")
    parser.add_argument("out", type=Path, help="folder of a benchmark run")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="data.root=, device=, store=; settings of method=stylegallery, such as model=sd15, where OUT has no run "
        "of it",
    )
    parser.add_argument("--anew", action="store_true", help="replace annotations that were made with other settings")
    parser.add_argument("--annotator", choices=ANNOTATORS, help="one of the annotators (default: all)")
    options = parser.parse_intermixed_args()
    chosen = [options.annotator] if options.annotator else list(ANNOTATORS)
    places = [override for override in options.overrides if override.startswith(PLACES)]
    failed = 0
    with explained_errors():
        if STYLEGALLERY in chosen:
            failed += annotate_with_stylegallery(options.out, options.overrides, plain_console(), options.anew)
        if INDEPENDENT in chosen:
            failed += annotate_independently(
                options.out, options.overrides if len(chosen) == 1 else places, plain_console()
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
