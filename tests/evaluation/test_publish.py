"""docs/results from hand-made records: numbers, verdicts, missing rows, the same bytes, and what is refused."""

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from made_sweeps import CALIBRATION, MISSING, REGIONAL, STEP, STRUCTURE, STYLE, Maker, N, Scores, ids, listed
from omegaconf import OmegaConf
from PIL import Image

from evaluation.latex import escape
from evaluation.publish.__main__ import main, publish
from evaluation.publish.claims import PATH as CLAIMS
from evaluation.publish.claims import Claim, decide, read_claims
from evaluation.publish.commands import commands
from evaluation.publish.grids import COLUMNS, GAP, STRIP, choose_items
from evaluation.publish.studies import Study, find_studies, read_sweep
from evaluation.publish.study_page import find_oracle, item_scores, make_sheet, study_page
from evaluation.publish.text import GENERATED, bullets, pipe_table
from evaluation.registry import metric_info
from evaluation.results import ITEM_COLUMNS, SET_COLUMNS, Results
from evaluation.statistics import compare, estimate
from evaluation.table_notes import INFERENCE
from evaluation.tables import COLUMNS as TABLE_COLUMNS
from harness.experiment_files import Reported, read_experiments
from stylegallery.errors import InputError

pytestmark = pytest.mark.usefixtures("undrawn")


def studies(*outs: Path) -> list[Study]:
    return find_studies(read_experiments(), [read_sweep(out) for out in outs])


def claim(better: str, worse: str, metric: str = STYLE, **more: Any) -> Claim:
    return Claim(f"{better}>{worse}", "A claim.", "test", "table1", (metric,), (better,), (worse,), **more)


# --- claims ---


def test_verdicts_have_closed_forms(table1: Path) -> None:
    claims = [claim("stylegallery", other) for other in ("styleid", "latent_adain", "gatys")]
    table = decide(claims, studies(table1)).set_index("worse")
    assert table["verdict"].tolist() == ["holds", "fails", "undecided"]
    gains = 0.1 + STEP
    expected, tested = estimate(gains, np.arange(N)), compare(gains, np.arange(N))
    row = table.loc["styleid"]
    assert row[["gain", "low", "high"]].tolist() == pytest.approx([expected.mean, expected.low, expected.high])
    assert row["n"] == N and row["value_better"] == pytest.approx(0.6)
    assert row["p"] == tested.p and row["p_holm"] == 3 * row["p"]  # three tests
    assert row["rank_biserial"] == 1 and table.loc["latent_adain", "rank_biserial"] == -1
    assert table.loc["latent_adain", "gain"] == pytest.approx(-expected.mean)
    assert table.loc["latent_adain", "p_holm"] == 3 * table.loc["latent_adain", "p"]
    assert table.loc["gatys", "gain"] == pytest.approx(-0.0005, abs=1e-9)  # six pairs of −0.001 over twelve items
    assert table.loc["gatys", "low"] < 0 < table.loc["gatys", "high"]


def test_lower_is_better_where_the_metric_says_so(table1: Path) -> None:
    row = decide([claim("stylegallery", "styleid", STRUCTURE)], studies(table1)).iloc[0]
    assert row["gain"] == pytest.approx((0.1 + 2 * STEP).mean()) and row["verdict"] == "holds"


def test_a_tolerated_loss_is_a_part_of_what_the_other_method_gains_over_the_photo(table1: Path) -> None:
    """identity 0.2, latent_adain 0.7 to 0.711: it gains 0.5055, and stylegallery loses 0.1055 of that to it."""
    close, far = (claim("stylegallery", "latent_adain", tolerance=part) for part in (0.25, 0.1))
    table = decide([close, far], studies(table1))
    assert table["tolerated"].tolist() == pytest.approx([0.25 * 0.5055, 0.1 * 0.5055])
    assert table["verdict"].tolist() == ["holds", "fails"]
    assert table["gain"].tolist() == pytest.approx([-0.1055] * 2)


def test_a_tolerated_loss_is_that_of_the_items_compared(make: Maker) -> None:
    """styleid gains 0.4 over identity on the ten items that both methods did, and nothing on the others."""
    make.label(make.root / "part", "stylegallery60", "identity", {STYLE: [0.2] * 10 + [0.6] * (N - 10)})
    for label, value, count in (("stylegallery", 0.5, 10), ("styleid", 0.6, N)):
        scores = {STYLE: [value] * count}
        make.label(make.root / "part", "stylegallery60", label, scores, items=ids("stylegallery60")[:count])
    row = decide([claim("stylegallery", "styleid", tolerance=0.25)], studies(make.root / "part")).iloc[0]
    assert row["n"] == 10 and row["tolerated"] == pytest.approx(0.1)


