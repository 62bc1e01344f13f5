"""Tables from records: what is averaged, marked, footnoted, compared with the paper, and refused."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import result_record
from hydra.utils import get_class

from evaluation.registry import METRICS, metric_info
from evaluation.reported import read_reported
from evaluation.results import model_name, read_results
from evaluation.statistics import estimate
from evaluation.table_page import number
from evaluation.tables import build, main, write_tables
from harness.record import load_record
from stylegallery.errors import InputError

COMMAND = "missing: python -m stylegallery.weights fetch csd"
FILES = {"table.csv", "table.parquet", "table.md", "table.tex", "items.csv", "items.parquet", "tests.csv"}
VALUES = {  # label -> lpips_alex, style_blocks_efficientnet of an average item
    "stylegallery": (0.35, 0.80),
    "stytr2": (0.40, 0.70),
    "styleid": (0.45, 0.75),
    "identity": (0.0, 0.40),
    "reference_copy": (0.70, 1.0),
}
ITEMS = [f"00{number:02d}__VanGogh__1__a" for number in range(12)]


def inputs_of(item: str) -> dict[str, Any]:
    return {"content": {"path": "a.png", "sha256": hashlib.sha256(item[:4].encode()).hexdigest()}}


def freeze(out: Path, label: str, manifest: str = "stylegallery") -> None:
    data = {"_target_": "data.benchmark.manifest_items", "manifest": manifest, "files": "stylegallery"}
    method = {"_target_": "baselines.identity.Identity"}
    frozen = {"label": label, "limit": None, "seed": 0, "data": data, "method": method}
    (out / "config").mkdir(exist_ok=True)
    (out / "config" / f"{label}.yaml").write_text(yaml.safe_dump(frozen))


def write_cell(out: Path, label: str, item: str, scores: dict[str, Any] | None, error: str = "") -> None:
    folder = out / "cells" / label / item
    folder.mkdir(parents=True)
    if not error:
        (folder / "stylised.png").write_bytes(item.encode())
    failed = {"error": error} if error else {}
    about_it = {"inputs": inputs_of(item), "seconds": {"a": 1.5, "b": 0.5}, "peak_memory_mib": 800.0}
    record = result_record(folder, **about_it, **failed)
    if scores is not None:
        about = {"pictures": record.depends_on(folder), "size": None}
        (folder / "scores.json").write_text(json.dumps({"metrics": scores, **about}))


def score(value: float | None, reason: str | None = None, version: int | None = 1) -> dict[str, Any]:
    return {"value": value, "version": version, "reason": reason}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label, (lpips, style) in VALUES.items():
        freeze(tmp_path, label)
        drawn = []
        for item in ITEMS:
            noise = 0.01 * rng.normal(size=2) * (label not in ("identity", "reference_copy"))
            drawn.append(lpips + noise[0])
            scores = {
                "lpips_alex": score(drawn[-1]),
                "style_blocks_efficientnet": score(style + noise[1]),
                "csd": score(None, COMMAND, metric_info("csd").version),
            }
            write_cell(tmp_path, label, item, scores)
        fid = {"identity": 30.0, "reference_copy": 5.0}.get(label, 15.0)
        sets = {
            "fid_art": score(fid, version=metric_info("fid_art").version),
            "artfid": score((1 + sum(drawn) / len(drawn)) * (1 + fid)),
        }
        folder = tmp_path / "cells" / label
        pictures = {item: load_record(folder / item).depends_on(folder / item) for item in ITEMS}
        about = {"pictures": pictures, "size": None, "n": len(ITEMS), "items": "all"}
        (tmp_path / "cells" / label / "sets.json").write_text(json.dumps({"metrics": sets, **about}))
    return tmp_path


def rescore(out: Path, label: str, metric: str, entry: dict[str, Any], items: list[str] = ITEMS) -> None:
    for item in items:
        path = out / "cells" / label / item / "scores.json"
        content = json.loads(path.read_text())
        content["metrics"][metric] = entry
        path.write_text(json.dumps(content))


def ours(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[(table["source"] == "ours") & (table["metric"] == metric)].set_index("label")


# --- numbers ---


def test_means_intervals_and_counts_are_those_of_the_items(out: Path) -> None:
    results = read_results(out)
    table = ours(build(results), "lpips_alex")
    mine = results.items.query("label == 'styleid' and metric == 'lpips_alex'")["value"].to_numpy()
    expected = estimate(mine, np.arange(12))
    assert table.loc["styleid", ["value", "low", "high", "n", "contents"]].tolist() == [
        expected.mean, expected.low, expected.high, 12, 12,
    ]  # fmt: skip
    assert table.loc["stylegallery", "mean_rank"] == 1
    assert np.isnan(table.loc["identity", "mean_rank"])


def test_a_model_in_a_folder_has_its_name_without_the_place_on_this_machine(tmp_path: Path) -> None:
    mine = {"model": {"path": str(tmp_path / "models" / "mine")}}
    assert model_name(mine, ["model.path"]) == "models/mine"
    assert model_name({"path": str(tmp_path / "linear" / "embedded")}, ["path"]) == "linear/embedded"
    assert model_name({"model": {"path": "sd15"}}, ["model.path"]) == "sd15"


def test_costs_stand_beside_the_scores(out: Path) -> None:
    table = build(read_results(out))
    assert ours(table, "seconds").loc["stytr2", "value"] == 2.0
    assert ours(table, "peak_memory_mib").loc["stytr2", "value"] == 800


@pytest.mark.slow
def test_methods_are_compared_on_the_items_all_have(out: Path) -> None:
    rescore(out, "styleid", "lpips_alex", score(None, "failed: the image is damaged"), ITEMS[:3])
    write_tables(out, "stylegallery")
    table = ours(build(read_results(out)), "lpips_alex")
    assert (table["n"] == 9).all() and table["low"].isna().all()  # of nine contents, too few for intervals
    assert table["left_out"].to_dict() == {label: 0 if label == "styleid" else 3 for label in VALUES}
    text = (out / "tables" / "table.md").read_text()
    assert "lpips_alex: items left out because another method lacks them" in text and "stylegallery 3" in text
    assert "styleid: lpips_alex failed: the image is damaged (3 items: 0000__VanGogh__1__a" in text


@pytest.mark.slow
def test_a_reason_that_labels_share_is_one_line(out: Path) -> None:
    """A score that asks about references alone fails for all labels in the same way."""
    for label in ("styleid", "stylegallery"):
        rescore(out, label, "lpips_alex", score(None, "failed: one region in all"), ITEMS[:1])
    write_tables(out, "stylegallery")
    text = (out / "tables" / "table.md").read_text()
    assert "- stylegallery, styleid: lpips_alex failed: one region in all (1 item: 0000__VanGogh__1__a)." in text


@pytest.mark.slow
def test_failed_and_unscored_items_have_their_reason(out: Path) -> None:
    write_cell(out, "ccpl", ITEMS[0], None, error="out of memory")
    for item in ITEMS[1:3]:
        write_cell(out, "ccpl", item, None)
    write_tables(out, "stylegallery")
    text = (out / "tables" / "table.md").read_text()
    assert "ccpl: the item itself failed: out of memory (1 item:" in text
    assert "not scored: python -m evaluation.score OUT" in text
    assert ours(build(read_results(out)), "lpips_alex").loc["stylegallery", "n"] == 12


# --- marks ---


def test_best_and_second_are_marked_by_rule_and_calibration_and_paper_rows_never(out: Path) -> None:
    table = build(read_results(out))
    assert ours(table, "lpips_alex")["mark"].dropna().to_dict() == {"stylegallery": "best", "stytr2": "second"}
    style = ours(table, "style_blocks_efficientnet")["mark"].dropna().to_dict()
    assert style == {"stylegallery": "best", "styleid": "second"}
    assert table[table["source"] != "ours"]["mark"].isna().all()
    # all equal to the fourth digit: all best, no second
    assert ours(table, "fid_art")["mark"].dropna().to_dict() == dict.fromkeys(
        ("stylegallery", "stytr2", "styleid"), "best"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"), [({"n": 4}, "(N 4 and 12)"), ({"items": "others"}, "(other items of the same number)")]
)
def test_sets_of_different_items_are_not_ranked(out: Path, change: dict[str, Any], says: str) -> None:
    path = out / "cells" / "styleid" / "sets.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    write_tables(out, "stylegallery")
    assert ours(build(read_results(out)), "fid_art")["mark"].isna().all()
    text = (out / "tables" / "table.md").read_text()
    assert f"fid_art: the methods were scored on different items {says}" in text
    rows = [line for line in text.splitlines() if line.startswith("| styleid")]
    assert any("(N=4)" in row for row in rows) == ("n" in change)


def test_memory_is_not_ranked(out: Path) -> None:
    table = ours(build(read_results(out)), "peak_memory_mib")
    assert table["mark"].isna().all() and table["mean_rank"].isna().all() and table["value"].notna().all()


def test_scores_of_an_earlier_picture_do_not_count(out: Path) -> None:
    (out / "cells" / "styleid" / ITEMS[2] / "stylised.png").write_bytes(b"painted again")
    results = read_results(out)
    assert ours(build(results), "lpips_alex").loc["styleid", "n"] == 11
    found = results.items[(results.items["label"] == "styleid") & (results.items["item"] == ITEMS[2])]
    assert found.set_index("metric")["reason"][""] == "not scored: python -m evaluation.score OUT"


@pytest.mark.slow
def test_scores_of_a_set_end_with_any_of_its_pictures(out: Path) -> None:
    def found() -> dict[str, float]:
        return ours(build(read_results(out)), "fid_art")["value"].dropna().to_dict()

    assert found()["styleid"] == 15.0 and ours(build(read_results(out)), "fid_art").loc["styleid", "mark"] == "best"
    write_cell(out, "styleid", "0009__new", None)  # the set is still that of the others, and N says of how many
    assert found()["styleid"] == 15.0
    picture = out / "cells" / "styleid" / ITEMS[2] / "stylised.png"
    picture.write_bytes(b"painted again")
    table = ours(build(read_results(out)), "fid_art")
    assert set(found()) == VALUES.keys() - {"styleid"}
    assert table.loc["styleid", ["mark", "n"]].isna().all()
    assert table.loc["styleid", "reason"] == "not scored: python -m evaluation.score OUT"
    picture.write_bytes(ITEMS[2].encode())
    assert found()["styleid"] == 15.0
    picture.unlink()
    assert "styleid" not in found()


def test_the_same_picture_of_another_reference_is_not_scored(out: Path) -> None:
    """As of a method that copies the content: the picture stays, and what it is compared with does not."""
    inputs = {role: {"path": f"{role}.png", "sha256": role} for role in ("content", "reference 1")}
    path = out / "cells" / "identity" / ITEMS[0] / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"inputs": inputs}))
    results = read_results(out)
    assert ours(build(results), "lpips_alex").loc["identity", "n"] == 11
    assert results.sets.query("label == 'identity'")["value"].isna().all()


@pytest.mark.parametrize("name", [f"{ITEMS[2]}/scores.json", "sets.json"])
def test_scores_at_two_sizes_are_refused(out: Path, name: str) -> None:
    path = out / "cells" / "styleid" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": 256}))
    with pytest.raises(InputError, match="scored at sizes 256 and None"):
        read_results(out)


# --- pages ---


@pytest.mark.slow
def test_markdown_has_arrows_marks_dashes_and_rules(out: Path) -> None:
    assert write_tables(out, "stylegallery")[0] == []
    rescore(out, "styleid", "lpips_alex", score(None, COMMAND))
    write_tables(out, "stylegallery")
    text = (out / "tables" / "table.md").read_text()
    lines = text.splitlines()
    assert re.search(r"\| lpips_alex v1 ↓ \(N=12\) ", text) and "style_blocks_efficientnet v1 ↑ (N=12)" in text
    row = next(line for line in lines if line.startswith("| stylegallery "))
    assert re.search(r"\*\*0\.3\d+ \[0\.3\d+, 0\.3\d+\]\*\*", row)
    assert "– [1]" in next(line for line in lines if line.startswith("| styleid ")) and f"- [1] {COMMAND}" in lines
    assert f"- No column for csd: {COMMAND}." in lines and "| csd" not in text
    assert any("one reference get the first reference" in line for line in lines)
    assert any("The scales differ for Style (style_blocks_efficientnet)" in line for line in lines)
    assert any(line.startswith("| identity (calibration)") for line in lines)
    assert re.search(r"\| StyTR-2 \(reported\) +\| 0\.3856 ", text)  # no difference: ours is of 12 of 750 items


@pytest.mark.slow
def test_latex_names_model_benchmark_and_units_and_fits_a_page(out: Path) -> None:
    for metric in ("lpips_vgg", "ms_ssim", "edge_f1", "structure_dino"):
        for label in VALUES:
            rescore(out, label, metric, score(0.5, version=metric_info(metric).version))
    write_tables(out, "stylegallery")
    text = (out / "tables" / "table.tex").read_text()
    tables = text.split(r"\begin{table}")[1:]
    assert [re.findall(r"\\begin\{tabular\}\{(l\w+)\}", table) for table in tables] == [
        ["lrrrr"], ["lr"], ["lrr"], ["lr"], ["lrr"],  # five of structure, fid_art and the 16 blocks, artfid, costs
    ]  # fmt: skip
    for table in tables:
        assert r"\resizebox{\ifdim\width>\linewidth" in table and r"\toprule" in table
        assert "Benchmark: stylegallery. Model: none." in table and "All labels with scores have the same 12" in table
    assert r"\caption{Structure (1 of 2). " in text and r"\caption{Cost. " in text
    assert r"\textbf{0.3" in text and r"\underline{0.4" in text and r"$\downarrow$" in text
    assert r"seconds (s) $\downarrow$" in text and r"peak\_memory\_mib (MiB)" in text and "(N=12)" in text
    assert r"StyleGallery, $\lambda_c$ 0.26 (reported)" in text  # a subscript, as in the paper
    plain = text[text.index(r"\begin") :].replace(r"$\lambda_c$", "")
    assert not re.search(r"(?<!\\)_", plain) and "csd" not in text[text.index(r"\begin") :]
    assert text.isascii()


@pytest.mark.slow
def test_a_page_shows_the_rows_and_columns_that_are_chosen(out: Path) -> None:
    """In one table, in their order, by the names they are given."""
    chosen = {"rows": ["stytr2", "styleid:Ours", "cast"], "columns": ["fid_art", "lpips_alex:LPIPS (Alex)"]}
    write_tables(out, "stylegallery", **chosen)
    text = (out / "tables" / "table.md").read_text()
    shown = ["stytr2", "Ours", "CAST (reported)", "StyTR-2 (reported)", "StyleID (reported)"]
    assert re.findall(r"^\| (\w[^|]*?) +\|", text, re.MULTILINE) == shown
    assert re.search(r"\| fid_art v2 ↓ \(N=12\) +\| LPIPS \(Alex\) ↓ \(N=12\) +\|", text)
    assert "- LPIPS (Alex) is lpips_alex v1.\n" in text and text.count("\n## ") == 2
    assert "style_blocks" not in text.partition("## Notes")[0]
    assert set(pd.read_csv(out / "tables" / "table.csv")["label"]) > set(VALUES)  # the frames hold everything
    for wrong, says in (
        ({"rows": ["nobody:Ours"]}, "nobody is no label here"), ({"columns": ["x"]}, "x is no metric here"),
        ({"rows": ["styleid:A", "stytr2:A"]}, "styleid:A stytr2:A: pass every label once, by a name of its own"),
        ({"columns": ["fid_art", "fid_art:FID"]}, "pass every metric once"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            write_tables(out, "stylegallery", **wrong)


CHOSEN = {
    "rows": ["stylegallery:[Ours] *50 %* {a}_b", "stytr2:--3 # ~é", "styleid", "identity", "reference_copy", "cast"],
    "columns": ["lpips_alex:LPIPS", "style_blocks_efficientnet:Style & co.", "fid_art", "artfid:Art^FID", "seconds:s"],
}  # fmt: skip


@pytest.mark.slow
def test_latex_of_chosen_columns_is_one_float_of_whole_rows(out: Path) -> None:
    rescore(out, "styleid", "lpips_alex", score(None, "failed: C:\\tmp\\ä_100%_北.png"))
    write_tables(out, "stylegallery", **CHOSEN)
    text = (out / "tables" / "table.tex").read_text()
    assert text.count(r"\begin{table*}[tp]") == text.count(r"\end{table*}") == 1
    table = text[text.index(r"\begin{tabular}{lrrrrr}") : text.index(r"\end{tabular}")]
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [5] * len(rows)
    assert [row.partition(" & ")[0] for row in rows[:7]] == [
        "", r"{}[Ours] *50 \%* \{a\}\_b", r"-{}-3 \# \~{}é", "styleid", "identity (calibration)",
        r"reference\_copy (calibration)", "CAST (reported)",
    ]  # fmt: skip
    assert table.count(r"\midrule") == 3  # methods, calibration rows, reported rows
    assert rows[0].startswith(
        r" & LPIPS $\downarrow$ & Style \& co. $\uparrow$ & fid\_art v2 $\downarrow$ & Art\^{}FID"
    )
    assert re.search(r"\\textbf\{0\.3\d+\} \{\\scriptsize \[0\.3\d+, 0\.3\d+\]\} &", rows[1])
    assert rows[3].startswith(r"styleid & \textendash{} [1] & ") and r"[1] failed: C:\textbackslash{}tmp" in text
    assert "(N=12); the arrow" in text and "(N=" not in table and "LPIPS is lpips\\_alex v1, Style" in text


def test_tables_of_two_runs_fit_into_one_paper(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Labels of LaTeX begin with the benchmark and the name of the folder."""
    found = []
    for name in ("Main run", "stylegallery"):
        copy = shutil.copytree(out, tmp_path_factory.mktemp("runs") / name)
        write_tables(copy, rows=["styleid"], columns=["lpips_alex", "seconds"])
        found += re.findall(r"\\label\{(.+)\}", (copy / "tables" / "table.tex").read_text())
    assert found == ["tab:stylegallery-main-run-results", "tab:stylegallery-results"]


