"""What README and the pages beside it point to is there."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from composing import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    """Modules of `python -m`, options of run.py's groups, and names of weights."""
    text = page.read_text(encoding="utf-8")
    assert [name for name in re.findall(r"python -m ([\w.]+)", text) if find_spec(name) is None] == []
    groups = "|".join(path.name for path in (ROOT / "conf").iterdir() if path.is_dir())
    options = re.findall(rf"(?<![\w.@])({groups})=([a-z]\w+)", text)
    missing = {f"{group}={option}" for group, option in options if not (ROOT / f"conf/{group}/{option}.yaml").exists()}
    assert missing - {"method=mine"} == set()  # the reader's own
    presets = re.findall(r"(preset/\w+)@method=(\w+)", text)
    assert [one for one in presets if not (ROOT / "conf" / one[0] / f"{one[1]}.yaml").exists()] == []
