"""With which settings questions are asked: those of the run, or what the user says on purpose."""

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

from evaluation import questions
from evaluation.metric import Question
from evaluation.publish.commands import commands
from evaluation.questions import ask_all, deciding
from harness.frozen import freeze
from harness.stored import read_frozen
from stylegallery.contract import Match
from stylegallery.errors import InputError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every method that was built to ask; its answer is one region everywhere."""
    built: list[dict[str, Any]] = []
    whole = torch.ones(4, 4, dtype=torch.int64)

    def answer(method: object, item: Any, generator: object) -> Question:
        return Question(whole, [whole] * len(item.references), [Match(1, 1, 1, 0, 0, 0, 0, False)])

    monkeypatch.setattr(questions, "build", built.append)
    monkeypatch.setattr(questions, "ask", answer)
    return built


@pytest.fixture
def out(tmp_path: Path, composed: Callable[..., DictConfig], gallery: Gallery) -> Path:
    """A run of StyleGallery with a model, a size and a clustering that are no defaults."""
    freeze(tmp_path / "out", "stylegallery", composed(*gallery.overrides(), "limit=2"))
    return tmp_path / "out"


def ask(out: Path, *overrides: str, anew: bool = False) -> int:
    return ask_all(out, overrides, Console(quiet=True), anew)


def configs(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["config"] for path in sorted(out.glob("questions/*/question.json"))]


def test_without_settings_those_of_the_run_ask(
    out: Path, asked: list[dict[str, Any]], composed: Callable[..., DictConfig], tiny_model: Path
) -> None:
    assert ask(out) == 0
    (settings,) = asked
    assert settings["model"]["path"] == str(tiny_model) and settings["resolution"] == 64
    assert settings["segmentation"]["clusters"] == [3, 3]
    assert configs(out) == [deciding(settings)] * 2
    assert ask(out) == 0 and len(asked) == 1  # they are there


@pytest.mark.parametrize(
    "overrides, difference",
    [
        (("model=embedded",), "model.path: {model} there, embedded now"),
        (("model=sd15", "model.path={model}", "resolution=128"), "resolution: 64 there, 128 now"),
    ],
)
def test_other_settings_than_those_of_the_run_are_refused(
    out: Path, asked: list[dict[str, Any]], tiny_model: Path, overrides: tuple[str, ...], difference: str
) -> None:
    """Before the first question as after it: that of one command must not depend on what came first."""
    given = [override.format(model=tiny_model) for override in overrides]
    for what in ("stylegallery run", "questions asked"):
        with pytest.raises(InputError, match=f"holds {what} with other settings .*pass --anew") as refused:
            ask(out, *given)
        assert difference.format(model=tiny_model) in str(refused.value)
        assert ask(out) == 0
    assert len(asked) == 1 and configs(out)[0]["model"]["path"] == str(tiny_model)


def test_questions_are_replaced_on_purpose_only(
    out: Path, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(out)
    for arguments, model in ((["model=embedded"], None), (["--anew", "model=embedded"], "embedded")):
        monkeypatch.setattr("sys.argv", ["questions", str(out), *arguments])
        with pytest.raises(SystemExit, match="0" if model else "2"):
            questions.main()
    assert [config["model"]["path"] for config in configs(out)] == ["embedded"] * 2
    with pytest.raises(InputError, match=r"model\.path: embedded there"):
        ask(out)  # those of the run are other settings now


def test_where_something_is_computed_or_lies_is_no_other_setting(out: Path, asked: list[dict[str, Any]]) -> None:
    ask(out)
    written = configs(out)
    for path in out.glob("questions/*/question.json"):
        path.unlink()
    ask(out, "device=cuda:7")
    assert asked[1]["model"]["device"] == "cuda:7"
    assert configs(out) == written


def test_settings_of_stage_3_ask_nothing_new(
    out: Path, asked: list[dict[str, Any]], composed: Callable[..., DictConfig], gallery: Gallery
) -> None:
    """An ablation of the losses has one question, whichever labels were run."""
    frozen = out / "config" / "stylegallery.yaml"
    for name, change in (("a", "content_weight=0"), ("b", "style_weight=0")):
        freeze(out, f"stylegallery@{name}", composed(*gallery.overrides(), f"method.guidance.{change}", "limit=2"))
    frozen.unlink()
    assert ask(out) == 0 and len(asked) == 1


def test_a_run_that_does_not_say_what_to_ask_with_is_refused(
    out: Path, asked: list[dict[str, Any]], composed: Callable[..., DictConfig], gallery: Gallery
) -> None:
    """None of StyleGallery, matches at random, or several that find other regions: a default would be a guess."""
    (out / "config" / "stylegallery.yaml").rename(out / "kept.yaml")
    own = [*gallery.overrides(), "limit=2"]
    freeze(out, "random", composed(*own, "method.matching.assignment=random"))
    with pytest.raises(InputError, match=r"no run of method=stylegallery, .*questions .*out model=\.\.\."):
        ask(out)
    for k in (2, 5):
        freeze(out, f"k={k}", composed(*own, f"method.segmentation.clusters=[{k},{k}]"))
    with pytest.raises(InputError, match=r"several ways to find regions and matches \(k=2, k=5\)"):
        ask(out)
    assert ask(out, "model=embedded") == 0  # as given
    (out / "kept.yaml").rename(out / "config" / "stylegallery.yaml")
    with pytest.raises(InputError, match="holds questions asked with other settings"):
        ask(out)


@pytest.mark.parametrize("other", ["method=styleid", "method=global_style", "method.matching.assignment=random"])
def test_settings_that_find_no_regions_or_draw_matches_are_refused(
    out: Path, asked: list[dict[str, Any]], other: str
) -> None:
    with pytest.raises(InputError, match=f"not drawn at random, not with {other}$"):
        ask(out, other, anew=True)
    assert not asked and not (out / "questions").exists()


def test_published_commands_ask_as_was_asked(out: Path, asked: list[dict[str, Any]]) -> None:
    """With the settings of the run none are given, and with others those that make them."""
    sweep = SimpleNamespace(out=out, frozen={"stylegallery": read_frozen(out / "config" / "stylegallery.yaml")})
    study: Any = SimpleNamespace(
        sweep=sweep, ran=["stylegallery"], manifest="mixed60", experiment=SimpleNamespace(name="x", data="mixed60")
    )
    ask(out)
    assert commands(study)[1] == f"python -m evaluation.questions {out}"
    ask(out, "model=embedded", "resolution=128", anew=True)
    assert commands(study)[1] == f"python -m evaluation.questions {out} method.resolution=128 --anew"
