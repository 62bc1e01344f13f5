"""The user study: its design, key and page, what votes are refused, and what simulated people of known taste give."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from composing import ROOT
from conftest import paint
from documented import call, commands, has_bash
from voting import METRIC, OPPOSITE, TASTE, paint_run, prefers, simulated, write_ballots

from evaluation.study.__main__ import main
from evaluation.study.analysis import PEOPLE, abilities, rank_correlation, undecided
from evaluation.study.design import KINDS, all_questions, draw_plans
from evaluation.study.files import SCHEMA, Study, read_study
from evaluation.study.outlines import outline, regions_of
from stylegallery.contract import Match
from stylegallery.files import notice

METHODS = sorted(TASTE)
ITEMS = [f"item{number}" for number in range(6)]
ASKED = all_questions(ITEMS, METHODS, ["reference 1"] * len(ITEMS))
EXPORT = ["--annotator", "stylegallery", "--items", "12", "--questions", "12", "--plans", "20", "--side", "64"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a study of twelve items of ten contents."""
    out = paint_run(tmp_path_factory.mktemp("study") / "run")
    main(["export", str(out), *EXPORT])
    return out


@pytest.fixture
def out(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported.parent, tmp_path / "copy") / exported.name


@pytest.fixture
def study(out: Path) -> Study:
    return read_study(out / "study")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that a command ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def table(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out / "study" / f"{name}.csv")


# --- design ---


def test_pairs_questions_and_sides_are_balanced() -> None:
    """30 plans of 6 are 180 votes of a kind: 60 of each of 3 pairs, 10 of each of 18 questions, half on either side."""
    plans = draw_plans(ASKED, 6, 2, 30, seed=3)
    shown = [(ASKED[one.question], one.flipped) for plan in plans for one in plan]
    votes = [(question, flipped) for question, flipped in shown if not question.check]
    assert set(Counter((question.kind, question.pictures) for question, _ in votes).values()) == {60}
    assert set(Counter(question for question, _ in votes).values()) == {10}
    assert set(Counter(votes).values()) == {5}
    checks = Counter((question.kind, flipped) for question, flipped in shown if question.check)
    assert set(checks.values()) == {30}


@pytest.mark.parametrize("items", [5, 6])
def test_no_pair_leans_to_a_side_before_all_was_asked(items: int) -> None:
    asked = all_questions(ITEMS[:items], METHODS, ["reference 1"] * items)
    for plans in range(1, 12):
        shown = [one for plan in draw_plans(asked, 4, 0, plans, seed=plans) for one in plan]
        lean = Counter[object]()
        for one in shown:
            lean[asked[one.question].kind, asked[one.question].pictures] += 1 if one.flipped else -1
        assert max(map(abs, lean.values())) <= 2


def test_a_plan_has_each_kind_together_and_nothing_twice() -> None:
    plans = draw_plans(ASKED, 17, 2, 8, seed=0)
    for number, plan in enumerate(plans):
        questions = [ASKED[one.question] for one in plan]
        assert len(set(questions)) == len(plan) == 38
        halves = [{question.kind for question in part} for part in (questions[:19], questions[19:])]
        assert halves == [{kind} for kind in (KINDS if number % 2 == 0 else KINDS[::-1])]
        for part in (questions[:19], questions[19:]):
            assert [question.check for question in part].count(True) == 2 and not part[0].check
    assert len({tuple(plan) for plan in plans}) == len(plans)


def test_a_seed_decides_all_plans() -> None:
    assert draw_plans(ASKED, 6, 1, 5, seed=1) == draw_plans(ASKED, 6, 1, 5, seed=1)
    assert draw_plans(ASKED, 6, 1, 5, seed=1) != draw_plans(ASKED, 6, 1, 5, seed=2)


# --- regions ---


def area(path: str) -> float:
    """Of an SVG path with the rule evenodd, as a share of its box; holes run the other way round."""
    total = 0.0
    for line in re.findall(r"M([^Z]+)Z", path):
        x, y = np.array(line.split(), dtype=float).reshape(-1, 2).T
        total += float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    return abs(total) / 1000**2


