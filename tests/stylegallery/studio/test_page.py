"""The studio over HTTP, without a browser: its one door, strangers who write anything, visitors apart."""

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from inspect import GEN_RUNNING, getgeneratorstate
from typing import Any

import pytest
from serving import Stranger, served

from stylegallery.studio.easel import Easel
from stylegallery.studio.visits import Visits
from stylegallery.studio.workshop import Workshop

pytest.importorskip("gradio", reason="Gradio is not installed: pip install -e .[studio]")

WRONG: list[Any] = [
    None, 7, "x", [], {}, {"do": "pin"}, {"do": "__class__"}, {"what": "all", "result": 99}, {"resolution": 10**9},
    {"do": "pin", "region": -1, "reference": 0, "target": 1e9}, {"kind": "style", "sample": "../../etc/passwd"},
    {"do": "load_mask", "picture": 0, "file": {"name": "../../a", "data": "!"}},
    {"do": "cut", "picture": 0, "strokes": [{"radius": 1e300, "points": []}]},
    {"files": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]},
    {"kind": "content", "files": [{"name": "a.svg", "data": "PHN2Zy8+"}]},
    {"do": "leave_out", "reference": 5, "out": True},
]  # fmt: skip


@pytest.fixture(scope="module")
def studio(workshop: Workshop) -> Iterator[tuple[Visits, str]]:
    with ExitStack() as stack:
        visits = stack.enter_context(Visits(workshop, most=4, patience=0))
        yield visits, stack.enter_context(served(visits))


@pytest.mark.slow
def test_all_other_doors_are_shut(studio: tuple[Visits, str]) -> None:
    stranger = Stranger(studio[1], "doors")
    assert stranger.get("/")[0] == 200
    shut = (
        "/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/upload",
        "/gradio_api/upload_progress", "/gradio_api/proxy=http://example.org", "/gradio_api/custom_component/1/a/b/c",
        "/gradio_api/deep_link", "/gradio_api/run/predict", "/gradio_api/api/act", "/gradio_api/call/act",
        "/gradio_api/component_server", "/gradio_api/runs", "/gradio_api/run-history/records", "/monitoring", "/docs",
        "/openapi.json", "/assets/../../../../../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/vibe-code/",
    )  # fmt: skip
    assert {path: stranger.get(path)[0] for path in shut} == dict.fromkeys(shut, 404)
    assert stranger.get("/gradio_api/upload", b"x" * 100)[0] == 404
    assert stranger.get("/gradio_api/queue/join", b"{", **{"Content-Length": str(10**9)})[0] == 413
    assert stranger.get("/gradio_api/queue/join", b"{no json", **{"Content-Type": "application/json"})[0] == 422
    with urllib.request.urlopen(studio[1]) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.slow
def test_strangers_write_anything_to_every_event(studio: tuple[Visits, str], capfd: pytest.CaptureFixture[str]) -> None:
    visits, address = studio
    stranger = Stranger(address, "stranger")
    for event in ("act", "bring", "fetch", "paint", "restore", "on", "stop"):
        for given in WRONG if event in ("act", "bring", "fetch", "paint", "restore") else WRONG[:1]:
            for shown in stranger.ask(event, given):
                text = json.dumps(shown)
                assert "Traceback" not in text and visits.root.name not in text
    assert "stylegallery/studio" not in capfd.readouterr().err  # no traceback of ours; paths Gradio itself refuses
    files = [path.name for path in visits.of("stranger").visit.folder.rglob("*") if path.is_file()]
    assert not [name for name in files if name.startswith(("a", "passwd"))]


@pytest.mark.slow
def test_visitors_are_apart_and_leave_nothing(studio: tuple[Visits, str]) -> None:
    visits, address = studio
    one, other = Stranger(address, "one"), Stranger(address, "other")
    one.ask("bring", {"kind": "content", "sample": "coffee"})
    _, wall = one.ask("bring", {"kind": "style", "sample": "mosaic_bay"})
    assert [picture["name"] for picture in wall["pictures"]] == ["coffee.jpg", "mosaic_bay.jpg"]
    _, wall = other.ask("bring", {"kind": "style", "sample": "ink_mountains"})
    assert wall["pictures"][0] is None and wall["pictures"][1]["name"] == "ink_mountains.jpg"
    folder = visits.of("one").visit.folder
    assert folder != visits.of("other").visit.folder and folder.is_dir()
    with urllib.request.urlopen(f"{address}/gradio_api/heartbeat/one", timeout=30) as heartbeat:
        heartbeat.readline()
    until(lambda: not folder.exists())
    assert "one" not in visits.guests and "other" in visits.guests


@pytest.mark.slow
def test_the_queue_and_the_house_are_bounded(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    visits, address = studio
    held = {"on": True}

    def waiting(easel: Easel, wishes: object) -> Iterator[Any]:
        while held["on"]:
            time.sleep(0.05)
        return iter(())

    monkeypatch.setattr(Easel, "paint", waiting)
    statuses = [Stranger(address, f"s{number % 3}").join("paint", {})[0] for number in range(60)]
    held["on"] = False
    assert statuses[0] == 200 and statuses[-1] == 503
    while Stranger(address, "s1").join("stop", {})[0] != 200:  # what waited is done first
        time.sleep(0.1)
    for number in range(6):
        answer = Stranger(address, f"full{number}").ask("act", {"do": "undo"})
    assert "visitors are here already" in json.dumps(answer)
    assert len(visits.guests) <= 4
    tabs = [urllib.request.urlopen(f"{address}/gradio_api/heartbeat/tab{number}") for number in range(100)]
    _, wall, _ = Stranger(address, "tab99").ask("load", None)  # a page that is opened takes no place
    assert wall["samples"]["content"] and len(visits.guests) <= 4
    for tab in tabs:
        tab.close()


@pytest.mark.slow
def test_a_painting_whose_visitor_left_is_ended(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    visits, address = studio
    monkeypatch.setattr(visits, "patience", 60.0)
    monkeypatch.setattr(visits, "most", 20)
    stranger = Stranger(address, "leaving")
    stranger.ask("bring", {"kind": "content", "sample": "coffee"})
    stranger.ask("bring", {"kind": "style", "sample": "mosaic_bay"})
    easel = visits.of("leaving").easel
    with urllib.request.urlopen(f"{address}/gradio_api/heartbeat/leaving", timeout=30) as heartbeat:
        heartbeat.readline()
        assert stranger.join("paint", {"steps": 300})[0] == 200
        until(lambda: easel.going is not None)
    until(lambda: easel.left)
    going = easel.going
    assert going is not None and not easel.results
    until(
        lambda: Stranger(address, "next").ask("bring", {"kind": "style", "sample": "mosaic_bay"})
    )  # one may paint again
    until(lambda: getgeneratorstate(going[1]) != GEN_RUNNING)
    done = len(next(going[1]).energies)
    assert done < 300 and not easel.results


def until(test: Callable[[], object]) -> None:
    for _ in range(400):
        if test():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_a_page_that_is_closed_ends_its_painting(workshop: Workshop) -> None:
    with Visits(workshop, patience=60) as visits:
        guest = visits.of("phone")
        visits.leave("phone")
        assert guest.easel.left and guest.visit.folder.exists()  # it may come back
        assert visits.of("phone") is guest and guest.left is None
        folder = guest.visit.folder
    assert not folder.exists()


def test_data_that_did_not_arrive_whole() -> None:
    from stylegallery.studio.deeds import Sent

    assert Sent(name="a", data=base64.b64encode(b"abc").decode()).file() == ("a", b"abc")
