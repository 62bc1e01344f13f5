"""Folders of results from others: nothing in them chooses code or names a file outside, and nothing in them is lost."""

import datetime
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import Gallery, paint, result_record

from data.benchmark import load_items
from evaluation import annotations, registry, report, score, tables
from evaluation.metric import Annotation
from evaluation.metrics.histogram import Histogram
from evaluation.publish import __main__ as publishing
from evaluation.publish.commands import commands, decisive
from harness import status
from harness.folder import RunFolder
from harness.frozen import read_frozen
from harness.record import SCHEMA, Request, load_record
from stylegallery.contract import Match
from stylegallery.errors import InputError
from stylegallery.provenance import file_digest

DATA = {"_target_": "data.benchmark.manifest_items", "manifest": "stylegallery60", "files": "stylegallery"}
METHOD = {"_target_": "baselines.identity.Identity", "resolution": 64, "resizing": "square"}
OVERRIDES = ["experiment=table1", "limit=1"]
FROZEN = {"label": "identity", "limit": 1, "seed": 0, "data": DATA, "method": METHOD, "overrides": OVERRIDES}
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`python -m evaluation.<name> arguments` in this process: exit code and what it printed."""

    def main(name: str, *arguments: object) -> tuple[int, str]:
        module = {
            "status": status,
            "annotations": annotations,
            "score": score,
            "tables": tables,
            "publish": publishing,
            "report": report,
        }
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            code: Any = module[name].main()
        except SystemExit as end:
            code = end.code
        return int(code or 0), "".join(capsys.readouterr())

    return main


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished item of `identity`, with a score."""
    folder = tmp_path / "out" / "cells" / "identity" / "0001__ChineseStyle__1__a"
    folder.mkdir(parents=True)
    picture = paint(folder / "stylised.png", 1)
    inputs = {role: {"path": str(picture), "sha256": file_digest(picture)} for role in ("content", "reference 1")}
    record = result_record(folder, config=METHOD, inputs=inputs)
    scores = {"metrics": {"lpips_alex": {"value": 0.5, "version": 1, "reason": None}}, "size": None}
    (folder / "scores.json").write_text(json.dumps(scores | {"pictures": record.depends_on(folder)}))
    freeze(tmp_path / "out", FROZEN)
    return tmp_path / "out"


def freeze(out: Path, values: object) -> Path:
    path = out / "config" / "identity.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


# --- code ---


@pytest.mark.parametrize("command", ["status", "annotations", "publish"])
def test_frozen_settings_choose_no_code(out: Path, tmp_path: Path, call: Call, command: str) -> None:
    mine = tmp_path / "made by their command"
    freeze(out, FROZEN | {"data": {"_target_": "os.mkdir", "path": str(mine)}})
    code, said = call(command, out, *(["--docs", tmp_path / "docs"] if command == "publish" else []))
    assert not mine.exists()
    assert code == 2
    assert f"{out}/config/identity.yaml names os.mkdir, which no file of conf/data declares" in said


@pytest.mark.parametrize(
    "data",
    [
        {"_target_": "data.benchmark.folder_items", "contents": {"_target_": "os.getcwd"}, "references": "x"},
        {"_target_": "data.benchmark.folder_items", "contents": "x", "references": [{"_target_": "os.getcwd"}]},
        {"_target_": "data.benchmark.with_masks", "items": [], "folder": "x"},
        {"_target_": "baselines.identity.Identity"},
    ],
)
def test_only_what_the_repository_declares_as_a_benchmark_is_one(out: Path, data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"names .*, which no file of conf/data declares"):
        read_frozen(freeze(out, FROZEN | {"data": data}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nlabel: identity\nlimit: 1\nseed: 0\ndata: {}\nmethod: {c: *b}\n",
        yaml.safe_dump(FROZEN) + "also: !!python/object/apply:os.getcwd []\n",
        "[" * 5000,
        FROZEN | {"label": "another"},
        FROZEN | {"limit": -1},
        FROZEN | {"seed": "0"},
        FROZEN | {"seed": True},
        FROZEN | {"method": ["x"]},
        FROZEN | {"data": None},
        FROZEN | {"overrides": "limit=1"},
        FROZEN | {"overrides": ["limit=1", 2]},
        FROZEN | {"method": METHOD | {"_target_": "/etc/passwd"}},
        FROZEN | {"method": METHOD | {"resizing": "${oc.env:HOME}"}},
    ],
)
def test_frozen_settings_are_plain_values(out: Path, values: object) -> None:
    with pytest.raises(InputError, match=r"identity\.yaml is not the frozen settings of a label \(.*\); restore it"):
        read_frozen(freeze(out, values))