def test_nothing_is_tolerated_where_the_other_method_does_nothing_to_the_photo(make: Maker) -> None:
    labels = {"stylegallery": {STYLE: [0.15] * N}, "styleid": {STYLE: [0.19] * N}}  # below identity, 0.2
    out = make.sweep("nothing", "stylegallery60", labels)
    row = decide([claim("stylegallery", "styleid", tolerance=0.9)], studies(out)).iloc[0]
    assert row["tolerated"] == 0 and row["verdict"] == "fails"


@pytest.mark.parametrize(("paints", "verdict"), [(0.42, "holds"), (0.38, "fails")])
def test_a_tolerated_loss_of_structure_is_a_part_of_what_the_other_method_loses(
    make: Maker, paints: float, verdict: str
) -> None:
    """Against the photo styleid loses 0.2 and gains 0.4 of style, of which half, from 0.2 to 0.4, must be kept."""
    labels: dict[str, Scores | None] = {
        "styleid": {STRUCTURE: listed(0.2 + STEP), STYLE: listed(0.6 + STEP / 10)},
        "stylegallery": {STRUCTURE: listed(0.21 + 1.1 * STEP), STYLE: listed(paints + STEP / 10)},
    }
    one = claim("stylegallery", "styleid", STRUCTURE, tolerance=0.1, painting=STYLE)
    row = decide([one], studies(make.sweep("loss", "stylegallery60", labels))).iloc[0]
    assert row["tolerated"] == pytest.approx(0.1 * (0.2 + STEP).mean())
    assert row["gain"] == pytest.approx(-(0.01 + 0.1 * STEP).mean()) and row["verdict"] == verdict
    strict = decide([replace(one, tolerance=0.0)], studies(make.root / "loss")).iloc[0]
    assert strict["verdict"] == "fails"


GOOD = {  # from 0 to 1, of the untouched photo, of noise, and of a method that paints
    "structure": {"photo": 1.0, "noise": 0.1, "method": 0.8}, "style": {"photo": 0.4, "noise": 0.3, "method": 0.8},
    "regional": {"photo": 0.4, "noise": 0.3, "method": 0.8},
}  # fmt: skip
TESTED = [one for one in read_claims() if {metric_info(metric).kind for metric in one.metrics} & set(GOOD)]


@pytest.mark.slow
@pytest.mark.parametrize("row", ["photo", "noise"])
@pytest.mark.parametrize("one", TESTED, ids=lambda claim: claim.id)
def test_every_claim_can_fail(one: Claim, row: str) -> None:
    """In the place of `better` stand the untouched photo and noise. A claim to more structure than another method's is
    true of the photo; a claim to little loss of structure must not be."""
    rng, rows = np.random.default_rng(0), []
    one = replace(one, metrics=tuple(metric for metric in one.metrics if metric_info(metric).kind in GOOD))
    for metric in {*one.metrics, one.painting} - {""}:
        known = metric_info(metric)
        for item in (f"{content}__{style}" for content in range(15) for style in range(4)):
            sides = [(label, one.better_items, row) for label in one.better]
            sides += [(label, one.worse_items, "method") for label in one.worse]
            sides += [("identity", end, "photo") for end in {one.better_items, one.worse_items}]
            for label, end, made in sides:
                good = GOOD[known.kind][made] + 0.01 * rng.normal()
                value = good if known.direction == "up" else 1 - good
                rows.append((label, item + end, item.partition("__")[0], metric, value, 1, None))
    study: Any = SimpleNamespace(
        experiment=SimpleNamespace(name=one.experiment), absent={}, settings=lambda label: label,
        results=Results(pd.DataFrame(rows, columns=ITEM_COLUMNS), pd.DataFrame(columns=SET_COLUMNS), {}, {}, {}, []),
    )  # fmt: skip
    table = decide([one], [study])
    kept = row == "photo" and not one.tolerance
    expected = ["holds" if kept and metric_info(metric).kind == "structure" else "fails" for metric in table["metric"]]
    assert table["verdict"].tolist() == expected
    why = "it paints less than 50% of what the other paints"
    kinds = [metric_info(metric).kind for metric in table["metric"]]
    assert (table["reason"] == why).tolist() == [bool(one.tolerance) and kind == "structure" for kind in kinds]


def test_claims_that_forgive_a_loss_of_structure_say_what_painting_is(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS.read_text().replace("    painting: style_blocks_efficientnet\n", "", 1))
    with pytest.raises(InputError, match="forgives a loss of structure; name the metric of its painting"):
        read_claims(path)


def test_many_small_losses_and_few_large_gains_hold_nothing(make: Maker) -> None:
    gains = np.where(np.arange(N) % 6 == 0, 0.3 + STEP, -0.01 - STEP / 1000)
    labels = {"stylegallery": {STYLE: listed(0.5 + gains)}, "styleid": {STYLE: [0.5] * N}}
    row = decide([claim("stylegallery", "styleid")], studies(make.sweep("few", "stylegallery60", labels))).iloc[0]
    assert row["gain"] > 0 > row["rank_biserial"] and row["verdict"] == "undecided"