def test_only_what_is_shown_is_named_and_no_folder_of_this_machine(out: Path) -> None:
    model = {"_target_": "x.Model", "model": {"path": "/home/me/models/linear"}}
    change(out, "stytr2", ITEMS[0], config=model, weights={"model.path": "digest"})
    change(out, "stytr2", ITEMS[1], seed=3)
    for label in ("stytr2", "styleid"):
        rescore(out, label, "lpips_alex", score(None, f"failed: /home/me/{label}/a.png cannot be read"), ITEMS[:1])
    shutil.rmtree(out / "cells" / "stytr2" / ITEMS[2])
    write_tables(out)
    text = (out / "tables" / "table.tex").read_text()
    assert "models/linear" in text and "stytr2 mixes results" in text and "stytr2 has least (11)" in text
    assert "failed: a.png cannot be read" in text and "/home/me" not in text
    write_tables(out, rows=["styleid", "stylegallery"])
    text = (out / "tables" / "table.tex").read_text()
    assert "a label that is not shown has least (11)" in text and "styleid: lpips" in text
    assert "stytr2" not in text.replace("StyTR-2", "") and "linear" not in text


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="needs pdflatex: apt-get install texlive-latex-recommended"
)
@pytest.mark.parametrize("chosen", [{}, CHOSEN], ids=["all", "chosen"])
@pytest.mark.parametrize("style", ["", "twocolumn"])
def test_latex_compiles_into_a_paper(out: Path, tmp_path: Path, style: str, chosen: dict[str, list[str]]) -> None:
    rescore(out, "styleid", "lpips_alex", score(-1.5))
    rescore(out, "stytr2", "lpips_alex", score(None, "failed: <a> | {\\x} ä_100%_北.png $&#^~"))
    write_tables(out, "stylegallery", **chosen)
    label = re.findall(r"\\label\{(.+)\}", (out / "tables" / "table.tex").read_text())[0]
    paper = rf"""\documentclass[{style}]{{article}}
\usepackage{{booktabs,graphicx}}
\begin{{document}}
Table~\ref{{{label}}}.
\input{{{out}/tables/table.tex}}
\end{{document}}
"""
    (tmp_path / "paper.tex").write_text(paper)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
        said = process.stdout.decode(errors="replace")
        assert process.returncode == 0, said[-3000:]
    assert "Overfull" not in said and "Missing character" not in said and "Output written on paper.pdf" in said
    assert "LaTeX Warning: Reference" not in said