def test_pictures_are_where_this_machine_has_them(out: Path) -> None:
    assert read_frozen(freeze(out, FROZEN | {"data": DATA | {"root": "/somewhere/of/theirs"}})) == FROZEN


@pytest.mark.parametrize("place", ["model", "encoder", "segmentation"])
def test_annotations_are_made_with_no_code_from_the_folder(
    out: Path, gallery: Gallery, tmp_path: Path, call: Call, place: str
) -> None:
    data = {
        "_target_": "data.benchmark.folder_items",
        "contents": str(gallery.contents),
        "references": str(gallery.references),
    }
    theirs = {"_target_": "os.mkdir", "path": str(tmp_path / "made by their command")}
    method = {"_target_": annotations.TARGET, "matching": {}, place: theirs, "resolution": 64, "resizing": "square"}
    freeze(out, FROZEN | {"data": data, "method": method})
    code, said = call("annotations", out)
    assert not (tmp_path / "made by their command").exists()
    assert code == 2
    assert "config/identity.yaml names os.mkdir, which no file of conf/method declares, so it is not called" in said
    assert "where an earlier version of this code wrote it run again into another out=" in said


@pytest.mark.parametrize("setting", ["manifest", "files", "masks"])
def test_a_benchmark_is_named_by_its_place_in_the_repository(tmp_path: Path, setting: str) -> None:
    (tmp_path / "x.csv").write_text("id,content,references\na,b,c\n")
    (tmp_path / "x.sha256").write_text("")
    for name in (str(tmp_path / "x"), "../manifests/stylegallery60", 5, ["stylegallery60"]):
        with pytest.raises(InputError, match=rf"data\.{setting} is .*, which this repository does not have; pass one"):
            load_items(DATA | {setting: name}, check=False)


def test_settings_that_no_benchmark_takes() -> None:
    with pytest.raises(InputError, match=r"data cannot be used \(got an unexpected keyword argument 'x'\)"):
        load_items(DATA | {"x": 1})