@pytest.mark.slow
def test_items_of_few_contents_decide_nothing(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scores as in a comparison that holds, of four contents."""
    monkeypatch.setattr(make, "content_of", lambda item: Maker.content_of(make, f"{int(item[:4]) % 4}"))
    labels = {"stylegallery": {STYLE: listed(0.6 + STEP)}, "styleid": {STYLE: [0.5] * N}}
    out = make.sweep("few", "stylegallery60", labels)
    table = decide([claim("stylegallery", "styleid")], studies(out))
    row = table.iloc[0]
    assert row["verdict"] == "undecided" and row["reason"] == "too few contents (3; intervals and tests need 10)"
    assert row[["low", "high", "p"]].isna().all() and (row["n"], row["contents"]) == (N, 3)
    text = study_page(make_sheet(studies(out)[0]))
    assert f"{STYLE} v1 ↑ (N={N} of 3 contents)" in text and "+0.1" not in text.partition("## Paired")[0]
    assert "too few contents" in text[text.index("## Paired tests") :] and "95 % intervals" in text


def by_ending(values: Mapping[str, float]) -> list[float]:
    return [values.get(item.rpartition("__")[2], 0.0) for item in ids("references")]


def test_regions_of_other_references_count_as_gains_over_the_photo(make: Maker) -> None:
    """From 1 to 20 references the photo gains more than the method, which gains 0.2 over it with one."""
    out, photo = make.root / "refs", by_ending({"1": 0.3, "20": 0.6})
    copy = by_ending({"1": 0.5, "20": 1.0})
    make.label(out, "references", "identity", {REGIONAL: photo, STYLE: photo})
    make.label(out, "references", "reference_copy", {REGIONAL: copy, STYLE: copy})
    ours = by_ending({"1": 0.5, "20": 0.7})
    for label in ("stylegallery", "attention_distillation"):
        make.label(out, "references", label, {REGIONAL: ours, STYLE: ours})
    claims = [
        Claim(
            metric, "A claim.", "test", "references", (metric,), ("stylegallery",), ("stylegallery",), tolerance=0.5,
            better_items="__20", worse_items="__1",
        )
        for metric in (REGIONAL, STYLE)
    ]  # fmt: skip
    table = decide(claims, studies(out))
    assert table["n"].tolist() == [2, 2]
    assert table["value_better"].tolist() == pytest.approx([0.1, 0.7])
    assert table["gain"].tolist() == pytest.approx([-0.1, 0.2])
    assert table["tolerated"].tolist() == pytest.approx([0.1, 0.1])  # half of 0.2


@pytest.mark.slow
def test_labels_of_equal_settings_are_no_comparison(make: Maker) -> None:
    """As `stylegallery` and `stylegallery@28x3` with model=sd15_lcm, whose preset has 28 steps of 3 updates."""
    method = {"_target_": "fake", "model": {"path": "embedded"}}
    out = make.sweep("fast", "stylegallery60", {})
    for label in ("stylegallery", "stylegallery@28x3"):
        make.label(out, "stylegallery60", label, {STYLE: [0.5] * N}, 0, method)
    (study,) = studies(out)
    same = replace(claim("stylegallery@28x3", "stylegallery", tolerance=0.1), experiment="acceleration")
    row = decide([same], [study]).iloc[0]
    assert row["verdict"] == "no result"
    assert row["reason"] == "stylegallery@28x3 and stylegallery have the same settings here"
    assert "## Spread" not in study_page(make_sheet(study))


def test_items_may_be_paired_by_what_precedes_an_ending(make: Maker) -> None:
    items = ids("references")  # 0001__references__1, __2, ..., __20, 0002__references__1, ...
    assert [item.rpartition("__")[2] for item in items[:5]] == ["1", "2", "3", "5", "20"]
    values = {item: {"20": 0.8, "1": 0.5}.get(item.rpartition("__")[2], 0.0) for item in items}
    labels = {name: {REGIONAL: list(values.values())} for name in ("stylegallery", "attention_distillation")}
    found = studies(make.sweep("refs", "references", labels))
    same = Claim(
        "more", "A claim.", "test", "references", (REGIONAL,), ("stylegallery",), ("stylegallery",),
        better_items="__20", worse_items="__1",
    )  # fmt: skip
    row = decide([same], found).iloc[0]
    assert row["n"] == 2 and row["gain"] == pytest.approx(0.3) and row["verdict"] == "undecided"
    assert (row["better"], row["worse"]) == ("stylegallery__20", "stylegallery__1")


def test_sets_have_values_and_no_test_and_what_was_not_run_a_reason(table1: Path) -> None:
    claims = [
        claim("stylegallery", "styleid", "fid_efficientnet"),
        claim("stylegallery", "styleshot"),
        claim("stylegallery", "styleid", "lpips_alex"),
        Claim("seeds", "A claim.", "test", "seeds", (STYLE,), ("stylegallery",), ("stylegallery@seed=1",)),
    ]
    table = decide(claims, studies(table1))
    assert table["verdict"].tolist() == ["no test", "no result", "no result", "no result"]
    assert table.loc[0, ["value_better", "value_worse", "gain"]].tolist() == [10, 10, 0]
    assert "fetch sd15 styleshot" in table.loc[1, "reason"]
    assert table.loc[2, "reason"] == MISSING and table.loc[3, "reason"] == "seeds is in none of the folders"
    assert table["p_holm"].isna().all()
    tolerant = decide([replace(one, tolerance=0.1) for one in claims[1:]], studies(table1))
    assert tolerant["verdict"].eq("no result").all() and tolerant["tolerated"].isna().all()


def test_the_claims_of_the_repository_name_runs_and_metrics_that_exist() -> None:
    experiments = {experiment.name: experiment for experiment in read_experiments()}
    for one in read_claims():
        assert set(one.better + one.worse) <= set(experiments[one.experiment].runs), one.id
        assert all(metric_info(metric).direction for metric in one.metrics)
        assert not {"identity", "reference_copy"} & set(one.better + one.worse)


def test_claims_leave_no_baseline_and_no_structure_out() -> None:
    claims = {one.id: one for one in read_claims()}
    (table1,) = (experiment for experiment in read_experiments() if experiment.name == "table1")
    own = {"identity", "reference_copy", "stylegallery", "stylegallery_released", "global_style"}
    for name in ("style", "gram", "structure", "fid", "regional"):
        assert {*claims[name].worse, *claims[f"{name}-others"].worse} == table1.runs.keys() - own
    for one in claims.values():
        assert STRUCTURE not in one.metrics or {"edge_f1", "ms_ssim"} <= set(one.metrics), one.id
    assert claims["regions-structure"].worse == ("global_style",)


@pytest.mark.parametrize("text", ["claims: [{id: a}]", "claims: [{id: a, nonsense: 1}]", "nothing: 1", "claims: ["])
def test_damaged_claims_are_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="is not a list of claims"):
        read_claims(path)


@pytest.mark.slow
def test_the_page_of_claims_states_the_failing_ones(table1: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "discussion.md").write_text("# What it means\n")
    publish([table1], docs, grids=0, side=64, machine="")
    text = (docs / "claims.md").read_text()
    failing = text[text.index("## Claims that fail") : text.index("## Summary")]
    assert (
        "**style-others**, style_blocks_efficientnet: `stylegallery` gains -0.105 [-0.108, -0.103] over `latent_adain`"
        in failing
    )
    assert failing.count("\n- ") == 1
    assert "[discussion.md](discussion.md)" in text
    assert INFERENCE in text and "gains over identity, the untouched photo, on the same item" in text
    assert "[discussion.md](discussion.md): What it means (written by hand)" in (docs / "README.md").read_text()
    rows = pd.read_csv(docs / "claims.csv").set_index(["claim", "metric", "worse"])
    assert rows.loc[("style", STYLE, "styleid"), "verdict"] == "holds"
    assert rows.loc[("style-others", STYLE, "gatys"), "verdict"] == "undecided"
    assert rows.loc[("style", "style_blocks_vgg19", "styleid"), "verdict"] == "no result"


# --- pages of experiments ---


@pytest.mark.slow
def test_planned_rows_stay_with_a_dash_and_their_reason(table1: Path) -> None:
    (study,) = studies(table1)
    text = study_page(make_sheet(study))
    row = next(line for line in text.splitlines() if line.startswith("| styleshot |"))
    assert re.fullmatch(r"\| styleshot \|( – \[\d\] \|)+", row)
    assert "not run, needs weights: python -m stylegallery.weights fetch sd15 styleshot" in text
    assert "not run yet: the first command of this page does what is missing" in text
    for label in study.experiment.runs:
        assert text.count(f"\n| {label} ") >= 3, label
    assert (
        f"No column for lpips_alex: {MISSING}" in text and "(reported)" not in text
    )  # the paper's numbers are of all 750 items


@pytest.mark.slow
def test_a_page_says_first_which_model_made_it(table1: Path, tmp_path: Path) -> None:
    publish([table1], tmp_path / "docs", grids=2, side=64, machine="two cores")
    for path in (tmp_path / "docs").glob("*.md"):
        lines = [line for line in path.read_text().splitlines() if line]
        assert lines[0] == GENERATED and "small embedded model" in lines[2], path.name


@pytest.mark.slow
def test_marks_and_tests_follow_the_rules_of_the_tables(table1: Path) -> None:
    (study,) = studies(table1)
    sheet = make_sheet(study)
    rows = sheet.table[(sheet.table["source"] == "ours") & (sheet.table["metric"] == STYLE)].set_index("label")
    assert rows["mark"].dropna().to_dict() == {"latent_adain": "best", "gatys": "second"}
    assert rows.loc["styleid", "value"] == pytest.approx(0.4945) and rows.loc["styleid", "n"] == N
    assert list(rows.index)[-2:] == ["identity", "reference_copy"] and rows.index[0] == "stylegallery"
    text = study_page(sheet)
    assert re.search(r"\| styleid \| \+0\.\d+, p \d\S*, \*worse\*", text[text.index("## Paired tests") :])
    assert "| seconds" not in text[text.index("## Paired tests") :]


@pytest.mark.slow
def test_reported_ablation_rows_are_those_of_the_experiment(make: Maker) -> None:
    labels = {"stylegallery": {STYLE: listed(0.6 + STEP)}, "stylegallery@style_weight=0": {STYLE: listed(0.5 + STEP)}}
    (study,) = studies(make.sweep("losses", "stylegallery60", labels))
    assert set(make_sheet(study).table["source"]) == {"ours"}
    labels = {label: {STYLE: listed(0.5 + STEP)} for label in labels}
    (study,) = studies(make.sweep("whole", "stylegallery", labels))
    table = make_sheet(study).table
    assert study.experiment.name == "ablation_losses"
    assert set(table[table["source"] != "ours"]["label"]) == {*labels, "stylegallery@content_weight=0"}


@pytest.mark.slow
def test_an_experiment_takes_the_sweep_of_its_own_benchmark(make: Maker, table1: Path) -> None:
    one = {STYLE: listed(0.6 + STEP)}
    mixed = make.sweep("mixed", "mixed60", {"stylegallery": one, "global_style": one, "stylegallery_released": one})
    found = {study.experiment.name: study for study in studies(mixed, table1)}
    assert set(found) == {"table1", "ablation_regions", "ablation_sparsity"}
    assert found["table1"].sweep.out == table1 and "global_style" in found["table1"].absent
    assert found["ablation_regions"].manifest == "mixed60"
    assert set(found["ablation_regions"].ran) == {"stylegallery", "global_style", "identity", "reference_copy"}
    whole = make.sweep("whole", "mixed", {"global_style": one})
    assert [study.experiment.name for study in studies(whole)] == ["ablation_regions"]


@pytest.mark.slow
def test_the_spread_over_seeds_is_that_of_the_means(make: Maker, tmp_path: Path) -> None:
    out, means = tmp_path / "seeds", [0.5, 0.6, 0.8]
    for label, scores in CALIBRATION.items():
        make.label(out, "stylegallery60", label, scores)
    method = {"_target_": "fake", "model": {"path": "embedded"}}
    for seed, mean in enumerate(means):
        label = f"stylegallery@seed={seed}" if seed else "stylegallery"
        make.label(out, "stylegallery60", label, {STYLE: listed(mean + STEP - STEP.mean())}, seed, method)
    (study,) = studies(out)
    text = study_page(make_sheet(study))
    row = next(line for line in text[text.index("## Spread") :].splitlines() if line.startswith(f"| {STYLE}"))
    found = estimate(STEP, np.arange(N))
    half = (found.high - found.low) / 2
    assert row == f"| {STYLE} | 3 | {np.mean(means):.5g} | {np.std(means, ddof=1):.3g} | ±{half:.3g} |"


@pytest.mark.slow
def test_the_spread_over_seeds_is_of_scores_of_the_same_items(make: Maker) -> None:
    out, method = make.sweep("seeds", "stylegallery60", {}), {"_target_": "fake", "model": {"path": "embedded"}}
    for seed, label in enumerate(("stylegallery", "stylegallery@seed=1")):
        make.label(out, "stylegallery60", label, {STYLE: [0.5 + seed / 10] * N}, seed, method)

    def metrics() -> list[str]:
        (study,) = studies(out)
        text = study_page(make_sheet(study))
        return re.findall(r"^\| (\w+) \| 2 \|", text[text.index("## Spread") : text.index("## Runs")], re.MULTILINE)

    assert metrics() == ["fid_efficientnet", STYLE]  # neither seconds nor memory
    sets = out / "cells" / "stylegallery@seed=1" / "sets.json"
    sets.write_text(json.dumps(json.loads(sets.read_text()) | {"n": 5}))
    assert metrics() == [STYLE]


@pytest.mark.slow
def test_runs_on_other_data_are_no_seeds(make: Maker) -> None:
    """As `stylegallery@user_masks`, whose method and seed are those of `stylegallery`."""
    scores: Scores = {STYLE: [0.5] * N}
    out = make.sweep("regions", "mixed60", {"stylegallery": scores, "stylegallery@user_masks": scores})
    for label in ("stylegallery", "stylegallery@user_masks"):
        path = out / "config" / f"{label}.yaml"
        frozen = OmegaConf.load(path)
        frozen.method = {"_target_": "fake", "model": {"path": "embedded"}}
        if "@" in label:
            frozen.data.masks = "stylegallery"
        path.write_text(OmegaConf.to_yaml(frozen))
    (study,) = studies(out)
    assert "## Spread" not in study_page(make_sheet(study))


@pytest.mark.slow
def test_the_oracle_takes_the_best_run_of_every_item_and_no_rank(make: Maker) -> None:
    """Odd items are best at random-0, even ones with StyleGallery; the style of the picked run comes along."""
    odd = np.arange(N) % 2
    labels: dict[str, Scores | None] = {
        "stylegallery": {REGIONAL: listed(0.6 - 0.2 * odd), STYLE: [0.5] * N},
        "stylegallery@semantics=0": {REGIONAL: [0.3] * N, STYLE: [0.9] * N},
        "stylegallery@random-0": {REGIONAL: listed(0.2 + 0.5 * odd), STYLE: [0.7] * N},
    }
    (study,) = studies(make.sweep("matching", "mixed60", labels))
    sheet = make_sheet(study)
    assert sheet.oracle is not None and sheet.oracle.label == "oracle (best of 3)"
    rows = sheet.table[sheet.table["label"] == "oracle (best of 3)"].set_index("metric")
    assert rows.loc[REGIONAL, "value"] == pytest.approx((0.6 + 0.7) / 2)
    assert rows.loc[STYLE, "value"] == pytest.approx((0.5 + 0.7) / 2)
    assert rows["mark"].isna().all() and rows["mean_rank"].isna().all() and np.isnan(rows.loc["seconds", "value"])
    styles = sheet.table[(sheet.table["metric"] == STYLE) & (sheet.table["source"] == "ours")].set_index("label")
    assert styles.loc["stylegallery@semantics=0", "mark"] == "best"
    text = study_page(sheet)
    assert f"*oracle (best of 3), upper bound of {REGIONAL}, not ranked*" in text
    assert "The other columns are those of the picked runs and bound nothing." in text
    assert "Picked: stylegallery 6, stylegallery@random-0 6." in text
    assert "oracle" not in text[text.index("## Paired tests") :]
    assert "oracle" not in set(item_scores(study)["label"])


def test_without_its_metric_there_is_no_oracle(make: Maker) -> None:
    labels = {"stylegallery": {STYLE: [0.5] * N}, "stylegallery@geometry=0": {STYLE: [0.5] * N}}
    (study,) = studies(make.sweep("matching", "mixed60", labels))
    items = study.results.items
    items.loc[(items["metric"] == REGIONAL) & ~items["label"].isin(list(CALIBRATION)), "value"] = np.nan
    assert find_oracle(study, REGIONAL, TABLE_COLUMNS) is None and make_sheet(study).oracle is None


def test_commands_are_those_that_were_given(make: Maker) -> None:
    out = make.sweep("kept", "stylegallery60", {"stylegallery": {STYLE: [0.5] * N}, "styleid": {STYLE: [0.5] * N}})
    given = ["experiment=table1", "model=sd15_lcm", "method.guidance.steps=7", "limit=12", "shard=0/2", "device=cuda"]
    for path in (out / "config").glob("*.yaml"):
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(path), {"overrides": [*given, "out=elsewhere"]}), path)
    (study,) = studies(out)
    assert commands(study) == [
        f"python run.py experiment=table1 model=sd15_lcm method.guidance.steps=7 limit=12 out={out}",
        f"python -m evaluation.annotations {out}",
        f"python -m evaluation.score {out}",
    ]


def test_folders_that_keep_no_command_line_say_so(make: Maker) -> None:
    (study,) = studies(out := make.sweep("old", "stylegallery", {"styleid": {STYLE: [0.5] * N}}))
    run, remark, *_ = commands(study)
    assert run == f"python run.py experiment=table1 data=stylegallery out={out}"
    assert (
        remark == f"# no command line is known of styleid, identity, reference_copy: see the settings in {out}/config"
    )


def test_an_experiment_says_what_it_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, *others = read_experiments()
    assert (first.name, first.reported, first.benchmarks) == (
        "table1", Reported("comparison", "all"), ["stylegallery60", "stylegallery"],
    )  # fmt: skip
    assert [one.name for one in others if one.oracle] == ["ablation_matching"]
    assert {one.against for one in (first, *others)} == {"stylegallery"}
    (tmp_path / "mine.yaml").write_text("experiment: {benchmarks: [x], reproduces: y, against: z, runs: {}, orakle: w}")
    monkeypatch.setattr("harness.experiment_files.EXPERIMENTS", tmp_path)
    with pytest.raises(InputError, match=r"experiment=mine: experiment\.orakle: .+; mend conf/experiment/mine\.yaml"):
        read_experiments()


# --- costs and pictures ---


@pytest.mark.slow
def test_costs_are_means_and_largest_values(table1: Path, tmp_path: Path) -> None:
    publish([table1], tmp_path / "docs", grids=0, side=64, machine="two cores")
    text = (tmp_path / "docs" / "costs.md").read_text()
    assert "| styleid | 12 | 8.5 | 14 | regions 1, guidance 7.5 | 106 | 111 |" in text
    assert "Machine: two cores." in text and f"{6 * N} records: torch 9.9" in text


@pytest.mark.slow
def test_index_counts_what_all_runs_have_not_what_is_planned(table1: Path, tmp_path: Path) -> None:
    first, second = ids("stylegallery60")[:2]
    shutil.rmtree(table1 / "cells" / "gatys" / first)
    record = table1 / "cells" / "styleid" / second / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"error": "out of memory"}))
    publish([table1], tmp_path / "docs", grids=0, side=64, machine="")
    row = next(line for line in (tmp_path / "docs" / "README.md").read_text().splitlines() if "[table1]" in line)
    assert row.endswith(f"| {N - 2} of {N} |")
    assert (
        f"{N} items planned, {N - 2} that all runs with results have" in (tmp_path / "docs" / "table1.md").read_text()
    )


@pytest.mark.slow
def test_a_set_of_other_items_says_how_many(table1: Path, tmp_path: Path) -> None:
    sets = table1 / "cells" / "styleid" / "sets.json"
    sets.write_text(json.dumps(json.loads(sets.read_text()) | {"n": 5}))
    publish([table1], tmp_path / "docs", grids=0, side=64, machine="")
    lines = (tmp_path / "docs" / "table1.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if "fid_efficientnet v2" in line)
    assert lines[start - 2] == "## Style"
    column = lines[start].split(" | ").index("fid_efficientnet v2 ↓")
    found = {
        cells[0].strip("| "): cells[column] for cells in (line.split(" | ") for line in lines[start + 2 : start + 6])
    }
    assert found["styleid"] == "10 (N=5)" and found["stylegallery"] == f"10 (N={N})"


def test_items_that_most_methods_have_get_the_pictures(table1: Path) -> None:
    (study,) = studies(table1)
    first, *others = choose_items(study, N)
    del study.sweep.records.by_label["styleid"][first]
    assert choose_items(study, N - 1) == others
    assert choose_items(study, N) == [first, *others]


@pytest.mark.slow
def test_every_chosen_item_has_a_picture_and_old_ones_go(table1: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    publish([table1], docs, grids=5, side=64, machine="")
    publish([table1], docs, grids=3, side=48, machine="")
    (study,) = studies(table1)
    items = choose_items(study, 3)
    order = ids("stylegallery60")
    assert items == [order[0], order[6], order[11]]  # evenly spaced: 0, 5.5, 11
    assert sorted(path.stem for path in (docs / "grids").iterdir()) == sorted(items)
    with Image.open(docs / "grids" / f"{items[0]}.jpg") as image:
        assert image.format == "JPEG" and image.size == (COLUMNS * (48 + GAP) + GAP, 2 * (48 + STRIP + GAP) + GAP)
    page = (docs / "grids.md").read_text()
    assert all(f"![{item}](grids/{item}.jpg)" in page for item in items)


@pytest.mark.slow
def test_a_missing_picture_is_a_grey_tile(table1: Path, make: Maker, tmp_path: Path) -> None:
    shutil.rmtree(make.root / "contents")
    publish([table1], tmp_path / "docs", grids=1, side=64, machine="")
    (path,) = (tmp_path / "docs" / "grids").iterdir()
    with Image.open(path) as image:
        assert max(abs(a - 225) for a in image.getpixel((GAP + 5, GAP + 5))) <= 3


# --- the command ---


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(table1: Path, tmp_path: Path) -> None:
    found = []
    docs = tmp_path / "a"
    for _ in range(2):
        assert main([str(table1), "--docs", str(docs), "--grids", "4", "--side", "48", "--gallery", "3"]) == 0
        found.append({str(path.relative_to(docs)): path.read_bytes() for path in docs.rglob("*") if path.is_file()})
    assert found[0] == found[1]
    assert set(found[0]) >= {"README.md", "claims.md", "claims.csv", "costs.md", "grids.md", "table1.md", "table1.csv"}
    rows = pd.read_csv(tmp_path / "a" / "table1_items.csv")
    assert list(rows.columns) == ["label", "item", "content", "metric", "value"] and rows["value"].notna().all()
    assert len(rows[(rows["label"] == "styleid") & (rows["metric"] == STRUCTURE)]) == N
    assert "Not run: ablation_content_weight" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.slow
def test_the_printed_command_makes_the_same_pages_in_the_same_place(
    table1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reader would follow it, also where names have spaces; without --docs pages go beside the results."""
    odd = tmp_path / "two (old) runs"
    shutil.copytree(table1, odd)
    first, docs = tmp_path / "my docs", odd / "docs"
    assert (
        main([str(odd), "--docs", str(first), "--grids", "3", "--side", "48", "--gallery", "2", "--machine", "2 cores"])
        == 0
    )
    assert main([str(odd), "--grids", "0", "--gallery", "1", "--gallery-of", str(odd), "--without", "gatys"]) == 0
    monkeypatch.chdir(ROOT)
    for place in (first, docs):
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        (line,) = re.findall(r"```sh\n(.*)\n```", (place / "README.md").read_text())
        command = shlex.split(line)
        assert command[:3] == ["python", "-m", "evaluation.publish"] and str(odd) in command
        shutil.rmtree(place)
        assert main(command[3:]) == 0
        assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert "left out on purpose" in (docs / "table1.md").read_text()


@pytest.mark.slow
def test_a_label_that_is_left_out_shrinks_nothing(table1: Path, tmp_path: Path) -> None:
    for item in ids("stylegallery60")[2:]:
        shutil.rmtree(table1 / "cells" / "gatys" / item)
    docs = tmp_path / "docs"
    for without, count in (([], 2), (["gatys"], N)):
        publish([table1], docs, grids=0, side=64, machine="", without=without)
        table = pd.read_csv(docs / "table1.csv")
        assert table[(table["metric"] == STYLE) & (table["label"] == "styleid")]["n"].tolist() == [count]
        text = (docs / "table1.md").read_text()
        assert ("gatys has least (2). Without it 12 would." in text[: text.index("## Structure")]) == (not without)
    with pytest.raises(InputError, match="nobody is no label here"):
        publish([table1], docs, grids=0, side=64, machine="", without=["nobody"])


@pytest.mark.slow
def test_bad_input_is_one_sentence_and_code_2(
    table1: Path, tmp_path: Path, make: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(says: str, *arguments: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and says in lines[0], lines

    docs = str(tmp_path / "docs")
    fails("holds no records", str(tmp_path / "nowhere"), "--docs", docs)
    assert not (tmp_path / "docs").exists()
    (tmp_path / "file").write_text("")
    fails("cannot be written", str(table1), "--docs", str(tmp_path / "file"))
    fails("--grids is at least 0", str(table1), "--docs", docs, "--grids", "-1")
    fails("--side is from 32", str(table1), "--docs", docs, "--side", "3")
    only = make.sweep("only", "stylegallery60", {"stylegallery": {STYLE: [0.5] * N}})
    fails("none of the labels is a run of conf/experiment", str(only), "--docs", docs)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "table1.md").write_text("# By hand\n")
    fails("was written by hand", str(table1), "--docs", docs)
    assert (tmp_path / "docs" / "table1.md").read_text() == "# By hand\n"
    (table1 / "config" / "styleid.yaml").write_text("nonsense: 1\n")
    fails("is not the frozen settings of a label", str(table1), "--docs", str(tmp_path / "other"))


@pytest.mark.slow
def test_files_of_the_user_in_the_folder_of_pages_stay(table1: Path, tmp_path: Path) -> None:
    """A picture that no page names is not deleted, a table or a grid that none has is not replaced."""
    docs = tmp_path / "docs"
    (docs / "grids").mkdir(parents=True)
    (docs / "grids" / "holiday.jpg").write_text("mine")
    (docs / "notes.md").write_bytes(b"\xff\xfe mine")
    publish([table1], docs, grids=2, side=64, machine="")
    publish([table1], docs, grids=1, side=64, machine="")
    assert len(list((docs / "grids").iterdir())) == 2
    for name in ("claims.csv", "table1_items.csv", "grids.md"):
        other = tmp_path / name
        shutil.copytree(docs, other)
        (other / f"{name.partition('.')[0].removesuffix('_items')}.md").unlink()
        before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
        with pytest.raises(InputError, match="belongs to no page of this command; move it away or pass another --docs"):
            publish([table1], other, grids=1, side=64, machine="")
        assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before
    assert (docs / "grids" / "holiday.jpg").read_text() == "mine"


def test_texts_from_files_are_no_markup() -> None:
    assert pipe_table(["<b>"], [["<img src=x>|\n<u>0.5</u>"]]).splitlines()[::2] == [
        "| &lt;b> |", "| &lt;img src=x>\\| <u>0.5</u> |"
    ]  # fmt: skip
    assert bullets(["failed: <script>"]) == "- failed: &lt;script>"
    assert escape(r"<a>|\b") == r"\textless{}a\textgreater{}\textbar{}\textbackslash{}b"