@pytest.mark.slow
def test_text_fits_into_eighty_columns_whatever_the_labels(out: Path) -> None:
    long = [f"stylegallery@matching.semantics_weight={number / 10}" for number in range(11)]
    for label in long:
        for item in ITEMS:
            write_cell(out, label, item, {name: score(0.5) for name in ("lpips_alex", "ms_ssim", "gram_vgg19", "cfsd")})
    page = write_tables(out, "stylegallery")[1]
    lines = page.text(80).splitlines()
    assert max(map(len, lines)) <= 80 and lines[0].startswith("- Benchmark: of lost settings, stylegallery.")
    assert len(page.text(300).splitlines()) < len(lines)


def test_ties_are_decided_as_they_are_printed(out: Path) -> None:
    """0.25304 and 0.25296 print as 0.253; 12345.6 as 12346, and 9999.6 has no exponent either."""
    for label, value in (("stylegallery", 0.25304), ("stytr2", 0.25296), ("styleid", 0.2529)):
        rescore(out, label, "lpips_alex", score(value))
    table = ours(build(read_results(out)), "lpips_alex")
    assert table["mark"].dropna().to_dict() == {"stylegallery": "second", "stytr2": "second", "styleid": "best"}
    assert [number(value) for value in (0.25304, 0.25296, 12345.6, 9999.6, -9999.6, 9999.4, 0.0055412)] == [
        "0.253", "0.253", "12346", "10000", "-10000", "9999", "0.005541",
    ]  # fmt: skip


