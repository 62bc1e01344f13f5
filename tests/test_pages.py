"""Pages say what the code says: settings, metrics, error messages, and figures."""

import re
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from composing import ROOT
from documented import PAGES, name_of

from evaluation.registry import metric_files
from stylegallery.weights import find

sys.path.insert(0, str(ROOT / "docs"))
import make_pages

DOCS = ROOT / "docs"
SOURCES = ("stylegallery", "harness", "evaluation", "baselines", "data")
AGAIN = "run python docs/make_pages.py"


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_readme_fits_two_screens() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 92


@pytest.mark.slow
def test_the_page_of_settings_is_that_of_the_config() -> None:
    assert text_of(DOCS / "settings.md") == make_pages.settings_page(), AGAIN


@pytest.mark.slow
def test_every_setting_has_a_meaning_and_a_default() -> None:
    groups = ("data", "model", "encoder", "depth", "segmenter", "method", "condition", "launcher", "tracker")
    paths = [ROOT / "conf/config.yaml", *(path for group in groups for path in (ROOT / "conf" / group).glob("*.yaml"))]
    bases = [path for path in paths if path.stem != "none" and not make_pages.bases(path)]
    own = [setting for path in bases for setting in make_pages.read(path)[0]]
    assert len(own) > 150
    assert [setting.name for setting in own if not setting.meaning] == []
    assert [setting for setting in own if "|" in "".join(setting[1:5])] == []


def test_a_comment_is_meaning_unit_and_source(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    lines = [
        "# Head. More.",
        "out: [1, 2] # what it is",
        "  # in two lines | px | paper",
        "text: >- # a text",
        "  a | b",
        "last: 1",
    ]
    path.write_text("\n".join(lines))
    root = yaml.compose(path.read_text())
    found = {setting.name: setting for setting in make_pages.in_mapping(root, "", path.read_text())}
    assert found["out"][:5] == ("out", "[1, 2]", "what it is in two lines", "px", "paper")
    assert found["text"][:3] == ("text", "a | b", "a text")
    assert found["last"][2:5] == ("", "", "")
    assert make_pages.header(path) == "Head."


def test_types_in_words() -> None:
    from typing import Literal

    from stylegallery.settings import Count, Positive, Seconds, Share, Weights

    assert make_pages.allowed(Count) == "whole number from 1 to 10,000"
    assert make_pages.allowed(Share) == "number from 0 to 1"
    assert make_pages.allowed(Positive | None) == "number above 0 to 1,000,000 or `null`"
    assert make_pages.allowed(Literal["a", "b"]) == "`a` or `b`"
    assert make_pages.allowed(Seconds) == "number above 0 to 1,000,000 or text"
    assert make_pages.allowed(Weights | None) == "file, folder or name"
    assert make_pages.allowed(tuple[Count, Count]) == "list of 2: whole number from 1 to 10,000"


@pytest.mark.slow
def test_the_table_of_metrics_is_that_of_the_classes() -> None:
    assert text_of(DOCS / "metrics.md") == make_pages.metrics_page(text_of(DOCS / "metrics.md")), AGAIN


def test_every_metric_has_a_word_on_what_it_sees_and_misses() -> None:
    written = text_of(DOCS / "metrics.md").partition(make_pages.END)[2]
    first_cells = re.findall(r"^\| (`.*?) \| .+ \| .+ \|$", written, re.M)
    rows = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    names = {re.sub(r"_(mean|independent)$", "", name) for name in metric_files()}
    patterns = [row[:-1] for row in rows if row.endswith("*")]
    assert {name for name in names - rows if not name.startswith(tuple(patterns))} == {
        "texture_2",
        "texture_3",
    }  # `texture_1` to `texture_4`


# --- what is printed ---


@cache
def messages() -> str:
    """The sources with texts that stand in several lines joined, and places for values closed up."""
    text = "".join(path.read_text(encoding="utf-8") for name in SOURCES for path in (ROOT / name).rglob("*.py"))
    text += (ROOT / "run.py").read_text(encoding="utf-8")
    text = re.sub(r"[\"']\s*\n\s*(?:\+ )?f?[\"']", "", text)
    return text.replace("{FETCH}", "python -m stylegallery.weights fetch").replace("\\'", "'").replace('\\"', '"')


@pytest.mark.parametrize("line", re.findall(r"^> (.+)$", text_of(DOCS / "troubleshooting.md"), re.M))
def test_a_sentence_is_printed_so(line: str) -> None:
    parts = [part.strip(" ();") for part in line.split("…")]
    assert [part for part in parts if part and part not in messages()] == []


# --- figures ---

MEASURED = re.compile(r"(?<![\w.=-])\d[\d.,]*\s?(?:s|ms|min|minutes|hours|GiB|TFLOP|dB|grey levels)(?![\w-])")
SETTINGS_AND_LIMITS = {  # figures that are no measurements: what something is set or limited to
    "docs/studio.md", "docs/settings.md", "docs/troubleshooting.md", "docs/pictures.md", "docs/metrics.md",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sections_with_measured_figures_name_a_command(page: Path) -> None:
    """Or link to the page that does."""
    if name_of(page) in SETTINGS_AND_LIMITS:
        return
    for section in re.split(r"^## ", text_of(page), flags=re.M):
        if MEASURED.search(section):
            source = re.search(r"python |make |\]\([^)]*\.(?:md|py)", section)
            assert source, f"{section.splitlines()[0]}: {MEASURED.search(section)}"


def test_every_row_of_table_1_has_its_costs_or_none() -> None:
    section = text_of(DOCS / "reproduce.md").partition("### Time and memory")[2].partition("###")[0]
    runs = yaml.safe_load(text_of(ROOT / "conf/experiment/table1.yaml"))["experiment"]["runs"]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", section, re.M)
    assert sorted(label for label, *_ in rows) == sorted(runs)
    for label, *cells in rows:
        for cell in cells:
            figure = re.search(r"\d.*\*\*(measured|estimated)\*\*", cell)
            assert figure or re.fullmatch(r"no network|no figure: .+", cell), f"{label}: {cell}"


def test_sizes_of_downloads_are_those_of_the_table() -> None:
    """Of every row of docs/reproduce.md with a command and GB."""
    rows = re.findall(r"weights fetch ([\w ]+)` \| (\d+)( more)? \|", text_of(DOCS / "reproduce.md"))
    assert len(rows) == 4
    for names, size, more in rows:
        entries = [find(name) for name in names.split() if not (more and name == "sd15")]
        assert round(sum(entry.megabytes for entry in entries if entry) / 1000) == int(size), names


def numbers_of_results() -> list[float]:
    text = " ".join(path.read_text(encoding="utf-8") for path in (DOCS / "results").glob("*.csv"))
    return [float(number) for number in re.findall(r"(?<![\w.])-?\d+\.\d+(?:e-?\d+)?(?![\w.])", text)]


def test_figures_of_the_discussion_are_in_the_tables() -> None:
    """Decimals of docs/results/discussion.md, rounded as they are there; those of conf/ are settings."""
    values = numbers_of_results()
    settings = set(re.findall(r"\d+\.\d+", "".join(text_of(path) for path in (ROOT / "conf").rglob("*.yaml"))))
    written = set(re.findall(r"(?<![\w.§])\d+\.\d+(?![\w.])", text_of(DOCS / "results" / "discussion.md")))
    rounded = {f"{value:.{digits}f}" for value in values for digits in (1, 2, 3, 4)}
    assert sorted(written - settings - rounded) == []
