"""Benchmarks: what the manifests promise, files that are missing or damaged, and getting them."""

import hashlib
import json
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from composing import compose_config
from conftest import SHARED, Gallery, Pictures, paint
from rich.console import Console

from data import benchmark, fetch
from data.benchmark import (
    MASKS,
    check_files,
    folder_items,
    load_items,
    manifest_items,
    read_digests,
    read_manifest,
)
from data.sources import SOURCES, Source
from harness.record import Request
from stylegallery import transfer
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.pipeline import StyleGallery
from stylegallery.regions import mask_on_grid, named_regions, region_count

PICTURES = SHARED / "data" / "benchmark"
NAMES = ("stylegallery", "stylegallery60", "mixed", "mixed60", "styleid")


def items_of(manifest: str) -> list[Item]:
    return manifest_items(manifest, "styleid" if manifest == "styleid" else "stylegallery", "ROOT")


# --- configs and published pictures ---


@pytest.mark.skipif(not PICTURES.is_dir(), reason="the published pictures are not on this machine")
@pytest.mark.slow
def test_the_published_pictures_are_accepted() -> None:
    for name in NAMES[:4]:
        items = load_items(compose_config("stylegallery", f"data={name}", f"data.root={PICTURES}").data)
        assert all(path.is_file() for item in items for path in item.files().values())
    assert all(benchmark.intact(PICTURES / path, digest) for path, digest in read_digests("stylegallery").items())


@pytest.mark.parametrize("name", [*NAMES, "folder", "custom"])
@pytest.mark.slow
def test_configs_compose(name: str) -> None:
    config = compose_config("stylegallery", f"data={name}")
    assert config.method.resizing == ("keep" if name == "custom" else "square")
    assert ("content" in config) == (name == "custom")
    if name in NAMES:
        assert len(load_items(config.data, check=False)) == len(items_of(name))