# --- what stands above ---


def change(out: Path, label: str, item: str, **values: Any) -> None:
    path = out / "cells" / label / item / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.slow
def test_what_one_label_mixes_is_said_above_the_tables(out: Path) -> None:
    for place, item in enumerate(ITEMS):
        versions = {"torch": "2.6" if place < 5 else "2.7", "device": "H200" if place else "EPYC", "numpy": "2.0"}
        change(out, "styleid", item, environment=versions, code="abc" if place < 2 else "def", seed=place % 2)
        change(out, "stytr2", item, environment={"torch": "2.6"}, code="abc", seed=0, weights={"path": str(place == 3)})
    change(out, "stytr2", ITEMS[0], error="failed", environment={"torch": "1.0"})
    found = read_results(out).mixed
    assert found == [
        "styleid mixes results of different seed (number of items): 0 (6), 1 (6)",
        "styleid mixes results of different code (number of items): abc (2), def (10)",
        "styleid mixes results of different torch (number of items): 2.6 (5), 2.7 (7)",
        "styleid mixes results of different device (number of items): EPYC (1), H200 (11)",
        "stytr2 mixes results of different weights of path (number of items): False (10), True (1)",
    ]
    page = write_tables(out, "stylegallery")[1]
    markdown = (out / "tables" / "table.md").read_text()
    latex = (out / "tables" / "table.tex").read_text()
    for line in found:
        assert f"- {line}" in markdown[: markdown.index("##")] and line in " ".join(page.text(80).split())
        assert line.replace("_", r"\_") in latex