@pytest.mark.slow
def test_outlines_hold_their_regions_with_holes() -> None:
    inside = np.zeros((40, 60), dtype=bool)
    inside[:20] = True
    assert area(outline(inside)) == pytest.approx(0.5, abs=0.002)
    inside[5:15, 20:40] = False
    assert area(outline(inside)) == pytest.approx(0.5 - 1 / 12, abs=0.005)


@pytest.mark.slow
def test_references_are_shown_with_the_parts_that_are_taken() -> None:
    labels = np.repeat([[1], [2], [3]], 12, 0) * np.ones((1, 12), dtype=np.int64)
    labels[24:] = 2  # two thirds of the content
    matches = [Match(1, 2, 1, 1.0, 0.0, 0.0, 0.0, False), Match(2, 3, 1, 1.0, 0.0, 0.0, 0.0, False)]
    found = regions_of(labels, [labels] * 3, matches)
    assert found["references"] == [3, 2]  # the first is taken by nobody, the third gives most
    assert [(part["reference"], part["takers"]) for part in found["parts"]] == [(1, [1]), (0, [2])]


# --- export ---


def blocks_of(page: Path) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page.read_text(), re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_the_page_has_all_pictures_and_names_no_method(exported: Path) -> None:
    page, key = exported / "study" / "study.html", read_study(exported / "study")
    text, blocks = page.read_text(), blocks_of(page)
    assert not [name for name in (*TASTE, *key.contents, "stylegallery", str(exported)) if f'"{name}' in text]
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text) and "default-src 'none'" in text
    assert len(blocks) == 1 + 10 + 2 + 3  # data, contents, references, results: each once
    assert len(key.contents) == 12 and len(set(key.contents.values())) == 10
    assert blocks["data"]["study"] == key.digest()
    for asked, question in zip(blocks["data"]["questions"], key.questions, strict=True):
        item = blocks["data"]["items"][asked["item"]]
        if question.check:
            right, wrong = asked["pictures"] if question.kind == "content" else asked["pictures"][::-1]
            assert (right, wrong) == (item["content"], item["references"][0])