# --- files ---


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark `tiny` of its own: two contents with three styles; returns its root."""
    root = tmp_path / "root"
    (root / "content").mkdir(parents=True)
    (root / "style").mkdir()
    names = ["content/a.png", "content/b.png", "style/c.png", "style/d.png", "style/e.png"]
    for seed, name in enumerate(names):
        paint(root / name, seed)
    lists = tmp_path / "manifests"
    lists.mkdir()
    lines = [f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (lists / "tiny.sha256").write_text("".join(lines))
    rows = [f"{content[8]}__{k},{content}," + " ".join(names[2 : 2 + k]) for content in names[:2] for k in (1, 3)]
    (lists / "tiny.csv").write_text("\n".join(["id,content,references", *rows]) + "\n")
    monkeypatch.setattr(benchmark, "MANIFESTS", lists)
    monkeypatch.setitem(SOURCES, "tiny", Source("https://example.org", megabytes=1, licence="MIT"))
    return root


def settings(root: Path | None) -> dict[str, Any]:
    place = None if root is None else str(root)
    return {"_target_": "data.benchmark.manifest_items", "manifest": "tiny", "files": "tiny", "root": place}


def test_items_are_below_the_root(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = load_items(settings(tiny))
    assert [item.id for item in items] == ["a__1", "a__3", "b__1", "b__3"]
    assert items[1].files() == {
        "content": tiny / "content/a.png",
        "reference 1": tiny / "style/c.png",
        "reference 2": tiny / "style/d.png",
        "reference 3": tiny / "style/e.png",
    }
    monkeypatch.setenv("TINY_DATA", str(tiny))
    assert load_items(settings(None)) == items


def test_absent_benchmark_names_the_command(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINY_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tiny / "home"))
    with pytest.raises(InputError) as caught:
        load_items(settings(None))
    message = str(caught.value)
    assert str(tiny / "home" / ".cache/stylegallery/benchmarks/tiny") in message
    assert "5 files are missing (content/a.png, content/b.png, style/c.png, ...)" in message
    assert "python -m data.fetch tiny, or pass data=tiny data.root=FOLDER where they" in message
    assert len(load_items(settings(None), check=False)) == 4


def test_damaged_and_missing_files_are_named(tiny: Path) -> None:
    (tiny / "style/d.png").unlink()
    with (tiny / "content/b.png").open("r+b") as file:
        file.seek(40)
        file.write(b"\0\0")
    with pytest.raises(InputError) as caught:
        load_items(settings(tiny))
    assert "1 file is missing (style/d.png) and 1 file is damaged (content/b.png)" in str(caught.value)
    assert f"python -m data.fetch tiny --root {tiny} --force, or" in str(caught.value)


# --- masks ---


@pytest.mark.parametrize("path", sorted((MASKS / "stylegallery").glob("*.json")), ids=lambda path: path.stem)
def test_our_masks_have_regions_that_the_latent_grids_see(path: Path) -> None:
    labels, names = named_regions(path)
    assert labels.shape == (512, 512)  # as all contents
    assert labels.min() == 1 and 2 <= len(names) == region_count(labels) <= 5
    for grid in ((32, 32), (64, 64)):
        assert region_count(mask_on_grid(path, [(512, 512)], grid)) == len(names)


KINDS = [
    "sky",
    "trees",
    "grass",
    "mountains",
    "water",
    "building",
    "ground",
    "face",
    "hair",
    "clothing",
    "animal",
    "backdrop",
]


def test_masks_of_references_are_of_the_benchmark_and_name_every_kind_ten_times() -> None:
    styles = {path for item in items_of("stylegallery") for path in item.references}
    known = {(path.parent.name, path.stem) for path in styles}
    shown: Counter[str] = Counter()
    for path in sorted((MASKS / "stylegallery").glob("*/*.json")):
        assert (path.parent.name, path.stem) in known
        labels, names = named_regions(path)
        found = {name.removeprefix("label ").strip("'") for name in names}
        assert labels.min() == 1 and 2 <= len(found) <= 6 and found <= {*KINDS, "other"}, path
        assert np.bincount(labels.flatten())[1:].min() >= 0.025 * labels.numel(), path
        shown.update(found)
    assert sum(shown.values()) > 300 and min(shown[kind] for kind in KINDS) >= 10


def test_every_content_has_a_mask_of_ours() -> None:
    items = manifest_items("stylegallery", "stylegallery", "ROOT", masks="stylegallery")
    assert {item.mask for item in items} == set((MASKS / "stylegallery").glob("*.json"))
    assert all(item.mask and item.mask.stem == item.content.stem for item in items)
    assert [replace(item, mask=None) for item in items] == items_of("stylegallery")


def test_masks_of_a_manifest_are_inputs(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MASKS", tmp_path / "masks")
    ours = tmp_path / "masks" / "ours"
    ours.mkdir(parents=True)
    paint(ours / "b.png", 7)
    with pytest.raises(InputError) as caught:
        load_items(settings(tiny) | {"masks": "ours"})
    assert str(caught.value) == (
        f"masks {ours}: 1 file is missing (a.json); every content needs one of its own name, .json or .png, or pass "
        "data.masks=null"
    )
    paint(ours / "a.png", 6)
    item, *_ = load_items(settings(tiny) | {"masks": "ours"})
    before = Request.of(item, 0, {})
    assert before.inputs["mask of content"].path == str(ours / "a.png")
    paint(ours / "a.png", 8)
    assert Request.of(item, 0, {}).digest() != before.digest()


@pytest.mark.parametrize("kept", [["grass", "dog"], ["dog"]])
@pytest.mark.slow
def test_the_regions_of_a_masked_item_contain_those_of_the_mask(
    kept: list[str], built: object, pictures: Pictures, tmp_path: Path
) -> None:
    """Where the mask has a label it decides, with a region of its own; the clusters keep the rest."""
    assert isinstance(built, StyleGallery)
    whole = json.loads((MASKS / "stylegallery" / "0003.json").read_text())
    whole["shapes"] = [shape for shape in whole["shapes"] if shape["label"] in kept]
    for folder in ("contents", "masks"):
        (tmp_path / folder).mkdir()
    paint(tmp_path / "contents" / "0003.png", 3)
    (tmp_path / "masks" / "0003.json").write_text(json.dumps(whole))
    (item,) = folder_items(str(tmp_path / "contents"), str(pictures.first.parent), str(tmp_path / "masks"))
    found = built.plan(item, torch.Generator().manual_seed(0)).analyses[0].labels
    mask = mask_on_grid(tmp_path / "masks" / "0003.json", [(64, 64)], (found.shape[0], found.shape[1]))
    outside = region_count(found) - len(kept)
    assert torch.equal(torch.where(found > outside, found - outside, 0), mask)
    assert (outside == 0) == (kept == ["grass", "dog"])


# --- fetch ---


class Server(NamedTuple):
    source: Source
    folder: Path
    asked: list[str]


@pytest.fixture
def server(tiny: Path) -> Iterator[Server]:
    """Serves the pictures of `tiny` from a folder whose names differ, and writes down what was asked for."""
    folder, asked = tiny.parent / "served", []
    (folder / "data").mkdir(parents=True)
    (tiny / "content").rename(folder / "data" / "cnt")
    (tiny / "style").rename(folder / "style")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path.lstrip("/"))

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_address[1]}"
        yield Server(Source(address, 1, "MIT", {"content": "data/cnt"}), folder, asked)
        http.shutdown()


def test_fetch_gets_everything_once(tiny: Path, server: Server) -> None:
    fetch.fetch("tiny", tiny, server.source, Console(quiet=True))
    assert sorted(set(server.asked)) == sorted(
        ["data/cnt/a.png", "data/cnt/b.png", "style/c.png", "style/d.png", "style/e.png"]
    )
    assert len(load_items(settings(tiny))) == 4
    assert list(tiny.rglob("*.part")) == []
    server.asked.clear()
    fetch.fetch("tiny", tiny, server.source, Console(quiet=True))
    assert server.asked == []


def test_fetch_continues_and_repairs(tiny: Path, server: Server) -> None:
    hidden = (server.folder / "style/d.png").rename(server.folder / "hidden.png")
    with pytest.raises(InputError, match=r"1 of 5 files of tiny could not be had: .*it is not at .*d\.png \(404\)"):
        fetch.fetch("tiny", tiny, server.source, Console(quiet=True))
    hidden.rename(server.folder / "style/d.png")
    (tiny / "content/a.png").write_bytes(b"damaged")
    server.asked.clear()
    with pytest.raises(InputError, match=r"1 file is other than published \(content/a\.png\); pass --force to"):
        fetch.fetch("tiny", tiny, server.source, Console(quiet=True))
    assert (tiny / "content/a.png").read_bytes() == b"damaged"  # or somebody's own
    assert server.asked == []
    fetch.fetch("tiny", tiny, server.source, Console(quiet=True), force=True)
    assert sorted(server.asked) == ["data/cnt/a.png", "style/d.png"]
    assert len(load_items(settings(tiny))) == 4


def test_fetch_refuses_other_content(tiny: Path, server: Server) -> None:
    paint(server.folder / "style/e.png", 99)
    with pytest.raises(InputError, match=r"e\.png has sha256 \w+… instead of \w+… and was removed"):
        fetch.fetch("tiny", tiny, server.source, Console(quiet=True))
    assert not (tiny / "style/e.png").exists()


def test_fetch_without_network_or_space(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny / "style/e.png").unlink()
    nowhere = Source("http://127.0.0.1:1", 1, "MIT")
    with pytest.raises(InputError, match=r"Connection refused.*run the same command again"):
        fetch.fetch("tiny", tiny, nowhere, Console(quiet=True))
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"needs 0\.0 GB for tiny and has 0\.0 GB; free space there or pass --root"):
        fetch.fetch("tiny", tiny, nowhere, Console(quiet=True))


def test_fetch_on_the_command_line(
    tiny: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SOURCES, "tiny", server.source)
    fetch.main(["tiny", "--root", str(tiny)])
    assert f"all 5 files are in {tiny}" in capsys.readouterr().out
    (server.folder / "style/e.png").unlink()
    (tiny / "style/e.png").unlink()
    with pytest.raises(SystemExit) as caught:
        fetch.main(["tiny", "--root", str(tiny)])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: 1 of 1 files")


def test_sources_are_pinned_and_complete() -> None:
    for name, source in SOURCES.items():
        assert re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}", source.url)
        assert read_digests(name)
    assert SOURCES["styleid"].address("content/03.png").endswith("/data/cnt/03.png")
    assert SOURCES["styleid"].address("style/39.png").endswith("/data/sty/39.png")
    assert SOURCES["stylegallery"].address("style/Monet/Monet001.png").endswith("95/style/Monet/Monet001.png")


# --- pictures of one's own ---


def test_hidden_folders_are_no_references(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    before = folder_items(str(gallery.contents), str(gallery.references))
    for name in (".ipynb_checkpoints", ".cache"):
        (gallery.references / name).mkdir()
        paint(gallery.references / name / "a.png", 0)
    paint(gallery.references / "beside.png", 0)
    (gallery.references / "notes.txt").touch()
    assert folder_items(str(gallery.contents), str(gallery.references)) == before
    (message,) = caplog.messages
    assert message == f"{gallery.references}: its folders are taken, the pictures beside them are left out (beside.png)"


def test_folder_is_every_content_with_every_set(gallery: Gallery) -> None:
    items = folder_items(str(gallery.contents), str(gallery.references))
    assert len(items) == 12
    assert [item.id for item in items[:3]] == ["c0__set1", "c0__set2", "c0__set3"]
    assert [len(item.references) for item in items[:3]] == [1, 2, 3]
    one = folder_items(str(gallery.contents), str(gallery.references / "set2"))
    assert [item.id for item in one] == ["c0__set2", "c1__set2", "c2__set2", "c3__set2"]
    two = folder_items(str(gallery.contents), [str(gallery.references / f"set{size}") for size in (3, 1)])
    assert [item.id for item in two[:2]] == ["c0__set3", "c0__set1"]


@pytest.mark.parametrize("lost", ["contents", "references"])
def test_folders_that_are_missing_have_no_items(gallery: Gallery, lost: str) -> None:
    """No item of the name of a folder, which would fail and be recorded."""
    places = {"contents": str(gallery.contents), "references": str(gallery.references)}
    places[lost] += "2"
    with pytest.raises(InputError, match=rf"{lost}2 is missing; pass the path of a folder, a pattern or a picture"):
        folder_items(**places)


def test_folder_names_become_safe_ids(gallery: Gallery) -> None:
    """Different names stay different, also where nothing of them is left, and all fit into a file system."""
    names = ["my cat (1)", "my_cat_(1)", "猫", "犬", os.fsdecode(b"caf\xe9"), "x" * 240 + "a", "x" * 240 + "b"]
    (gallery.references / "set1").rename(gallery.references / ("y" * 250))
    for name in names:
        paint(gallery.contents / f"{name}.png", 5)
    items = folder_items(str(gallery.contents), str(gallery.references / ("y" * 250)))
    ids = {item.content.stem: item.id for item in items}
    assert ids["my cat (1)"].startswith("my_cat__1_-")
    assert len(set(ids.values())) == 4 + len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,240}", one) for one in ids.values())


def test_folder_with_one_name_twice_or_nothing(gallery: Gallery) -> None:
    """Two names in one, too: a picture `a` with `b__c` and a picture `a__b` with `c`."""
    paint(gallery.contents / "c0.jpg", 5)
    with pytest.raises(InputError, match=r"c0\.jpg with .*set1 and .*c0\.png with .*set1 have one name; rename one of"):
        folder_items(str(gallery.contents), str(gallery.references))
    (gallery.contents / "c0.jpg").rename(gallery.contents / "c0__c1.jpg")
    (gallery.references / "set2").rename(gallery.references / "c1__set1")
    with pytest.raises(InputError, match=r"c0\.png with .*c1__set1 and .*c0__c1\.jpg with .*set1 have one name"):
        folder_items(str(gallery.contents), str(gallery.references))
    for references in ("2024", "[a,2024]"):
        config = compose_config("stylegallery", "data=folder", "data.contents=x", f"data.references={references}")
        with pytest.raises(InputError, match=r"data\.references is .*2024.*; pass a path or a list of paths"):
            load_items(config.data)
    with pytest.raises(InputError, match=r"needs data\.contents=FOLDER"):
        load_items(compose_config("stylegallery", "data=folder").data)
    (gallery.references / "set0").mkdir()
    with pytest.raises(InputError, match="set0 holds no picture"):
        folder_items(str(gallery.contents), str(gallery.references))


# --- manifests and settings that cannot be used ---


HEADER = "id,content,references\n"
ROW = "a,content/a.png,style/b.png style/c.png\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no column id; its first line is id,content,references"),
        ("id,content\na,b.png\n", "has no column references"),
        ("ID,content,references\n" + ROW, "has no column id"),
        (HEADER, "has no items"),
        (HEADER + "../../a,c.png,s.png\n", "line 2, has the id '../../a'"),
        (HEADER + "a/b,c.png,s.png\n", "line 2, has the id 'a/b'"),
        (HEADER + ".,c.png,s.png\n", "line 2, has the id '.'"),
        (HEADER + "x" * 300 + ",c.png,s.png\n", "line 2, has the id 'xxx"),
        (HEADER + ROW + ROW, "line 3, has the id a of an earlier line"),
        (HEADER + ROW + ROW.replace("a,", "A,", 1), "line 3, has the id A of an earlier line"),
        (HEADER + "a,../../etc/passwd,s.png\n", "line 2, names ../../etc/passwd, which is outside"),
        (HEADER + "a,c.png,s.png /etc/passwd\n", "line 2, names /etc/passwd, which is outside"),
        (HEADER + "a,c.png,..\\\\s.png\n", "which is outside the folder of pictures"),
        (HEADER + "a,c.png,\n", "line 2, needs 3 cells, none of them empty"),
        (HEADER + "a,c.png\n", "line 2, needs 3 cells"),
        (HEADER + "a,c.png,s.png,more\n", "line 2, needs 3 cells"),
        (HEADER.encode() + b"\xff\xfe,c.png,s.png\n", "is not a table of comma-separated values in UTF-8"),
        (HEADER + 'a,"c.png,s.png\n', "is not a table of comma-separated values"),
    ],
)
def test_manifest_that_cannot_be_used(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_more_columns_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffid,note,content,references\r\na,hello,c.png,s.png t.png\r\n", encoding="utf-8")
    assert read_manifest(path) == [{"id": "a", "note": "hello", "content": "c.png", "references": "s.png t.png"}]


def test_a_picture_without_a_digest(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"^more\.png has no digest in .*\.sha256; add it, as sha256sum prints it$"):
        check_files([Item("a", tiny / "more.png", (tiny / "more.png",))], "tiny", str(tiny))


def test_pictures_that_cannot_be_fetched_are_put_there(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a benchmark of the user's: no command would know where from."""
    monkeypatch.delitem(SOURCES, "tiny")
    (name,) = list(read_digests("tiny"))[:1]
    (tiny / name).unlink()
    with pytest.raises(
        InputError, match=r"1 file is missing \(.*\); put the pictures there that .*tiny\.sha256 lists, "
    ):
        check_files([Item("a", tiny / name, (tiny / name,))], "tiny", str(tiny))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, r"tiny\.sha256 is missing, the digests of the pictures; write it in the folder of"),
        (b"a.png\n", r"tiny\.sha256, line 1, is no digest, two spaces and a path; write it"),
        (b"0" * 64 + b"  a.png\n\n" + b"0" * 64 + b"  b.png\n", r"tiny\.sha256, line 2, is no digest"),
        (("0" * 64 + "  a.png\n").encode("utf-16"), r"tiny\.sha256, line 1, is no digest"),
    ],
)
def test_digests_that_cannot_be_read(tiny: Path, text: bytes | None, says: str) -> None:
    path = benchmark.MANIFESTS / "tiny.sha256"
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text)
    with pytest.raises(InputError, match=says):
        read_digests("tiny")