@pytest.mark.slow
def test_the_label_with_fewest_items_is_named_and_can_be_left_out(out: Path) -> None:
    for item in ITEMS[2:]:
        shutil.rmtree(out / "cells" / "stytr2" / item)
    line = "2 of 12 items count, those that all labels with scores have: stytr2 has least (2). Without it 12 would."
    page = write_tables(out, "stylegallery")[1]
    assert page.above[1].startswith(line) and line in (out / "tables" / "table.md").read_text().partition("##")[0]
    page = write_tables(out, "stylegallery", without=["stytr2"])[1]
    assert page.above[1] == "All labels with scores have the same 12 items."
    table = pd.read_csv(out / "tables" / "table.csv")
    table = table[table["source"] == "ours"]
    assert "stytr2" not in set(table["label"]) and (ours(table, "lpips_alex")["n"] == 12).all()
    with pytest.raises(InputError, match="nobody is no label here; pass some of: identity, "):
        write_tables(out, "stylegallery", without=["nobody"])
    with pytest.raises(InputError, match="has no labels but"):
        write_tables(out, "stylegallery", without=list(VALUES))


@pytest.mark.slow
def test_frames_on_disk_agree_and_equal_records_give_equal_bytes(out: Path) -> None:
    write_tables(out, "stylegallery")
    folder = out / "tables"
    assert {path.name for path in folder.iterdir()} == FILES
    for name in ("table", "items"):
        csv, parquet = pd.read_csv(folder / f"{name}.csv"), pd.read_parquet(folder / f"{name}.parquet")
        assert len(csv) == len(parquet) and csv["value"].tolist() == pytest.approx(
            parquet["value"].tolist(), nan_ok=True
        )
    first = {name: (folder / name).read_bytes() for name in FILES}
    write_tables(out, "stylegallery")
    assert first == {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("name", ["table.md", "items.csv"])
def test_tables_of_the_user_are_not_replaced(out: Path, name: str) -> None:
    (out / "tables").mkdir()
    (out / "tables" / name).write_text("mine")
    with pytest.raises(
        InputError, match=rf"/{name} is not replaced, as table\.md does not say that this command wrote"
    ):
        write_tables(out, "stylegallery")
    assert {path.name: path.read_text() for path in (out / "tables").iterdir()} == {name: "mine"}


@pytest.mark.slow
def test_paired_tests_against_the_chosen_method(out: Path) -> None:
    write_tables(out, "styleid")
    tests = pd.read_csv(out / "tables" / "tests.csv").set_index(["metric", "method"])
    row = tests.loc[("lpips_alex", "stylegallery")]
    assert row["against"] == "styleid" and row["n"] == 12 and row["mean_difference"] == pytest.approx(-0.1, abs=0.03)
    assert row["rank_biserial"] == pytest.approx(-1) and row["p"] < 1e-3
    assert row["p_holm"] == pytest.approx(2 * row["p"])  # two methods
    assert row["low"] < row["mean_difference"] < row["high"] < 0
    assert "identity" not in tests.index.get_level_values("method")
    for unknown in ("nobody", "identity"):  # rows of calibration are not compared
        says = f"{unknown} is no method to compare with here; pass some of: styleg"
        with pytest.raises(InputError, match=says):
            write_tables(out, unknown)
    write_tables(out, without=["stylegallery"])
    assert len(pd.read_csv(out / "tables" / "tests.csv")) == 0
    assert "No paired tests: there are no results of stylegallery" in (out / "tables" / "table.md").read_text()


# --- calibration ---


@pytest.mark.parametrize(
    ("metric", "identity", "copy", "says"),
    [
        ("lpips_alex", 0.8, 0.1, "identity (0.8) must beat reference_copy (0.1)"),
        ("style_blocks_efficientnet", 0.9, 0.9, "reference_copy (0.9) must beat identity (0.9)"),
        ("lpips_alex", 0.5, 0.7, "a method beats identity (0.5)"),
    ],
)
def test_calibration_out_of_order_fails_loudly_and_still_writes(
    out: Path, metric: str, identity: float, copy: float, says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rescore(out, "identity", metric, score(identity))
    rescore(out, "reference_copy", metric, score(copy))
    monkeypatch.setattr(sys, "argv", ["tables", str(out)])
    assert main() == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == f"error: {metric} is out of order: {says}"
    assert says in (out / "tables" / "table.md").read_text()
    assert {path.name for path in (out / "tables").iterdir()} == FILES


def test_a_mean_over_references_has_no_order_of_calibration_and_is_explained(out: Path) -> None:
    for label, value in (("identity", 0.9), ("reference_copy", 0.8), ("styleid", 0.7)):
        rescore(out, label, "style_blocks_efficientnet_mean", score(value))
    assert write_tables(out, "stylegallery")[0] == []
    assert "`_mean` is the mean over all of them" in (out / "tables" / "table.md").read_text()


def test_a_table_without_calibration_says_so(out: Path) -> None:
    for path in sorted((out / "cells" / "identity").rglob("record.json")):
        path.unlink()
    assert write_tables(out, "stylegallery")[0] == []
    assert "Not calibrated: run method=identity into" in (out / "tables" / "table.md").read_text()


# --- bad input ---


def test_scores_of_another_version_do_not_count_and_those_of_retired_metrics_are_gone(out: Path) -> None:
    rescore(out, "stytr2", "lpips_alex", score(0.4, version=0), ITEMS[:1])
    rescore(out, "stytr2", "leakage", score(0.1), ITEMS[:2])
    path = out / "cells" / "styleid" / "sets.json"
    content = json.loads(path.read_text())
    content["metrics"]["fid_art"]["version"] = 1
    path.write_text(json.dumps(content))
    table = build(read_results(out))
    assert ours(table, "lpips_alex").loc["stylegallery", "n"] == len(ITEMS) - 1 and "leakage" not in set(
        table["metric"]
    )
    row = ours(table, "fid_art").loc["styleid"]
    assert np.isnan(row["value"]) and row["reason"] == "not scored in version 2: python -m evaluation.score OUT"


@pytest.mark.slow
def test_regional_scores_of_another_annotation_do_not_count(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests: dict[str, str | None] = {"annotation": "first"}
    monkeypatch.setattr("evaluation.results.annotation_digest", lambda folder: digests["annotation"])
    rescore(out, "stytr2", "regional_style_efficientnet", score(0.5) | {"annotation": "first"})

    def row() -> pd.Series:
        return ours(build(read_results(out)), "regional_style_efficientnet").loc["stytr2"]

    assert row()["value"] == 0.5
    digests["annotation"] = "second"
    assert np.isnan(row()["value"])
    assert row()["reason"] == "not scored on the present regions and matches: python -m evaluation.score OUT"
    rescore(out, "stytr2", "regional_style_efficientnet", score(0.5))  # of an earlier version, which has no annotation
    digests["annotation"] = None
    assert np.isnan(row()["value"]) and row()["reason"].startswith("not scored on the present regions and matches")


def test_damaged_files_and_unknown_metrics_are_refused(out: Path) -> None:
    (out / "cells" / "stytr2" / ITEMS[0] / "scores.json").write_text("{")
    with pytest.raises(InputError, match=r"scores\.json cannot be read"):
        read_results(out)
    with pytest.raises(InputError, match="a metric nonsense that"):
        metric_info("nonsense")


def test_the_command_prints_the_table_and_names_an_empty_folder(
    out: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["tables", str(out), "--against", "styleid"])
    assert main() == 0
    assert "lpips_alex v1 ↓" in capsys.readouterr().out
    assert (pd.read_csv(out / "tables" / "tests.csv")["against"] == "styleid").all()
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setattr(sys, "argv", ["tables", str(empty)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {empty} holds no records")


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (
            ["--columns", "csd"],
            f"error: there is no value to show (csd: {COMMAND}); mend this, and then run python -m ",
        ),
        (["--against", "nope"], "error: nope is no method to compare with here; pass some of: stylegallery, styleid"),
        (["--rows", "styleid:日本"], "error: 日本: the usual fonts of LaTeX have no 日本; pass styleid:NAME with"),
    ],
)
def test_a_page_that_cannot_be_as_asked_is_refused(
    out: Path, chosen: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tables", str(out), *chosen])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and not (out / "tables").exists()
    assert capsys.readouterr().err.startswith(says)


# --- reported numbers ---


@pytest.fixture
def twelve_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the reported numbers were of these items at their size."""
    for key, value in (("items", len(ITEMS)), ("size", "64x64")):
        monkeypatch.setitem(read_reported()["benchmark"], key, value)


@pytest.mark.slow
def test_all_reported_rows_stand_in_the_table_with_the_difference(out: Path, twelve_items: None) -> None:
    table = build(read_results(out))
    comparison, ablation = table[table["source"] == "comparison"], table[table["source"] == "ablation"]
    assert comparison["reported"].nunique() == 10 and len(comparison) == 50
    assert ablation["reported"].nunique() == 5 and len(ablation) == 15
    row = comparison[(comparison["label"] == "stytr2") & (comparison["metric"] == "lpips_alex")].iloc[0]
    assert row["difference"] == ours(table, "lpips_alex").loc["stytr2", "value"] - 0.3856
    write_tables(out, "stylegallery")
    text = (out / "tables" / "table.md").read_text()
    assert re.search(r"\| StyTR-2 \(reported\) +\| 0\.3856 \(ours \+0\.0\d+\)", text)


def test_no_difference_is_shown_of_part_of_the_benchmark(out: Path) -> None:
    assert build(read_results(out))["difference"].isna().all()


def test_no_difference_is_shown_of_another_size(out: Path, twelve_items: None) -> None:
    """One picture of styleid is larger; then all are scored at 32 px, then at the paper's size."""
    change(out, "styleid", ITEMS[3], size=[80, 64])

    def shown() -> set[str]:
        table = build(read_results(out))
        return set(table["label"][table["difference"].notna() & (table["source"] == "comparison")])

    assert shown() == {"stylegallery", "stytr2"}
    for side, labels in ((32, set()), (64, {"stylegallery", "stytr2", "styleid"})):
        for path in [*out.glob("cells/*/*/scores.json"), *out.glob("cells/*/sets.json")]:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"size": side}))
        assert shown() == labels


def test_no_difference_is_shown_where_only_rankings_compare(out: Path, twelve_items: None) -> None:
    """The docstrings of Gram and StyleBlocks say so of the paper's own backbone, VGG19, too."""
    for metric in ("gram_vgg19", "style_blocks_vgg19"):
        for label in VALUES:
            rescore(out, label, metric, score(0.5))
        assert "rankings compare" in " ".join((get_class(target(metric)).__doc__ or "").split())
    table = build(read_results(out))
    assert set(table["metric"][table["difference"].notna()]) == {"lpips_alex", "fid_art", "artfid"}
    assert {"gram_vgg19", "style_blocks_vgg19"} <= set(table["metric"][table["source"] == "comparison"])


def target(metric: str) -> str:
    return str(yaml.safe_load((METRICS / f"{metric}.yaml").read_text())["_target_"])


@pytest.mark.slow
@pytest.mark.parametrize("manifest", ["stylegallery60", "mixed", "styleid"])
def test_reported_rows_stand_beside_their_own_benchmark_only(out: Path, manifest: str) -> None:
    freeze(out, "styleid", manifest)
    assert set(build(read_results(out))["source"]) == {"ours"}
    write_tables(out, "stylegallery")
    assert "(reported)" not in (out / "tables" / "table.md").read_text()
    (out / "config" / "styleid.yaml").unlink()
    assert set(build(read_results(out))["source"]) == {"ours"}


@pytest.mark.slow
def test_no_difference_is_shown_across_backbones_or_from_the_embedded_model(out: Path, twelve_items: None) -> None:
    """Style stands in the column of its twin; `stylegallery` is of the embedded model, the others say of none."""
    for item in ITEMS:
        change(out, "stylegallery", item, config={"model": {"path": "embedded"}})
    table = build(read_results(out))
    shown = table[(table["source"] == "comparison") & table["difference"].notna()]
    assert set(shown["metric"]) == {"lpips_alex", "fid_art", "artfid"}
    assert set(shown["label"]) == {"styleid", "stytr2"}
    write_tables(out, "stylegallery")
    lines = (out / "tables" / "table.md").read_text().splitlines()
    assert "ours" not in next(line for line in lines if line.startswith("| StyleGallery (reported)"))


@pytest.mark.parametrize("label", sorted(read_reported()["comparison"]))
def test_reported_artfid_is_that_of_its_parts(label: str) -> None:
    values = dict(zip(read_reported()["metrics"], read_reported()["comparison"][label]["values"], strict=True))
    assert (1 + values["LPIPS"]) * (1 + values["FID"]) == pytest.approx(values["ArtFID"], abs=0.006)


@pytest.mark.slow
def test_our_artfid_must_be_that_of_its_parts(out: Path) -> None:
    path = out / "cells" / "stytr2" / "sets.json"
    content = json.loads(path.read_text())
    assert write_tables(out, "stylegallery")[0] == []
    content["metrics"]["artfid"]["value"] += 0.01
    path.write_text(json.dumps(content))
    assert len(complaints := write_tables(out, "stylegallery")[0]) == 1
    assert complaints[0].startswith("artfid of stytr2 is")
    content["n"] = 7  # other items: nothing to compare
    path.write_text(json.dumps(content))
    assert write_tables(out, "stylegallery")[0] == []
