"""A run replaces what runs wrote and nothing else: whatever a record, a folder or a kill has left there."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import compose_config
from conftest import paint
from rich.console import Console

import run as script
from evaluation import annotations
from evaluation.metric import Annotation
from harness.folder import RECORD, RESULT_FILES, prepare_folder
from harness.record import Record, Request, read_record
from harness.result_files import require_free, write_result
from stylegallery.contract import Item, Match, Stylization
from stylegallery.errors import InputError
from stylegallery.files import PARTIAL, clear_partial
from stylegallery.images import read_image

METHOD = {"_target_": "baselines.identity.Identity", "resolution": 64, "resizing": "square"}


@pytest.fixture
def identity(item: Item, tmp_path: Path, blank_figures: None) -> Callable[..., None]:
    """`python run.py method=identity` on the item into `out`."""
    given = [f"content={item.content}", f"references={item.references[0]}", f"out={tmp_path / 'out'}"]
    return lambda *more: script.run(compose_config("identity", *given, *more), Console(file=io.StringIO())) and None


def finished_cell(folder: Path, item: Item, seed: int = 0) -> Record:
    image = read_image(item.content)
    return write_result(folder, Request.of(item, seed, METHOD), Stylization(image, image, []), explain=False)


@pytest.fixture
def item(tmp_path: Path) -> Item:
    return Item("item", paint(tmp_path / "content.png", 1), (paint(tmp_path / "reference.png", 2),))


@pytest.mark.parametrize("name", ["../victim.txt", "/{}/victim.txt", "notes.txt", "sub/stylised.png", ".", ""])
def test_a_record_deletes_nothing(tmp_path: Path, item: Item, name: str) -> None:
    """A record that lists what no result consists of is none, and what it lists stays."""
    folder = tmp_path / "out"
    folder.mkdir()
    finished_cell(folder, item)
    record = json.loads((folder / "record.json").read_text())
    for path in (tmp_path / "victim.txt", folder / "notes.txt"):
        path.write_text("mine")
    name = name.format(str(tmp_path)[1:])
    (folder / "record.json").write_text(
        json.dumps(record | {"files": {name: record["files"]["stylised.png"]} | record["files"]})
    )
    assert read_record(folder) is None
    with pytest.raises(InputError, match=r"holds a file record\.json that no record of a result names"):
        require_free(folder, item, begun=False)
    finished_cell(folder, item, seed=1)
    assert (tmp_path / "victim.txt").read_text() == (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["overview.png", "record.json", "stylised.png", "regions_reference_12.png"])
@pytest.mark.parametrize("left", [False, True])
def test_files_of_the_user_are_not_replaced(
    tmp_path: Path, item: Item, identity: Callable[..., None], name: str, left: bool
) -> None:
    """Whether or not a result of ours lies beside them."""
    folder = tmp_path / "out"
    folder.mkdir()
    if left and name.startswith("regions"):
        identity()
    (folder / name).write_text("mine")
    with pytest.raises(InputError, match=rf"out holds a file {name} that no record of a result names, so it is not"):
        identity("seed=1")
    assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize("role", ["content", "reference 1", "link", "result that is a link"])
def test_an_input_is_not_replaced_by_its_result(
    tmp_path: Path, item: Item, identity: Callable[..., None], role: str
) -> None:
    """Not the result of an earlier run either, which is a file of ours, nor a link in its place."""
    folder, link = tmp_path / "out", tmp_path / "link.png"
    identity()
    if role == "result that is a link":
        (folder / "stylised.png").rename(tmp_path / "kept.png")
        (folder / "stylised.png").symlink_to(tmp_path / "kept.png")
    link.symlink_to(folder / "stylised.png")
    path = link if role == "link" else folder / "stylised.png"
    given = f"references={path}" if role == "reference 1" else f"content={path}"
    kept = (folder / "stylised.png").read_bytes()
    with pytest.raises(InputError, match=rf"{path.name}, the (content|reference 1), would be replaced by the result"):
        identity(given)
    assert (folder / "stylised.png").read_bytes() == kept
    assert (folder / "stylised.png").is_symlink() == (role == "result that is a link")


def test_own_results_are_replaced(tmp_path: Path, item: Item, identity: Callable[..., None]) -> None:
    """Also where some of their files are gone."""
    folder = tmp_path / "out"
    identity()
    (folder / "overview.png").unlink()
    (folder / "notes.txt").write_text("mine")
    identity("seed=1")
    record = read_record(folder)
    assert record and record.seed == 1
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_what_a_kill_left_is_cleared(tmp_path: Path, item: Item, identity: Callable[..., None], moved: int) -> None:
    """Killed between the old result and the new one, the files of both go; files of other names stay."""
    folder = tmp_path / "out"
    identity()
    partial = folder / f"{PARTIAL}abcdefgh"
    partial.mkdir()
    (folder / "record.json").rename(partial / "record.json")
    for path in (partial / "stylised.tmp", folder / "regions_reference_2.png", folder / "notes.txt"):
        path.write_text("x")
    for name in ["overview.png", "stylised.png"][moved:]:
        (folder / name).rename(partial / name)
    identity()
    assert {path.name for path in folder.iterdir()} == {
        "record.json", "stylised.png", "overview.png", "notes.txt", ".locks"
    }  # fmt: skip


def test_folders_of_others_are_not_cleared(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "out"
    for path in (mine, folder / f"{PARTIAL}notes"):
        path.mkdir(parents=True)
        (path / "notes.txt").write_text("mine")
        (path / "stylised.png").write_text("x")
        (path / "record.json").write_text("{}")
    (folder / f"{PARTIAL}linked").symlink_to(mine)
    clear_partial(folder, RESULT_FILES, RECORD)
    assert {path.name for path in mine.iterdir()} == {"notes.txt", "stylised.png", "record.json"}
    assert (folder / f"{PARTIAL}notes" / "notes.txt").read_text() == "mine"


class Watched(Sequence[torch.Tensor]):
    """`count` tensors that are made when they are asked for; `asked` has their numbers, from 1."""

    def __init__(self, count: int, made: Callable[[], torch.Tensor]) -> None:
        self.count, self.made = count, made
        self.asked: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.asked.add(index + 1)
        return self.made()


@pytest.mark.parametrize(("matched", "shown"), [([9, 3, 9], [3, 9, 1, 2, 4, 5]), ([*range(11, 19)], [*range(11, 19)])])
@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.slow
def test_of_many_references_those_that_are_matched_and_a_few_others_are_read_and_written(
    tmp_path: Path, item: Item, explain: bool, matched: list[int], shown: list[int]
) -> None:
    image, labels = torch.rand(1, 3, 32, 32), torch.ones(4, 4, dtype=torch.int64)
    labels[:, 2:] = torch.arange(2, 6)[:, None]
    labels[:2, :2] = torch.arange(6, 8)
    labels[2:, 0] = 8
    matches = [Match(i, number, 1, 0.5, 0.5, 0.5, 0.5, False) for i, number in enumerate(matched, 1)]
    pictures, maps = Watched(10_000, lambda: torch.rand(1, 3, 32, 32)), Watched(10_000, lambda: torch.ones(4, 4).long())
    result = Stylization(image, image, pictures, labels, maps, matches)
    assert result.shown() == shown
    record = write_result(tmp_path, Request.of(item, 0, METHOD), result, explain)
    assert pictures.asked == maps.asked == set(shown)
    written = {name for name in record.files if name.startswith("regions_reference")}
    assert written == {f"regions_reference_{number}.png" for number in shown}


def test_all_of_a_few_references_are_written(tmp_path: Path, item: Item) -> None:
    """Those that nothing is matched to as well."""
    image, labels = torch.rand(1, 3, 32, 32), torch.ones(4, 4, dtype=torch.int64)
    match = Match(1, 5, 1, 0.5, 0.5, 0.5, 0.5, False)
    result = Stylization(image, image, [image] * 6, labels, [labels] * 6, [match])
    record = write_result(tmp_path, Request.of(item, 0, METHOD), result, explain=False)
    assert {name for name in record.files if name.startswith("regions_reference")} == {
        f"regions_reference_{number}.png" for number in range(1, 7)
    }


def test_regions_of_an_older_annotation_do_not_stay(tmp_path: Path, item: Item) -> None:
    labels = torch.ones(8, 8, dtype=torch.int64)
    match = Match(1, 1, 1, 0.0, 0.0, 0.0, 0.0, False)
    for references in (2, 1):
        request = Request.of(item, references, METHOD)
        annotations.write_annotation(
            tmp_path / "annotation", Annotation(labels, [labels] * references, [match]), request
        )
    names = {path.name for path in (tmp_path / "annotation").iterdir()}
    assert names == {"content.png", "reference_1.png", "matches.json", "annotation.json"}


def test_a_link_below_the_folder_of_results_is_not_followed(tmp_path: Path) -> None:
    """Folders of results themselves may be links, to a larger disk for example."""
    for name in ("disk", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "cells").symlink_to(tmp_path / "disk")
    prepare_folder(tmp_path / "cells" / "label" / "item", tmp_path / "cells")
    (tmp_path / "cells" / "theirs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"theirs/item leads outside .*/cells by a link; remove the link"):
        prepare_folder(tmp_path / "cells" / "theirs" / "item", tmp_path / "cells")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_in_what_a_kill_left_is_somebody_elses(tmp_path: Path, identity: Callable[..., None]) -> None:
    theirs = tmp_path / "out" / f"{PARTIAL}x" / "overview.png"
    theirs.mkdir(parents=True)
    identity()
    assert theirs.is_dir() and read_record(tmp_path / "out")


@pytest.mark.parametrize("name", ["stylised.png", "overview.png"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
@pytest.mark.slow
def test_a_file_that_is_not_what_was_written_is_made_again(
    tmp_path: Path, identity: Callable[..., None], name: str, damage: str
) -> None:
    identity()
    path = tmp_path / "out" / name
    before = path.read_bytes()
    path.write_bytes(before[:-30] if damage == "cut" else before[:-30] + bytes(30))
    identity()
    assert path.read_bytes() == before