def test_digests_are_those_that_the_command_of_the_message_writes(tiny: Path) -> None:
    path, folder = benchmark.MANIFESTS / "tiny.sha256", tiny / "content"
    (folder / "two words é.png").write_bytes(b"")
    path.unlink()
    with pytest.raises(InputError) as raised:
        read_digests("tiny")
    subprocess.run(str(raised.value).split(" with: ")[1], shell=True, cwd=folder, check=True)
    found = read_digests("tiny")
    assert sorted(found) == ["a.png", "b.png", "two words é.png"]
    assert found["two words é.png"] == hashlib.sha256(b"").hexdigest()


def test_digests_may_be_written_on_windows(tiny: Path) -> None:
    """Where sha256sum marks files as binary and an editor ends lines with a carriage return."""
    path, found = benchmark.MANIFESTS / "tiny.sha256", read_digests("tiny")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"  ", b" *").replace(b"\n", b"\r\n"))
    assert read_digests("tiny") == found


WRONG = (3, True, [3], [[]], {"a": 1}, -0.5)
NULLABLE = {"mask", "pins", "masks", "root"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(
            ("custom", key)
            for key in ("content", "references", "mask", "reference_masks", "pins", "excluded", "forbidden")
        ),
        *(("folder", key) for key in ("contents", "references", "masks")),
        *(("stylegallery", key) for key in ("manifest", "files", "root", "masks")),
    ],
)
def test_no_setting_of_data_takes_what_it_cannot_be(gallery: Gallery, tiny: Path, name: str, key: str) -> None:
    data: dict[str, Any] = {
        "custom": {
            "_target_": "data.custom.custom_item", "content": "a.png", "references": ["b.png"], "mask": None,
            "reference_masks": [], "pins": None, "excluded": [], "forbidden": [],
        },
        "folder": {
            "_target_": "data.benchmark.folder_items", "contents": str(gallery.contents),
            "references": str(gallery.references), "masks": None,
        },
        "stylegallery": settings(tiny) | {"masks": None},
    }[name]  # fmt: skip
    load_items(data, check=False)
    for wrong in [*WRONG, *([] if key in NULLABLE else [None])]:
        if (key, wrong) != ("excluded", [3]):
            with pytest.raises(InputError) as caught:
                load_items(data | {key: wrong}, check=False)
            assert "\n" not in str(caught.value)
