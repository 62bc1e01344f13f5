"""`python run.py`: what a user gets, and what a user is told when something is wrong."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, Gallery, Pictures, RunCli, RunInside, paint, paint_three, read_mask
from odd_pictures import BROKEN, BROKEN_PICTURES
from PIL import Image

from harness.locks import lock
from harness.record import Record, read_record
from stylegallery.errors import InputError
from stylegallery.files import PARTIAL
from stylegallery.regions import region_count

pytestmark = pytest.mark.slow  # processes, or many runs of the whole program

FILES = {
    "stylised.png", "overview.png", "matches.json", "matches.png", "energies.csv", "energies.png",
    "regions_content.png", "regions_reference_1.png", "regions_reference_2.png",
    "overlay_content.png", "overlay_reference_1.png", "overlay_reference_2.png",
}  # fmt: skip


IDENTITY = [sys.executable, str(ROOT / "run.py"), "method=identity", "resolution=64"]  # where any result will do


class Finished(NamedTuple):
    folder: Path
    pictures: Pictures
    process: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def finished(run_cli: RunCli, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of the real command line that succeeds."""
    folder = tmp_path_factory.mktemp("finished")
    pictures = paint_three(folder / "pictures")
    process = run_cli(*pictures.overrides(), f"out={folder / 'out'}")
    assert process.returncode == 0, process.stderr
    return Finished(folder / "out", pictures, process)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every visible file except the record, which holds times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES}


def matches_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "matches.json").read_text())


def record_of(folder: Path) -> Record:
    record = read_record(folder)
    assert record is not None
    return record


def regions_of(folder: Path, name: str) -> int:
    return region_count(read_mask(folder / f"regions_{name}.png"))


def assert_refused(process: "subprocess.CompletedProcess[str]", *says: str) -> None:
    """Exit code 2 and one line that begins with `error:`."""
    assert process.returncode == 2, process.stderr
    lines = process.stderr.splitlines()
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in process.stdout
    for text in says:
        assert text in lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, leftovers too, but for the lock, which stays."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder / ".locks"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_nothing_in(folder: Path) -> None:
    assert not folder.is_dir() or contents(folder) == {}


# --- a result ---


def test_success_shows_where_the_result_is(finished: Finished) -> None:
    assert finished.process.stderr == ""
    assert "content · 72x56 px" in finished.process.stdout
    assert "stylised.png" in "".join(re.findall(r"[\w./]", finished.process.stdout))  # long paths are wrapped
    assert "segmentation" in finished.process.stdout
    assert re.search(rf"\bupdates\W+{record_of(finished.folder).updates}\b", finished.process.stdout)


def test_folder_is_complete(finished: Finished) -> None:
    assert contents(finished.folder).keys() == FILES | {"record.json"}
    record = record_of(finished.folder)
    assert set(record.files) == FILES
    assert (record.item, record.seed, record.size) == ("content", 0, (72, 56))
    assert list(record.seconds) == ["segmentation", "matching", "guidance"]
    for name in FILES:
        if name.endswith(".png"):
            with Image.open(finished.folder / name) as image:
                image.load()
    with Image.open(finished.folder / "stylised.png") as image:
        assert (image.mode, image.size) == ("RGB", (72, 56))


def test_provenance_in_the_picture_equals_the_record(finished: Finished) -> None:
    record = record_of(finished.folder)
    with Image.open(finished.folder / "stylised.png") as image:
        text = {key: image.info[key] for key in ("config", "seed", "code")}
    assert text == {"config": record.digest, "seed": "0", "code": record.code}


@pytest.mark.parametrize(
    ("name", "size"), [("content", (72, 56)), ("reference_1", (64, 64)), ("reference_2", (64, 64))]
)
def test_region_maps_are_indexed_and_read_back(finished: Finished, name: str, size: tuple[int, int]) -> None:
    path = finished.folder / f"regions_{name}.png"
    labels = read_mask(path)
    count = region_count(labels)
    with Image.open(path) as image:
        assert (image.mode, image.size) == ("P", size)
        assert np.array_equal(np.asarray(image), labels.numpy())
    assert count >= 2
    assert sorted(torch.unique(labels).tolist()) == list(range(1, count + 1))
    cells = labels[::8, ::8]
    assert torch.equal(cells.repeat_interleave(8, 0).repeat_interleave(8, 1), labels)
    with Image.open(finished.folder / f"overlay_{name}.png") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", size)


