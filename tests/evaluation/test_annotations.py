"""With which settings annotations are made: those of the run, or what the user says on purpose."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Gallery
from omegaconf import DictConfig
from rich.console import Console

from evaluation import annotations
from evaluation.annotations import annotate_with_stylegallery, deciding
from evaluation.metric import Annotation
from evaluation.publish.commands import commands
from harness.folder import RunFolder
from harness.frozen import freeze, read_frozen
from stylegallery.contract import Item, Match
from stylegallery.errors import InputError


@pytest.fixture
def built_with(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every method that was built; its annotation is one region everywhere."""
    built: list[dict[str, Any]] = []
    whole = torch.ones(4, 4, dtype=torch.int64)

    def annotate(method: object, item: Any, generator: object) -> Annotation:
        return Annotation(whole, [whole] * len(item.references), [Match(1, 1, 1, 0, 0, 0, 0, False)])

    monkeypatch.setattr(annotations, "build", lambda settings, **_: built.append(settings))
    monkeypatch.setattr(annotations, "regions_and_matches", annotate)
    return built


@pytest.fixture
def out(tmp_path: Path, composed: Callable[..., DictConfig], gallery: Gallery) -> Path:
    """A run of StyleGallery with a model, a size and a clustering that are no defaults."""
    freeze(tmp_path / "out", "stylegallery", composed(*gallery.overrides(), "limit=2"))
    return tmp_path / "out"


def annotate(out: Path, *overrides: str, anew: bool = False) -> int:
    return annotate_with_stylegallery(out, overrides, Console(quiet=True), anew)


def configs(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(path.read_text())["config"]
        for path in sorted(out.glob("annotations/stylegallery/*/annotation.json"))
    ]


def test_how_an_item_is_painted_decides_no_annotation() -> None:
    settings = {"_target_": "x", "batch": 1, "time_budget": None, "guidance": {"steps": 3}, "segmentation": {"k": 1}}
    assert deciding(settings) == deciding(settings | {"batch": 8, "time_budget": 30, "guidance": {"steps": 4}})
    assert deciding(settings) != deciding(settings | {"segmentation": {"k": 2}})


def test_an_item_with_very_many_references_is_left_out(tmp_path: Path) -> None:
    item = Item("item", tmp_path / "content.png", tuple(tmp_path / f"{number}.png" for number in range(1000)))
    reason = annotations.annotate_item(pytest.fail, item, {}, tmp_path / "annotation")  # type: ignore[arg-type]
    assert reason.startswith("it has 1000 references, and annotations are of 999 at most")
    assert not (tmp_path / "annotation").exists()


def test_without_settings_those_of_the_run_decide(
    out: Path, built_with: list[dict[str, Any]], composed: Callable[..., DictConfig], tiny_model: Path
) -> None:
    assert annotate(out) == 0
    (settings,) = built_with
    assert settings["model"]["path"] == str(tiny_model) and settings["resolution"] == 64
    assert settings["segmentation"]["clusters"] == [3, 3]
    assert configs(out) == [deciding(settings)] * 2
    assert annotate(out) == 0 and len(built_with) == 1  # they are there


@pytest.mark.parametrize(
    "overrides, difference",
    [
        (("model=embedded",), "model.path: {model} there, embedded now"),
        (("model=sd15", "model.path={model}", "resolution=128"), "resolution: 64 there, 128 now"),
    ],
)
@pytest.mark.slow
def test_other_settings_than_those_of_the_run_are_refused(
    out: Path, built_with: list[dict[str, Any]], tiny_model: Path, overrides: tuple[str, ...], difference: str
) -> None:
    """Before the first annotation as after it: that of one command must not depend on what came first."""
    given = [override.format(model=tiny_model) for override in overrides]
    for what in ("stylegallery run", "annotations made"):
        with pytest.raises(InputError, match=f"holds {what} with other settings .*pass --anew") as refused:
            annotate(out, *given)
        assert difference.format(model=tiny_model) in str(refused.value)
        assert annotate(out) == 0
    assert len(built_with) == 1 and configs(out)[0]["model"]["path"] == str(tiny_model)


