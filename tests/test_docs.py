"""What README and the pages beside it point to is there, and every command on them is one that its program takes."""

import argparse
import re
import runpy
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from composing import ROOT
from documented import PAGES, WRITTEN, Command, commands, has_bash, name_of
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from stylegallery.overrides import as_hydra_reads

MADE_BY_THE_READER = {
    "method=blend",
    "data=tiny",
    "model=mine",
    "experiment=mine",
}  # docs/extending.md, run by test_extending.py
each_written_page = pytest.mark.parametrize("page", WRITTEN, ids=name_of)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text)
    missing = [link for link, _ in links if not (page.parent / link).exists()]
    for link, anchor in links:
        target = page.parent / link if link else page
        if anchor and target.suffix == ".md" and anchor not in anchors(target):
            missing.append(f"{link}#{anchor}")
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@each_written_page
def test_names_exist(page: Path) -> None:
    """Modules of `python -m`, options of run.py's groups, and presets, also where they are no whole command."""
    text = page.read_text(encoding="utf-8")
    assert [name for name in re.findall(r"python -m ([\w.]+)", text) if find_spec(name) is None] == []
    groups = "|".join(path.name for path in (ROOT / "conf").iterdir() if path.is_dir())
    options = re.findall(rf"(?<![\w.@])({groups})=([a-z]\w+)", text)
    missing = {f"{group}={option}" for group, option in options if not (ROOT / f"conf/{group}/{option}.yaml").exists()}
    assert missing - MADE_BY_THE_READER == set()
    presets = re.findall(r"(preset/\w+)@method=(\w+)", text)
    assert [one for one in presets if not (ROOT / "conf" / one[0] / f"{one[1]}.yaml").exists()] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # modules are run twice in one process
@pytest.mark.skipif(not has_bash, reason="bash reads the commands")
@each_written_page
def test_commands_are_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are composed by Hydra, options are read by the parser of their program; nothing is run."""
    monkeypatch.chdir(ROOT)
    for command in commands(page, tmp_path):
        program, *words = command.words
        if program == "make":
            assert {word for word in words if "=" not in word} <= targets(), command
        elif words[:3] == ["-m", "pip", "install"]:
            assert extras(words[-1]) <= known_extras(), command
        elif program == "python" and words[0] == "run.py":
            if not MADE_BY_THE_READER & set(words):
                composes(command, words[1:])
        elif program == "python":
            parses(command, words, monkeypatch)
        else:
            assert program in ("git", "sha256sum", "ray"), command


def targets() -> set[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    return set(line.split())


def known_extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def extras(package: str) -> set[str]:
    return set("".join(re.findall(r"\[(.*)\]", package)).replace(",", " ").split())


def composes(command: Command, words: list[str]) -> None:
    """Of a sweep, its first job."""
    settings = [as_hydra_reads(word) for word in words if not word.startswith("-")]
    assert {word for word in words if word.startswith("-")} <= {"-m", "--help", "--cfg"}, command
    parser = OverridesParser.create()
    for number, override in enumerate(parser.parse_overrides(settings)):
        if override.is_sweep_override():
            assert "-m" in words, command
            first = next(override.sweep_string_iterator())
            settings[number] = f"{override.get_key_element()}={first}"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose("config", overrides=settings)


class Parsed(Exception):
    """Raised in place of whatever a program does once it has read its options."""


def parses(command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = words[0] == "-m"
    spec = find_spec(words[1]) if module else None
    path = Path(spec.origin or "") if spec else ROOT / words[0]
    if path.name == "__init__.py":
        path = path.with_name("__main__.py")
    if not re.search(r"parse_(intermixed_)?args", path.read_text(encoding="utf-8")):
        assert len(words) == 1 + module, f"{command} has options, and {path} reads none"
        return

    def stopping(name: str) -> Any:
        whole = getattr(argparse.ArgumentParser, name)

        def call(*arguments: Any, **given: Any) -> None:
            whole(*arguments, **given)
            raise Parsed

        return call

    with monkeypatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, stopping(name))
        patch.setattr(sys, "argv", words[1:] if module else words)
        try:
            if module:
                runpy.run_module(words[1], run_name="__main__")
            else:
                runpy.run_path(words[0], run_name="__main__")
        except Parsed:
            return
        except SystemExit as end:
            assert end.code == 0 and "--help" in words, command
