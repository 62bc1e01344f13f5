"""The layout of a run folder: one module knows it, and only what belongs there is listed."""

import ast
import errno
import os
from pathlib import Path

import pytest
from conftest import ROOT

from harness.folder import ResultFolder, RunFolder, prepare_folder
from stylegallery.errors import InputError

SOURCES = [
    ROOT / "run.py",
    *(path for top in ("harness", "evaluation", "notebooks") for path in (ROOT / top).rglob("*.py")),
]
PARTS = {  # of paths in a run folder
    "config", "cells", "annotation.json", "annotations", "tables", "report.html", "docs", ".locks", "jobs", "wandb",
    "record.json", "stylised.png", "overview.png", "scores.json", "sets.json", "matches.json", "energies.csv",
    "matches.png", "energies.png", "content.png", "regions_", "overlay_", "reference_",
}  # fmt: skip


def constants(node: ast.AST) -> set[str]:
    inner = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return {part for text in inner for part in text.split("/")}


def of_sources(node: ast.AST) -> bool:
    """Whether a path is made of `__file__`: it leads to the sources, not into a run folder."""
    return any(getattr(one, "id", getattr(one, "attr", "")) in ("__file__", "ROOT") for one in ast.walk(node))


def literals(source: str) -> list[str]:
    """Lines that spell out a path in a run folder, or climb from one place in it to another."""
    found = []
    for node in (node for node in ast.walk(ast.parse(source)) if not of_sources(node)):
        match node:
            case ast.BinOp(op=ast.Div(), right=ast.Constant() | ast.JoinedStr() as name):
                bad = bool(constants(name) & PARTS)
            case ast.Call(func=ast.Attribute(attr="glob" | "rglob" | "joinpath" | "with_name") | ast.Name(id="Path")):
                bad = bool(constants(node) & PARTS)
            case ast.Subscript(value=ast.Attribute(attr="parents")):
                bad = True
            case ast.Attribute(attr="parent", value=ast.Attribute(attr="parent")):
                bad = True
            case _:
                bad = False
        if bad:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_module_knows_where_files_of_a_run_folder_are(path: Path) -> None:
    if path != ROOT / "harness" / "folder.py":
        assert literals(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        'out / "cells" / label', 'out / "config" / f"{label}.yaml"', 'out.glob("cells/*/*/record.json")',
        "folder.parents[2]", "path.parent.parent", 'cell / f"../{item}/scores.json"', 'out.joinpath("tables")',
        'Path(out, "config", name)',
    ],
)  # fmt: skip
def test_such_lines_are_found(line: str) -> None:
    assert literals(line)


def test_only_results_of_this_folder_are_listed(tmp_path: Path) -> None:
    """Nothing without a record, no hidden folder, no name that is none of ours, nothing elsewhere by a link."""
    run, elsewhere = RunFolder(tmp_path / "out"), tmp_path / "elsewhere"
    for place in ("b/2", "b/1", "a@x=1/0001__a", "b/.hidden", "b/=sum", ".b/1", "b/empty"):
        (run.cells / place).mkdir(parents=True)
        if not place.endswith("empty"):
            (run.cells / place / "record.json").touch()
    elsewhere.mkdir()
    (elsewhere / "record.json").touch()
    (run.cells / "b" / "link").symlink_to(elsewhere)
    own = [run.result("a@x=1", "0001__a"), run.result("b", "1"), run.result("b", "2")]
    assert run.results() == own and run.results("b") == own[1:]
    assert [(place.label, place.item) for place in own] == [("a@x=1", "0001__a"), ("b", "1"), ("b", "2")]


def test_places_of_a_run_folder(tmp_path: Path) -> None:
    """Folders of earlier versions are read, so these stay as they are."""
    run = RunFolder(tmp_path)
    place = run.result("label", "item")
    assert place == ResultFolder(tmp_path / "cells/label/item")
    assert (place.record.name, place.picture.name, place.scores.name) == ("record.json", "stylised.png", "scores.json")
    assert (
        run.settings("label") == tmp_path / "config/label.yaml" and run.sets("label") == place.path.parent / "sets.json"
    )
    assert run.annotation("stylegallery", "item") == tmp_path / "annotations/stylegallery/item"
    assert run.annotation("independent", "item") == tmp_path / "annotations/independent/item"
    assert [path.name for path in (run.tables, run.report, run.docs, run.jobs)] == [
        "tables",
        "report.html",
        "docs",
        "jobs",
    ]


def test_folder_is_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folder_below_a_file_or_a_file_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"/file.* cannot be written .*; pass another out="):
            prepare_folder(folder)
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("place", ["mkdir", "probe"])
def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    if place == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refuse)
    else:
        monkeypatch.setattr("harness.folder.tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); pass another out="):
        prepare_folder(tmp_path / "out")