def test_annotations_of_earlier_versions_are_said_to_be_outdated(out: Path, built_with: list[dict[str, Any]]) -> None:
    RunFolder(out).outdated_annotations.mkdir()
    console = Console(file=io.StringIO(), width=500)
    assert annotate_with_stylegallery(out, [], console) == 0
    assert isinstance(console.file, io.StringIO) and f"{out}/questions is outdated" in console.file.getvalue()


@pytest.mark.slow
def test_annotations_are_replaced_on_purpose_only(
    out: Path, built_with: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(out)
    for arguments, model in ((["model=embedded"], None), (["--anew", "model=embedded"], "embedded")):
        monkeypatch.setattr("sys.argv", ["annotations", str(out), *arguments])
        with pytest.raises(SystemExit, match="0" if model else "2"):
            annotations.main()
    assert [config["model"]["path"] for config in configs(out)] == ["embedded"] * 2
    with pytest.raises(InputError, match=r"model\.path: embedded there"):
        annotate(out)  # those of the run are other settings now


def test_where_something_is_computed_or_lies_is_no_other_setting(out: Path, built_with: list[dict[str, Any]]) -> None:
    annotate(out)
    written = configs(out)
    for path in out.glob("annotations/stylegallery/*/annotation.json"):
        path.unlink()
    annotate(out, "device=cuda:7")
    assert built_with[1]["model"]["device"] == "cuda:7"
    assert configs(out) == written


def test_settings_of_stage_3_change_no_annotation(
    out: Path, built_with: list[dict[str, Any]], composed: Callable[..., DictConfig], gallery: Gallery
) -> None:
    """An ablation of the losses has one annotation, whichever labels were run."""
    frozen = out / "config" / "stylegallery.yaml"
    for name, change in (("a", "content_weight=0"), ("b", "style_weight=0")):
        freeze(out, f"stylegallery@{name}", composed(*gallery.overrides(), f"method.guidance.{change}", "limit=2"))
    frozen.unlink()
    assert annotate(out) == 0 and len(built_with) == 1


@pytest.mark.slow
def test_a_run_that_does_not_say_what_to_annotate_with_is_refused(
    out: Path, built_with: list[dict[str, Any]], composed: Callable[..., DictConfig], gallery: Gallery
) -> None:
    """None of StyleGallery, matches at random, or several that find other regions: a default would be a guess."""
    (out / "config" / "stylegallery.yaml").rename(out / "kept.yaml")
    own = [*gallery.overrides(), "limit=2"]
    freeze(out, "random", composed(*own, "method.matching.assignment=random"))
    with pytest.raises(InputError, match=r"no run of method=stylegallery, .*annotations .*out model=\.\.\."):
        annotate(out)
    for k in (2, 5):
        freeze(out, f"k={k}", composed(*own, f"method.segmentation.clusters=[{k},{k}]"))
    with pytest.raises(InputError, match=r"several ways to find regions and matches \(k=2, k=5\)"):
        annotate(out)
    assert annotate(out, "model=embedded") == 0  # as given
    (out / "kept.yaml").rename(out / "config" / "stylegallery.yaml")
    with pytest.raises(InputError, match="holds annotations made with other settings"):
        annotate(out)


@pytest.mark.parametrize("other", ["method=styleid", "method=global_style", "method.matching.assignment=random"])
def test_settings_that_find_no_regions_or_draw_matches_are_refused(
    out: Path, built_with: list[dict[str, Any]], other: str
) -> None:
    with pytest.raises(InputError, match=f"not drawn at random, not with {other}$"):
        annotate(out, other, anew=True)
    assert not built_with and not (out / "annotations").exists()


@pytest.mark.slow
def test_published_commands_annotate_with_the_same_settings(out: Path, built_with: list[dict[str, Any]]) -> None:
    """Where annotations have settings of their own, a comment says where these are."""
    sweep = SimpleNamespace(out=out, frozen={"stylegallery": read_frozen(out / "config" / "stylegallery.yaml")})
    study: Any = SimpleNamespace(
        sweep=sweep,
        ran=["stylegallery"],
        manifest="mixed60",
        experiment=SimpleNamespace(name="x", benchmarks=["mixed60"]),
    )
    annotate(out)
    remark = f"# annotations have settings that none of these runs has: they are in {out}/annotations"
    assert f"python -m evaluation.annotations {out}" in commands(study)
    assert remark not in commands(study)
    annotate(out, "model=embedded", "resolution=128", anew=True)
    assert remark in commands(study)