def test_scores_choose_no_code(out: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.yaml").write_text("_target_: theirs.Metric\n")
    (tmp_path / "theirs.py").write_text(
        f"open({str(tmp_path / 'mine')!r}, 'w')\nclass Metric: direction = kind = 'up'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (path,) = out.glob("cells/*/*/scores.json")
    scores = json.loads(path.read_text())
    name = "../" * len(registry.METRICS.parts) + str(tmp_path / "theirs").lstrip("/")
    assert (registry.METRICS / f"{name}.yaml").is_file()
    path.write_text(json.dumps(scores | {"metrics": {name: scores["metrics"]["lpips_alex"]}}))
    code, said = call("tables", out)
    assert not (tmp_path / "mine").exists()
    assert code == 0 and "theirs" not in said  # a metric that conf/ does not have is not shown


def test_printed_commands_quote_what_a_folder_holds(tmp_path: Path) -> None:
    given = "method.path='$(touch mine)'; rm `ls` # ${oc.env:HOME}"
    sweep = SimpleNamespace(out=tmp_path, frozen={"identity": {"overrides": [given], "method": {}}})
    line, *_ = commands(SimpleNamespace(sweep=sweep, ran=["identity"]))  # type: ignore[arg-type]
    assert shlex.split(line) == ["python", "run.py", given, f"out={tmp_path}"]


@pytest.mark.parametrize("hostile", ["method._target_=os.system", "hydra.searchpath=[file:///x]", "--config-dir=x"])
def test_printed_commands_choose_no_code(hostile: str) -> None:
    assert decisive(("experiment=table1", "label=a b", "out=x")) == ["experiment=table1", "label=a b"]
    assert decisive(("experiment=table1", hostile)) == []


# --- damage ---

SHAPES = {
    "binary": b"\xff\xfe\x00\x01",
    "cut": b'{"schema": 2, "digest": "d", "files": {',
    "list": b"[1, {}]",
    "deep": b"[" * 100_000,
    "wrong types": b'{"schema": "2", "label": 1, "metrics": [1], "files": 5, "seconds": "x", "references": -1}',
    "not finite": None,
    "folder": None,
}


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "not finite":
        path.write_bytes(data.replace(b"0.5", b"NaN").replace(b"1.0", b"1e999").replace(b"limit: 1", b"limit: .nan"))
    else:
        path.write_bytes(SHAPES[kind] or b"")


@pytest.fixture
def whole(out: Path) -> Path:
    """The finished item with its annotation and the scores of its set."""
    (cell,) = out.glob("cells/*/*")
    labels = torch.ones(8, 8, dtype=torch.int64)
    request = Request(cell.name, 0, METHOD, {}, {}, {}, "c")
    match = Match(1, 1, 1, 0.5, 0.5, 0.5, 0.5, False)
    annotations.write_annotation(
        RunFolder(out).annotation("stylegallery", cell.name), Annotation(labels, [labels], [match]), request
    )
    scores = {"metrics": {"fid_efficientnet": {"value": 0.5, "version": 1, "reason": None}}, "items": "x", "n": 1}
    pictures = {cell.name: load_record(cell).depends_on(cell)}
    (cell.parent / "sets.json").write_text(json.dumps(scores | {"pictures": pictures, "size": None}))
    return out


FILES = [
    "config/identity.yaml", "cells/*/*/record.json", "cells/*/*/scores.json", "cells/*/*/stylised.png",
    "cells/*/sets.json", "annotations/*/*/annotation.json", "annotations/*/*/matches.json",
    "annotations/*/*/content.png",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", SHAPES)
def test_damaged_files_are_named_and_nothing_is_lost(
    whole: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, file: str, kind: str
) -> None:
    """Every command ends with a sentence or goes on without the damaged file: none fails in any other way."""
    monkeypatch.setattr(score, "build_metrics", lambda names: ([Histogram("nearest")], []))
    (path,) = whole.glob(file)
    damage(path, kind)
    kept = {other: other.read_bytes() for other in whole.rglob("*") if other.is_file() and other.name != "scores.json"}
    for command in ("status", "annotations", "score", "tables", "report", "publish"):
        code, said = call(command, whole, *(["--docs", tmp_path / "docs"] if command == "publish" else []))
        assert code in (0, 1, 2)
        assert "Traceback" not in said
        if code == 2:
            (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
            assert ";" in line
    assert {other: other.read_bytes() for other in kept} == kept


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "record.json: deep": lambda record: record["config"].update(x=nested(470)),
    "record.json: no character in a digest": lambda record: record["inputs"]["content"].update(sha256="\ud800"),
    "record.json: weights are a text": lambda record: record.update(weights="x"),
    "record.json: no content": lambda record: record["inputs"].pop("content"),
    "record.json: long path": lambda record: record["inputs"]["content"].update(path="a" * 300),
    "record.json: large numbers": lambda record: record.update(seconds={"a": 1e308, "b": 1e308}),
    "identity.yaml: long name": lambda frozen: frozen["method"].update(_target_="a" * 300),
    "identity.yaml: many names": lambda frozen: frozen["method"].update(_target_="a." * 3000 + "a"),
    "identity.yaml: no benchmark": lambda frozen: frozen["data"].pop("_target_"),
    "identity.yaml: too few settings": lambda frozen: frozen.update(data={"_target_": "data.custom.custom_item"}),
    "identity.yaml: a setting too many": lambda frozen: frozen.update(
        data={"_target_": "data.custom.custom_item", "content": "a", "references": "b", "x": 1}
    ),
    "identity.yaml: date": lambda frozen: frozen["method"].update(x=datetime.date(2026, 1, 1)),
    "identity.yaml: number as key": lambda frozen: frozen["method"].update({1: 2}),
}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.slow
def test_values_that_no_run_wrote(whole: Path, call: Call, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """In whole files, each of which some command stumbled over."""
    monkeypatch.setattr(score, "build_metrics", lambda names: ([Histogram("nearest")], []))
    name = change.partition(":")[0]
    (path,) = (path for path in whole.rglob(name) if path.is_file())
    values = yaml.safe_load(path.read_text())
    CHANGES[change](values)
    path.write_text(json.dumps(values) if path.suffix == ".json" else yaml.safe_dump(values))
    for command in ("status", "score", "tables", "report"):
        code, said = call(command, whole)
        assert code in (0, 1, 2)
        assert (code == 2) == (len([line for line in said.splitlines() if line.startswith("error: ")]) == 1)
        if path.suffix == ".yaml" and command == "status":
            assert code == 2


def test_records_of_another_version_are_outdated(whole: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command says so by this word, whatever else such a record holds, and goes on."""
    monkeypatch.setattr(score, "build_metrics", lambda names: ([Histogram("nearest")], []))
    (path,) = whole.glob("cells/*/*/record.json")
    path.write_text(json.dumps({"schema": SCHEMA - 1, "made": {"by": "an earlier version"}}))
    (found,) = json.loads(call("status", whole, "--json")[1])[str(whole)]
    assert found["outdated"] == [path.parent.name] and not found["done"] + found["missing"]
    code, said = call("tables", whole)
    assert code == 0
    assert "outdated: another version of this code made it; run the item again (1 item:" in " ".join(said.split())
    code, said = call("score", whole)
    assert code == 1 and "record.json is outdated: another version of this code wrote it; run the item again" in said
    assert call("report", whole)[0] == 0
    assert "outdated: another version of this code made it" in (whole / "report.html").read_text()


@pytest.mark.slow
def test_what_others_wrote_does_not_steer_the_terminal(whole: Path, call: Call) -> None:
    steering = "\x1b]0;theirs\x07\x9b2J"
    (path,) = whole.glob("cells/*/*/record.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"error": f"no luck{steering}", "files": {}}))
    for command in ("status", "score", "tables"):
        said = call(command, whole)[1]
        assert "no luck\\x1b]0;theirs\\x07\\x9b2J" in said
        assert not {"\x1b", "\x9b", "\x07"} & set(said)
    freeze(whole, FROZEN | {"data": DATA | {"manifest": steering}})
    assert "\\x1b]0;theirs" in call("status", whole)[1]


@pytest.mark.parametrize("link", [".report.html.tmp", "cells/*/0*/.scores.json.tmp", "tables/.table.md.tmp"])
def test_links_are_not_written_through(
    whole: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    """At names that somebody could have guessed."""
    monkeypatch.setattr(score, "build_metrics", lambda names: ([Histogram("nearest")], []))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (whole / "tables").mkdir()
    parent, _, name = link.rpartition("/")
    for folder in list(whole.glob(parent)) if parent else [whole]:
        (folder / name).symlink_to(victim)
    for command in ("score", "tables", "report"):
        call(command, whole)
    assert victim.read_text() == "mine"


def test_tables_go_nowhere_else(whole: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "mine").mkdir()
    (whole / "tables").symlink_to(tmp_path / "mine")
    code, said = call("tables", whole)
    assert code == 2 and "tables leads outside" in said
    assert not list((tmp_path / "mine").iterdir())