def test_matches_name_existing_regions(finished: Finished) -> None:
    matches = matches_of(finished.folder)
    assert [m["content_region"] for m in matches] == [*range(1, regions_of(finished.folder, "content") + 1)]
    for found in matches:
        assert found["reference"] in (1, 2)
        assert 1 <= found["reference_region"] <= regions_of(finished.folder, f"reference_{found['reference']}")
        assert found["pinned"] is False
        terms = 0.25 * found["statistics"] + found["semantics"] + 0.125 * found["geometry"]
        assert found["score"] == pytest.approx(terms)


def test_energies_hold_every_update(finished: Finished) -> None:
    table = pd.read_csv(finished.folder / "energies.csv")
    assert list(table.columns) == ["step", "timestep", "energy", "style", "content"]
    assert table["step"].tolist() == [0, 1]
    assert table["timestep"].tolist() == [501, 1]
    assert table["energy"].tolist() == pytest.approx((table["style"] + 0.26 * table["content"]).tolist(), rel=1e-5)


def test_same_request_gives_the_same_bytes(
    finished: Finished, run_inside: RunInside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder, another process, another state of the global generators."""
    monkeypatch.undo()  # of the blank figures: these are compared too
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002
    run_inside(*finished.pictures.overrides(), f"out={tmp_path}")
    assert bytes_of(tmp_path) == bytes_of(finished.folder)
    first, second = record_of(finished.folder), record_of(tmp_path)
    assert replace(first, seconds=second.seconds, peak_memory_mib=second.peak_memory_mib) == second


def test_summary_counts_references_not_files(run_inside: RunInside, pictures: Pictures, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (10, 8), 1).save(mask)
    printed = run_inside(*pictures.overrides(), f"mask={mask}", f"out={tmp_path / 'out'}")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    assert ["references", "2"] in rows


# --- the same again, and not quite the same ---


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Finished:
    """The finished result with pictures that a test may change."""
    pictures = Pictures(*(Path(shutil.copy(path, tmp_path)) for path in finished.pictures))
    shutil.copytree(finished.folder, tmp_path / "out")
    return finished._replace(folder=tmp_path / "out", pictures=pictures)


def test_rerun_computes_nothing(copy: Finished, run_inside: RunInside, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("built a method although the result is there")

    monkeypatch.setattr("harness.building.instantiate", refuse)
    before = {name: ((copy.folder / name).stat().st_mtime_ns, data) for name, data in contents(copy.folder).items()}
    printed = run_inside(*copy.pictures.overrides(), f"out={copy.folder}")
    assert "already holds this result" in printed
    after = {name: ((copy.folder / name).stat().st_mtime_ns, data) for name, data in contents(copy.folder).items()}
    assert after == before


@pytest.mark.parametrize("change", ["seed", "config", "input", "damaged record"])
def test_changed_request_computes_again(copy: Finished, run_inside: RunInside, change: str) -> None:
    old, before = record_of(copy.folder), (copy.folder / "stylised.png").stat()
    overrides = [*copy.pictures.overrides(), f"out={copy.folder}"]
    if change == "seed":
        overrides.append("seed=1")
    elif change == "config":
        overrides.append("method.guidance.content_weight=0.5")
    elif change == "input":
        paint(copy.pictures.first, 9)
    else:
        (copy.folder / "record.json").write_text("{")
    assert "already holds" not in run_inside(*overrides)
    after = (copy.folder / "stylised.png").stat()
    assert (after.st_mtime_ns, after.st_ino) != (before.st_mtime_ns, before.st_ino)
    assert (record_of(copy.folder).digest == old.digest) == (change == "damaged record")


def test_default_folder_is_the_address(
    pictures: Pictures, run_inside: RunInside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_inside(*pictures.overrides())
    (folder,) = (tmp_path / "outputs").iterdir()
    assert folder.name == f"content-{record_of(folder).digest}"
    assert "already holds" in run_inside(*pictures.overrides())


# --- two processes, and inputs that change ---


def test_a_folder_is_written_by_one_process(finished: Finished, run_built: RunInside, tmp_path: Path) -> None:
    overrides = [*finished.pictures.overrides(), f"out={tmp_path}"]
    with lock(tmp_path, "run"), pytest.raises(InputError, match=r"is being written by another process; wait for it or"):
        run_built(*overrides)
    assert_nothing_in(tmp_path)
    run_built(*overrides)
    assert record_of(tmp_path).seed == 0


def test_input_that_changes_under_way_is_refused(
    pictures: Pictures, run_inside: RunInside, built: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result would be filed under what the picture was."""

    def build(*_: object, **__: object) -> object:
        paint(pictures.first, 9)
        return built

    monkeypatch.setattr("harness.building.instantiate", build)
    with pytest.raises(InputError, match=r"first\.png changed while it was used; run again"):
        run_inside(*pictures.overrides(), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


def test_memory_that_runs_out_is_one_sentence(
    pictures: Pictures, run_built: RunInside, built: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stylize(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(built, "stylize", stylize)
    with pytest.raises(InputError, match=r"^the GPU ran out of memory; pass model\.dtype=bfloat16, .* references$"):
        run_built(*pictures.overrides(), f"out={tmp_path}")


@pytest.mark.parametrize("value", ["nan", "inf", "[1,-inf]"])
def test_number_that_is_not_finite(run_built: RunInside, pictures: Pictures, tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"^method\.matching\.semantics is not a finite number"):
        run_built(*pictures.overrides(), f"method.matching.semantics={value}", f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


# --- some runs of an experiment ---


def test_only_some_runs_of_an_experiment(run_script: RunCli, gallery: Gallery, tmp_path: Path) -> None:
    settings = ["experiment=table1", "only=[color_transfer,identity]", "limit=1", f"out={tmp_path}", "resolution=64"]
    process = run_script(*settings, *gallery.overrides())
    assert process.returncode == 0, process.stderr
    assert {path.parent.parent.name for path in tmp_path.glob("cells/*/*/record.json")} == {
        "color_transfer", "identity",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["experiment=table1", "only=[identity,nobody]"], "only= names nobody, but the runs .* are identity, "),
        (["experiment=table1", "only=nobody"], "only= names nobody, but the runs"),
        (["only=[identity]"], "pass experiment= too"),
        (["data=stylegallery60", "only=[identity]"], "pass experiment= too"),
    ],
)
def test_only_that_chooses_nothing(run_script: RunCli, overrides: list[str], says: str) -> None:
    process = run_script(*overrides)
    assert process.returncode == 2 and re.search(says, process.stderr), process.stderr


# --- references ---


@pytest.mark.parametrize("form", ["folder", "pattern", "one"])
def test_forms_of_references(run_built: RunInside, pictures: Pictures, tmp_path: Path, form: str) -> None:
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    second, first = paint(gallery / "b.png", 2), paint(gallery / "a.png", 3)
    (gallery / "notes.txt").write_text("not a picture")
    source = {"folder": gallery, "pattern": f"{gallery}/*.png", "one": first}[form]
    run_built(f"content={pictures.content}", f"references='{source}'", f"out={tmp_path / 'out'}")
    inputs = json.dumps([file.path for file in record_of(tmp_path / "out").inputs.values()])
    assert (str(first) in inputs, str(second) in inputs) == (True, form != "one")
    assert form == "one" or inputs.index(str(first)) < inputs.index(str(second))
    assert (tmp_path / "out" / "regions_reference_2.png").is_file() == (form != "one")


@pytest.mark.parametrize(("references", "says"), [("[]", "references is empty"), ("[EMPTY]", "holds no picture")])
def test_no_references(run_built: RunInside, pictures: Pictures, tmp_path: Path, references: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    source = references.replace("EMPTY", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=says):
        run_built(f"content={pictures.content}", f"references={source}", f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


# --- files that cannot be used ---


ROLES = ("content", "reference", "mask", "reference mask")


def place(role: str, path: Path, pictures: Pictures) -> list[str]:
    """Overrides that use a file in a role, everything else being fine."""
    content = path if role == "content" else pictures.content
    second = path if role == "reference" else pictures.second
    masks = {"mask": [f"mask={path}"], "reference mask": [f"reference_masks=[null,{path}]"]}
    return [f"content={content}", f"references=[{pictures.first},{second}]", *masks.get(role, [])]


@pytest.mark.parametrize(
    ("role", "kind"), [(role, kind) for role in ROLES for kind in (BROKEN if "mask" in role else BROKEN_PICTURES)]
)
def test_broken_file_in_any_role(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, role: str, kind: str
) -> None:
    name, make, says = BROKEN_PICTURES[kind]
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        run_built(*place(role, tmp_path / name, pictures), f"out={tmp_path / 'out'}")
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert says in message
    assert "\n" not in message
    assert_nothing_in(tmp_path / "out")


@pytest.mark.parametrize("role", ["content", "mask", "reference mask"])
def test_folder_in_place_of_a_file(run_built: RunInside, pictures: Pictures, tmp_path: Path, role: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder is a folder; pass the path of a file"):
        run_built(*place(role, tmp_path / "folder", pictures), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


@pytest.mark.parametrize("role", ROLES)
def test_file_without_read_permission(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, real = paint(tmp_path / "secret.png", 5), Path.open

    def refuse(path: Path, *options: Any, **named: Any) -> Any:  # root reads everything, so that chmod would not do
        if path == secret:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *options, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"secret\.png cannot be read \(Permission denied\); check the path and its"):
        run_built(*place(role, secret, pictures), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


def test_missing_content_on_the_command_line(run_script: RunCli, pictures: Pictures, tmp_path: Path) -> None:
    process = run_script(*place("content", tmp_path / "nowhere.jpg", pictures), f"out={tmp_path / 'out'}")
    assert_refused(process, "nowhere.jpg", "is missing; pass the path")
    assert process.stdout == ""
    assert_nothing_in(tmp_path / "out")


@pytest.mark.parametrize("broken", ["no folder", "empty folder"])
def test_unusable_model_is_an_input_error(
    run_inside: RunInside, pictures: Pictures, tmp_path: Path, broken: str
) -> None:
    """Hydra wraps what a constructor raises; the user must get the sentence inside, not Hydra's traceback."""
    path = tmp_path / "model"
    if broken == "empty folder":
        path.mkdir()
    with pytest.raises(InputError) as caught:
        run_inside(*pictures.overrides(), f"model.path={path}", f"out={tmp_path / 'out'}")
    assert str(path) in str(caught.value)
    assert ("check the path" if broken == "no folder" else "add what is missing or") in str(caught.value)
    assert_nothing_in(tmp_path / "out")


# --- masks ---


def test_mask_makes_regions_of_its_own(run_built: RunInside, pictures: Pictures, tmp_path: Path) -> None:
    """Any size, resized to the nearest cell; its labels follow the automatic ones."""
    Image.fromarray(np.array([[9, 0], [0, 0]], dtype=np.uint8)).save(tmp_path / "mask.png")
    run_built(*place("mask", tmp_path / "mask.png", pictures), f"out={tmp_path / 'out'}")
    cells = read_mask(tmp_path / "out" / "regions_content.png")[::8, ::8]
    assert cells.shape == (7, 9)
    last = region_count(cells)
    expected = torch.zeros(7, 9, dtype=torch.bool)
    expected[:4, :5] = True  # cell i reads mask row i · 2 // 7: the upper half is rows 0..3 and columns 0..4
    assert torch.equal(cells == last, expected)
    assert [m["content_region"] for m in matches_of(tmp_path / "out")] == list(range(1, last + 1))


def test_mask_of_a_reference_belongs_to_that_reference(
    run_built: RunInside, pictures: Pictures, tmp_path: Path
) -> None:
    Image.new("L", (36, 32), 7).save(tmp_path / "mask.png")
    run_built(*place("reference mask", tmp_path / "mask.png", pictures), f"out={tmp_path / 'out'}")
    assert regions_of(tmp_path / "out", "reference_2") == 1
    assert regions_of(tmp_path / "out", "reference_1") >= 2


@pytest.mark.parametrize("role", ["mask", "reference mask"])
def test_mask_with_a_region_that_covers_no_cell(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, role: str
) -> None:
    speck = Image.new("L", (80, 64) if role == "mask" else (72, 64))
    speck.putpixel((1, 1), 3)  # between the pixels that the cells read
    speck.save(tmp_path / "speck.png")
    with pytest.raises(InputError, match=r"index 3 of mask .*speck\.png covers no cell of the \dx\d latent grid"):
        run_built(*place(role, tmp_path / "speck.png", pictures), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


@pytest.mark.parametrize("role", ["mask", "reference mask"])
def test_mask_of_another_picture(run_built: RunInside, pictures: Pictures, tmp_path: Path, role: str) -> None:
    Image.new("L", (64, 100), 3).save(tmp_path / "other.png")
    with pytest.raises(InputError, match=r"mask .*other\.png has 64x100 pixels and its picture \d\dx64; a mask may"):
        run_built(*place(role, tmp_path / "other.png", pictures), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


@pytest.mark.parametrize(("role", "count"), [("mask", 1), ("mask", 66), ("reference mask", 1), ("reference mask", 66)])
def test_mask_with_too_few_or_too_many_labels(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, role: str, count: int
) -> None:
    path = tmp_path / "labels.png"
    Image.fromarray(np.arange(count, dtype=np.uint8)[None]).save(path)
    with pytest.raises(InputError, match=r"labels\.png (is all background; paint|has 65 labels, more than 64; save)"):
        run_built(*place(role, path, pictures), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


def test_more_masks_than_references(run_built: RunInside, pictures: Pictures, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 reference_masks for 2 references; pass at most one each"):
        run_built(*pictures.overrides(), "reference_masks=[null,null,null]", f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


# --- pins and vetoes ---


def test_pin_decides_the_match(finished: Finished, run_inside: RunInside, tmp_path: Path) -> None:
    """Pinned to a region that the scores would not have chosen; the other regions keep their match."""
    free = matches_of(finished.folder)
    pinned = (1, 1) if (free[0]["reference"], free[0]["reference_region"]) != (1, 1) else (2, 2)
    run_inside(*finished.pictures.overrides(), f"pins={{1:[{pinned[0]},{pinned[1]}]}}", f"out={tmp_path}")
    first, *others = matches_of(tmp_path)
    assert (first["reference"], first["reference_region"], first["pinned"]) == (*pinned, True)
    assert others == free[1:]
    assert record_of(tmp_path).constraints["pins"] == [[1, *pinned]]
    assert bytes_of(tmp_path)["stylised.png"] != bytes_of(finished.folder)["stylised.png"]


def test_excluded_and_forbidden_are_left_alone(finished: Finished, run_built: RunInside, tmp_path: Path) -> None:
    free = matches_of(finished.folder)[0]
    run_built(*finished.pictures.overrides(), "excluded=[1]", f"out={tmp_path / 'a'}")
    assert {m["reference"] for m in matches_of(tmp_path / "a")} == {2}
    veto = f"forbidden=[[1,{free['reference']},{free['reference_region']}]]"
    run_built(*finished.pictures.overrides(), veto, f"out={tmp_path / 'b'}")
    first, *others = matches_of(tmp_path / "b")
    assert (first["reference"], first["reference_region"]) != (free["reference"], free["reference_region"])
    assert others == matches_of(finished.folder)[1:]


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ("pins={99:[1,1]}", r"pin names content region 99, but the content has regions 1\.\.\d"),
        ("pins={0:[1,1]}", "pins are written"),
        ("pins={1:[3,1]}", "pin names reference 3, but there are 2 references"),
        ("pins={1:[1,99]}", r"pin names region 99 of reference 1, which has regions 1\.\.\d"),
        ("pins={1:[2]}", "pins are written"),
        ("pins={1:2}", "pins are written"),
        ("pins={sky:[1,1]}", "pins are written"),
        ("pins={1:[a,b]}", "pins are written"),
        ("pins={1:[1,2,3]}", "pins are written"),
        ("pins={1:[1.7,1.2]}", "pins are written"),
        ("pins={1:[true,1]}", "pins are written"),
        ("pins={0.4:[1,1]}", "pins are written"),
        ("pins={0.4\\,x:[1,1]}", "pins are written"),
        ("pins={'0.1,0.1,0.1':[1,1]}".replace("'", "").replace(",", "\\,", 2), "pins are written"),
        ("pins={1:[1,'0.5,1.5']}", "the point 0.5,1.5 lies outside the picture; pass fractions from 0 to 1"),
        ("pins={-0.1\\,nan:[1,1]}", "the point -0.1,nan lies outside the picture"),
        ("pins={0\\,0:[7,'0.5,0.5']}", "pin names reference 7, but there are 2 references"),
        ("forbidden=[['2,0',1,1]]", "the point 2,0 lies outside"),
        ("forbidden=[['0,0',3,'1,1']]", "forbidden pair names reference 3, but there are 2 references"),
        ("forbidden=[[1,2]]", "forbidden pairs"),
        ("forbidden=[[1,3,1]]", "forbidden pair names reference 3, but there are 2 references"),
        ("excluded=[3]", "excluded names reference 3, but there are 2 references"),
        ("excluded=[1,2]", "content region 1 has no region left to match; exclude or forbid less"),
    ],
)
def test_bad_constraint(run_built: RunInside, pictures: Pictures, tmp_path: Path, constraint: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        run_built(*pictures.overrides(), constraint, f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


@pytest.mark.parametrize(
    "override",
    [
        *("content=null", "references=null", "references=[null]", "excluded=2", "excluded=[a]", "pins=[1,2]"),
        *("mask=7", "reference_masks=7", "reference_masks=[7]"),
    ],
)
def test_value_of_the_wrong_kind(run_built: RunInside, pictures: Pictures, tmp_path: Path, override: str) -> None:
    with pytest.raises(InputError):
        run_built(*pictures.overrides(), override, f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


def test_number_as_a_folder_name(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra reads `out=2024` as a number."""
    monkeypatch.chdir(tmp_path)
    run_built(*pictures.overrides(), "out=2024")
    assert record_of(tmp_path / "2024").item == "content"


def test_names_of_any_bytes_on_the_command_line(pictures: Pictures, tmp_path: Path) -> None:
    """On a terminal that has ASCII alone, too."""
    content = pictures.content.rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    out = tmp_path / os.fsdecode(b"out\xe9")
    command = [*IDENTITY, f"content='{content}'", f"references=[{pictures.first}]", f"out='{out}'"]
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = subprocess.run(command, cwd=ROOT, env=ascii_only, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert record_of(out).inputs["content"].path == str(content)


def centre_of(folder: Path, name: str, label: int) -> str:
    """A point of a region, as `x,y` in fractions of the picture: of its cell that is deepest inside."""
    labels = read_mask(folder / f"regions_{name}.png")
    inside = np.pad((labels == label).numpy(), 1)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L1, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return f"{(column + 0.5) / labels.shape[1]:.3f},{(row + 0.5) / labels.shape[0]:.3f}"


def test_pins_by_position(finished: Finished, run_script: RunCli, tmp_path: Path, blank_figures: None) -> None:
    """A point stands for the region that stage 1 finds there, in quotes or not; two in one region may agree."""
    content, reference = centre_of(finished.folder, "content", 2), centre_of(finished.folder, "reference_2", 1)
    numbers = run_script(*finished.pictures.overrides(), "pins={2: [2, 1]}", f"out={tmp_path / 'a'}")
    points = run_script(
        *finished.pictures.overrides(), f"pins={{'{content}': [2, '{reference}'], 2: [2, 1]}}", f"out={tmp_path / 'b'}"
    )
    assert (numbers.returncode, points.returncode) == (0, 0), points.stderr
    assert matches_of(tmp_path / "a") == matches_of(tmp_path / "b")
    assert [match["pinned"] for match in matches_of(tmp_path / "b")] == [False, True, False]
    escaped = content.replace(",", "\\,")
    clash = run_script(*finished.pictures.overrides(), f"pins={{{escaped}:[2,1],2:[1,1]}}", f"out={tmp_path / 'c'}")
    assert_refused(clash, "two pins are in content region 2", "leave one of them out")
    veto = f"forbidden=[['{content}',2,'{reference}']]"
    run_script(*finished.pictures.overrides(), veto, "excluded=[1]", f"out={tmp_path / 'd'}")
    assert (matches_of(tmp_path / "d")[1]["reference"], matches_of(tmp_path / "d")[1]["reference_region"]) != (2, 1)


def test_names_and_company_of_pictures_decide_nothing(finished: Finished, run_built: RunInside, tmp_path: Path) -> None:
    """Another name, another file format, another place in the list: the same regions, and the same bytes."""
    content = tmp_path / "foo.tif"
    Image.open(finished.pictures.content).save(content)
    first, second = finished.pictures.first, tmp_path / "bar.png"
    Image.open(finished.pictures.second).convert("RGB").save(second)
    run_built(f"content={content}", f"references=[{first},{second}]", f"out={tmp_path / 'same'}")
    for name in ("regions_content.png", "matches.json", "energies.csv"):
        assert bytes_of(tmp_path / "same")[name] == bytes_of(finished.folder)[name]
    pixels = [np.asarray(Image.open(folder / "stylised.png")) for folder in (tmp_path / "same", finished.folder)]
    np.testing.assert_array_equal(*pixels)
    copied = shutil.copy(finished.pictures.content, tmp_path / "copied.png")
    run_built(f"content={copied}", finished.pictures.overrides()[1], f"out={tmp_path / 'copy'}")
    assert bytes_of(tmp_path / "copy")["stylised.png"] == bytes_of(finished.folder)["stylised.png"]
    run_built(f"content={copied}", f"references=[{second}]", f"out={tmp_path / 'alone'}")
    alone = bytes_of(tmp_path / "alone")
    assert alone["regions_content.png"] == bytes_of(finished.folder)["regions_content.png"]
    assert alone["regions_reference_1.png"] == bytes_of(finished.folder)["regions_reference_2.png"]


def test_bad_pin_on_the_command_line(run_script: RunCli, pictures: Pictures, tmp_path: Path) -> None:
    process = run_script(*pictures.overrides(), "pins={1:[7,1]}", f"out={tmp_path / 'out'}")
    assert_refused(process, "pin names reference 7", "there are 2 references")
    assert_nothing_in(tmp_path / "out")


# --- output that cannot be written ---


def test_output_below_a_file_on_the_command_line(run_script: RunCli, pictures: Pictures, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    process = run_script(*pictures.overrides(), f"out={tmp_path / 'file' / 'out'}")
    assert_refused(process, str(tmp_path / "file" / "out"), "cannot be written", "pass another out=")
    assert (tmp_path / "file").read_text() == "mine"


def test_read_only_output(run_built: RunInside, pictures: Pictures, mounted: Any) -> None:
    place = mounted("readonly", "ro,size=200k")
    for folder in (place, place / "below"):
        with pytest.raises(InputError, match=r"readonly.* cannot be written \(Read-only file system\); pass another"):
            run_built(*pictures.overrides(), f"out={folder}")
    assert list(place.iterdir()) == []


def test_output_without_write_permission(
    run_built: RunInside, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("harness.folder.tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"out cannot be written \(Permission denied\); pass another out="):
        run_built(*pictures.overrides(), f"out={tmp_path / 'out'}")
    assert_nothing_in(tmp_path / "out")


def test_full_disk_on_the_command_line(pictures: Pictures, mounted: Any) -> None:
    """The overview alone is larger than the disk."""
    place = mounted("full", "size=20k")
    command = [*IDENTITY, *pictures.overrides(), f"out={place}"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert_refused(process, str(place), "No space left on device", "make room or pass another out=")
    assert_nothing_in(place)


def test_full_disk_keeps_the_old_result(finished: Finished, run_built: RunInside, mounted: Any) -> None:
    pages = sum(-(-path.stat().st_size // 4096) for path in finished.folder.iterdir())
    place = mounted("full", f"size={4 * pages + 20}k")  # room for a file or two more
    shutil.copytree(finished.folder, place, dirs_exist_ok=True)
    before = contents(place)
    with pytest.raises(InputError, match="No space left on device"):
        run_built(*finished.pictures.overrides(), "seed=1", f"out={place}")
    assert contents(place) == before
    assert record_of(place).seed == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_killed_while_writing(finished: Finished, run_inside: RunInside, tmp_path: Path) -> None:
    """SIGKILL as soon as the first file of a second result is there: the first result stays, whole and valid, and what
    is left of the second goes when it is made again."""
    folder = tmp_path / "out"
    shutil.copytree(finished.folder, folder)
    overrides = [*finished.pictures.overrides(), f"out={folder}", "seed=1"]
    process = subprocess.Popen([*IDENTITY, *overrides], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.glob(".partial-*/*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert record_of(folder).seed == 0
    assert bytes_of(folder) == bytes_of(finished.folder)
    assert any(name.startswith(PARTIAL) for name in contents(folder))
    run_inside(*overrides)
    assert record_of(folder).seed == 1
    assert contents(folder).keys() == FILES | {"record.json"}
    assert bytes_of(folder)["stylised.png"] != bytes_of(finished.folder)["stylised.png"]