@pytest.mark.slow
def test_a_seed_decides_every_byte(exported: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        main(["export", str(exported), *EXPORT, "--seed", seed, "--to", str(tmp_path / name)])
    for name in ("study.html", "key.json"):
        first, again, other = ((tmp_path / run / name).read_bytes() for run in "abc")
        assert first == again != other


def test_a_study_whose_votes_may_be_under_way_is_kept(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (out / "study" / "key.json").read_bytes()
    assert "holds another study" in refused(capsys, "export", out, *EXPORT, "--seed", 1)
    assert (out / "study" / "key.json").read_bytes() == before
    main(["export", str(out), *EXPORT])
    assert (out / "study" / "key.json").read_bytes() == before


def test_what_cannot_be_asked_is_refused(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*options: object) -> str:
        return refused(capsys, "export", out, *EXPORT, "--to", tmp_path / "other", *options)

    assert "at least two methods" in said("--methods", "calm")
    assert "nobody is no label here" in said("--methods", "calm", "nobody")
    assert "regions by the annotator independent" in said("--annotator", "independent")
    assert "--questions is at most 36" in said("--questions", 37)
    assert "both have results of bright; pass one" in refused(
        capsys, "export", out, shutil.copytree(out, tmp_path / "again"), *EXPORT, "--to", tmp_path / "other"
    )
    for picture in (out / "cells" / "calm").glob("*/stylised.png"):
        picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    assert "changed since the results were made" in said("--items", 20)
    assert not (tmp_path / "other" / "key.json").exists()


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path / 'nope'} is no folder; pass" in refused(capsys, "export", tmp_path / "nope")
    assert f"{tmp_path} holds no records" in refused(capsys, "export", tmp_path)


def test_what_takes_items_from_all_methods_is_named(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A label that was run on few items, and items without regions: in an error, and where a study is written."""
    notice.cache_clear()

    def exports(name: str, *options: str) -> int:
        main(["export", str(out), *EXPORT, "--to", str(tmp_path / name), *options])
        return len(read_study(tmp_path / name).contents)

    shutil.rmtree(out / "cells" / "rough" / "00_0")
    assert exports("enough") == 12 and not caplog.text  # 19 of 20 have all methods, and 12 are asked about
    first, *others = sorted((out / "cells" / "rough").iterdir())
    for folder in others:
        shutil.rmtree(folder)
    because = "1 of 20 items that most methods have can be asked about: rough lacks 19 (run what is missing, or pass "
    because += "--methods bright calm)"
    said = refused(capsys, "export", out, *EXPORT, "--to", tmp_path / "other")
    assert f"--questions is at most 3, the pairs of methods on all items ({because}), not 12" in said
    said = refused(capsys, "export", out, *EXPORT, "--questions", 3, "--to", tmp_path / "other")
    assert f"--checks is at most 1, the number of items ({because}), not 2" in said
    assert exports("few", "--questions", "3", "--checks", "1") == 1 and because in caplog.text
    said = refused(capsys, "export", out, *EXPORT, "--methods", "rough", "calm", "--to", tmp_path / "other")
    assert "rough lacks 19 (run what is missing)" in said  # no two are left that could be passed
    shutil.rmtree(out / "annotations" / "stylegallery" / first.name)
    said = refused(capsys, "export", out, *EXPORT)
    assert (
        "no item has results of bright and calm and rough" in said and "1 lack regions by the annotator style" in said
    )
    caplog.clear()
    assert exports("both", "--methods", "bright", "calm", "--items", "20") == 19
    assert "19 of 20 items that most methods have can be asked about: 1 lack regions by" in caplog.text


@pytest.mark.slow
def test_methods_of_two_runs_are_compared(exported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(exported.parent, tmp_path / "copy") / exported.name
    shutil.move(run / "cells" / "calm", tmp_path / "other" / "cells" / "calm")
    main(["export", str(run), str(tmp_path / "other"), *EXPORT, "--to", str(tmp_path / "study")])
    study = read_study(tmp_path / "study")
    assert study.methods == {"bright": 0, "rough": 0, "calm": 1} and study.runs == ["../copy/run", "../other"]
    rng = np.random.default_rng(0)
    votes = write_ballots(tmp_path / "votes", study, 12, lambda asked: asked.check or prefers(TASTE, asked, rng))
    main(["import", str(tmp_path / "study"), *votes])
    assert set(pd.read_csv(tmp_path / "study" / "abilities.csv")["method"]) == set(TASTE)


# --- import ---


def test_files_that_are_no_votes_of_the_study_are_refused(
    out: Path, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, other = map(Path, write_ballots(tmp_path / "votes", study, 2, lambda asked: True))

    def said(**changes: object) -> str:
        other.write_text(json.dumps(json.loads(good.read_text()) | {"participant": "f" * 16} | changes))
        return refused(capsys, "import", out / "study", good, other)

    assert f"{other} and {good} are of the same participant" in said(participant="0" * 16)
    assert f"{other} has answers to another study, 0123" in said(study="0123")
    assert "does not have an answer to each question" in said(answers=[])
    assert "does not have an answer to each question" in said(plan=20)
    assert "answers.0.chose" in said(answers=[{"chose": "both", "seconds": 1.0}])
    assert "participant: " in said(participant="=cmd()")
    assert "schema" in said(schema=2)
    other.write_text(good.read_text()[:100])
    said_last = refused(capsys, "import", out / "study", good, other)
    assert f"{other} cannot be read" in said_last and "keep it and ask the participant for the file" in said_last
    assert not (out / "study" / "results.md").exists()


def test_a_copy_of_a_ballot_is_refused(
    out: Path, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else in it was edited: nobody takes the same milliseconds again."""
    good, other = map(Path, write_ballots(tmp_path / "votes", study, 2, lambda asked: True))
    copied = json.loads(good.read_text()) | {"participant": "f" * 16, "plan": 3}
    copied["answers"][0]["chose"] = {"left": "right", "right": "left"}[copied["answers"][0]["chose"]]
    other.write_text(json.dumps(copied))
    assert f"{other} and {good} have the same times in all answers" in refused(
        capsys, "import", out / "study", good, other
    )


@pytest.mark.slow
def test_a_folder_stands_for_the_ballots_in_it(out: Path, study: Study, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    votes = write_ballots(tmp_path / "votes", study, 3, lambda asked: asked.check or prefers(TASTE, asked, rng))
    main(["import", str(out / "study"), *votes])
    alone = (out / "study" / "votes.csv").read_bytes()
    shutil.copyfile(out / "study" / "key.json", tmp_path / "votes" / "key.json")
    (tmp_path / "votes" / "notes.txt").touch()
    main(["import", str(out / "study"), str(tmp_path / "votes"), votes[0]])  # a file that is passed twice counts once
    assert (out / "study" / "votes.csv").read_bytes() == alone


def test_keys_and_ballots_are_to_be_kept(
    out: Path, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (good,) = map(Path, write_ballots(tmp_path / "votes", study, 1, lambda asked: True))
    empty, gone, key = tmp_path / "empty", tmp_path / "gone.json", out / "study" / "key.json"
    empty.mkdir()
    said = [refused(capsys, "import", out / "study", path) for path in (empty, gone)]
    assert f"{empty} holds no *.json" in said[0] and f"{gone} is missing; pass" in said[1]
    (tmp_path / "votes" / "folder.json").mkdir()
    said.append(refused(capsys, "import", out / "study", tmp_path / "votes"))
    text = key.read_text()
    for damaged in (text[:100], "", text.replace('"schema": 1', '"schema": 2')):
        key.write_text(damaged)
        said.append(refused(capsys, "import", out / "study", good))
        assert f"{key} cannot be read" in said[-1] and "keep it, since no vote can be read without it" in said[-1]
    key.unlink()
    said.append(refused(capsys, "import", out / "study", good))
    assert f"{out / 'study'} holds no key.json; pass the folder" in said[-1]
    assert not [sentence for sentence in said if "delete" in sentence or "export the study again" in sentence]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda key: key["results"][next(iter(key["results"]))].pop("calm"), "an item lacks the result of a method"),
        (lambda key: key["results"].pop(next(iter(key["results"]))), "an item lacks the result of a method"),
        (lambda key: key.update(plans=[]), "a plan does not have questions of both kinds"),
        (lambda key: key["plans"].append([]), "a plan does not have questions of both kinds"),
        (lambda key: key["plans"][0].clear(), "a plan does not have questions of both kinds"),
        (lambda key: key["questions"][0].update(first="calm", second="calm"), "a question is about an item or a pair"),
        (lambda key: key["questions"][0].update(item="nobody"), "a question is about an item or a pair"),
        (lambda key: key["methods"].update(calm=1), "a method is of a run that it does not name"),
        (lambda key: key["plans"][0][0].update(question=2**20), "a plan has a question that it does not name"),
    ],
)  # fmt: skip
def test_a_key_whose_parts_do_not_fit_is_refused(
    change: Callable[[dict[str, Any]], object], says: str, study: Study, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    key = json.loads(study.text())
    change(key)
    (tmp_path / "key.json").write_text(json.dumps(key))
    assert says in refused(capsys, "import", tmp_path, tmp_path / "key.json")


@pytest.mark.slow
def test_a_study_without_its_run_has_abilities_and_no_metrics(
    out: Path, study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notice.cache_clear()
    rng = np.random.default_rng(0)
    votes = write_ballots(tmp_path / "votes", study, 12, lambda asked: asked.check or prefers(TASTE, asked, rng))
    main(["import", str(out / "study"), *votes])
    assert not caplog.text
    moved = shutil.copytree(out / "study", tmp_path / "elsewhere" / "study")
    main(["import", str(moved), *votes])
    for name in ("abilities", "pairs", "votes"):
        assert (moved / f"{name}.csv").read_bytes() == (out / "study" / f"{name}.csv").read_bytes()
    assert set(pd.read_csv(moved / "metrics.csv")["metric"]) == {PEOPLE}
    sentence = f"No results are in {moved.parent}, where key.json says they are, and so their metrics are left out; put"
    assert sentence in (moved / "results.md").read_text() and sentence in caplog.text


@pytest.mark.slow
def test_who_answers_a_check_wrongly_is_dropped(
    out: Path, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    votes = write_ballots(tmp_path / "votes", study, 12, lambda asked: asked.check or prefers(TASTE, asked, rng))
    main(["import", str(out / "study"), *votes])
    alone = {name: (out / "study" / name).read_bytes() for name in ("abilities.csv", "pairs.csv", "metrics.csv")}
    careless = write_ballots(tmp_path / "votes", study, 3, lambda asked: not asked.check, start=12)
    main(["import", str(out / "study"), *votes, *careless])
    assert all((out / "study" / name).read_bytes() == content for name, content in alone.items())
    text = (out / "study" / "results.md").read_text()
    assert "15 participants; 3 of them answered a check wrongly and are dropped" in text
    assert table(out, "votes").groupby("participant")["counts"].first().value_counts().to_dict() == {True: 12, False: 3}
    assert "none of the 3 participants" in refused(capsys, "import", out / "study", *careless)


@pytest.mark.slow
def test_a_metric_that_is_the_taste_agrees_with_it(out: Path, study: Study, tmp_path: Path) -> None:
    """People who always prefer what the metric does; and people of the same taste who waver, who give abilities."""
    rng = np.random.default_rng(0)
    better = {(a, b): TASTE[a] > TASTE[b] for a in TASTE for b in TASTE}
    sure = write_ballots(tmp_path / "sure", study, 12, lambda asked: asked.check or better[asked.pictures])
    main(["import", str(out / "study"), *sure])
    metrics = table(out, "metrics").set_index(["metric", "question"])
    for kind in KINDS:
        assert metrics.loc[(METRIC, kind), ["agreement", "low", "high"]].tolist() == [1, 1, 1]
        assert metrics.loc[(OPPOSITE, kind), "agreement"] == pytest.approx(0)
        assert metrics.loc[(PEOPLE, kind), "agreement"] == 1
    assert "no vote prefers another method to rough" in (out / "study" / "results.md").read_text()
    wavering = write_ballots(tmp_path / "w", study, 40, lambda asked: asked.check or prefers(TASTE, asked, rng))
    main(["import", str(out / "study"), *wavering])
    metrics = table(out, "metrics").set_index(["metric", "question"])
    for kind in KINDS:
        assert metrics.loc[(METRIC, kind), ["rank_correlation", "methods"]].tolist() == [1, 3]
        assert metrics.loc[(OPPOSITE, kind), "rank_correlation"] == pytest.approx(-1)
        assert 0.5 < metrics.loc[(PEOPLE, kind), "agreement"] < metrics.loc[(METRIC, kind), "agreement"] < 0.8
        assert metrics.loc[(METRIC, kind), "n"] == 40 * 12


@pytest.mark.slow
def test_pictures_that_changed_since_have_no_values(out: Path, study: Study, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    votes = write_ballots(tmp_path / "votes", study, 10, lambda asked: asked.check or prefers(TASTE, asked, rng))
    item = next(iter(study.contents))
    paint(out / "cells" / "calm" / item / "stylised.png", 77)
    main(["import", str(out / "study"), *votes])
    metrics = table(out, "metrics").set_index(["metric", "question"])
    assert metrics.loc[(METRIC, "style"), "n"] < 10 * 12
    assert f"the pictures changed after the study: calm/{item}" in (out / "study" / "results.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not has_bash, reason="bash reads the commands")
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # modules are run twice in one process
def test_a_reader_runs_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first command, which annotates the run, is that of docs/reproduce.md."""
    monkeypatch.chdir(tmp_path)
    page = commands(ROOT / "docs" / "user_study.md", tmp_path / "read", sentences=False)
    annotating, exporting, importing = (command for command in page if command.words[0] == "python")
    assert annotating.words[1:] == ("-m", "evaluation.annotations", "outputs/table1")
    methods = exporting.words[exporting.words.index("--methods") + 1 :]
    taste = {label: 0.3 * place for place, label in enumerate((*methods, "gatys"))}
    out = paint_run(tmp_path / "outputs" / "table1", taste=taste)
    shutil.copytree(out / "annotations" / "stylegallery", out / "annotations" / "independent")
    call(list(exporting.words[2:]), exporting, monkeypatch)
    study, rng = read_study(out / "study"), np.random.default_rng(0)
    assert sorted(study.methods) == sorted(methods)
    write_ballots(tmp_path / importing.words[-1], study, 12, lambda asked: asked.check or prefers(taste, asked, rng))
    call(list(importing.words[2:]), importing, monkeypatch)
    assert "12 participants" in (out / "study" / "results.md").read_text()


# --- abilities ---


def test_two_methods_have_the_log_odds_of_their_votes() -> None:
    votes = pd.DataFrame({"participant": "p", "content": "c", "item": "i", "first": "a", "second": "b",
                          "first_chosen": [True] * 30 + [False] * 10})  # fmt: skip
    found = abilities(votes, ["a", "b"]).set_index("method")
    assert found.loc["a", "ability"] - found.loc["b", "ability"] == pytest.approx(np.log(3))
    assert found["ability"].sum() == pytest.approx(0) and found["low"].isna().all()  # of one participant
    assert found.loc["a", ["share", "n"]].tolist() == [0.75, 40]


@pytest.fixture(scope="module")
def large() -> Study:
    """20 items of as many contents, 40 plans of 20 questions of a kind."""
    items = [f"item{number:02d}" for number in range(20)]
    questions = all_questions(items, METHODS, ["reference 1"] * 20)
    plans = draw_plans(questions, 20, 0, 40, seed=0)
    contents, methods = {item: item for item in items}, dict.fromkeys(METHODS, 0)
    results = {item: dict.fromkeys(METHODS, "0") for item in items}
    return Study(SCHEMA, 0, "independent", ["."], methods, contents, results, questions, plans)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "own"), [(1, 0), (0, 0), (0, 1)], ids=["a taste", "random", "tastes that differ"])
def test_intervals_hold_the_true_abilities(large: Study, scale: int, own: int) -> None:
    """In about 95 % of simulated studies; those of people who vote at random hold 0. Where people differ in taste,
    intervals that take all votes for independent are too short."""
    rng = np.random.default_rng(1)
    true = pd.Series(TASTE) * scale
    held: dict[str, list[bool]] = {"alike": [], "independent": []}
    for _ in range(60):
        votes = simulated(large, true.to_dict(), 30, rng, own)
        alone = votes.assign(participant=range(len(votes)), content=range(len(votes)))
        for name, these in (("alike", votes), ("independent", alone)):
            found = abilities(these, METHODS).set_index("method").loc[true.index]
            held[name] += ((found["low"] < true) & (true < found["high"])).tolist()
    assert 0.9 < np.mean(held["alike"]) < 1
    assert (np.mean(held["independent"]) < 0.85) == bool(own)


def test_there_are_no_abilities_where_a_method_never_lost() -> None:
    asked = [("a", "b", True), ("a", "b", False), ("b", "c", True), ("a", "c", True)]
    votes = pd.DataFrame(asked, columns=["first", "second", "first_chosen"]).assign(participant="p", content="c")
    assert undecided(votes, ["a", "b", "c"]).startswith("no vote prefers another method to a or b")
    assert abilities(votes, ["a", "b", "c"])["ability"].isna().all()
    assert undecided(votes[:2], ["a", "b"]) == ""


@pytest.mark.parametrize(
    ("values", "expected"), [([1, 2, 9], (1.0, 3)), ([3, 2, 1], (-1.0, 3)), ([1, 1, 1], (None, 3)), ([1, 2], (1.0, 2))]
)
def test_rank_correlation(values: list[float], expected: tuple[float | None, int]) -> None:
    found, methods = rank_correlation(dict(zip("abc", [-1, 0, 1], strict=True)), dict(zip("abc", values, strict=False)))
    assert methods == expected[1]
    assert np.isnan(found) if expected[0] is None else found == pytest.approx(expected[0])
