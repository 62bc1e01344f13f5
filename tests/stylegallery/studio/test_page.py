"""The studio over HTTP, without a browser: its one door, strangers who write anything, visitors apart."""

import base64
import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from inspect import GEN_RUNNING, getgeneratorstate
from typing import Any

import pytest
from conftest import ROOT
from serving import served

from benchmarks.studio import Visitor
from stylegallery.errors import InputError
from stylegallery.studio.easel import Easel
from stylegallery.studio.visits import GIVES_WAY, Visits
from stylegallery.studio.workshop import Workshop

pytest.importorskip("gradio", reason="Gradio is not installed: pip install -e .[studio]")

WRONG: list[Any] = [
    None, 7, "x", [], {}, {"do": "pin"}, {"do": "__class__"}, {"what": "all", "result": 99}, {"resolution": 10**9},
    {"do": "pin", "region": -1, "reference": 0, "target": 1e9}, {"kind": "style", "sample": "../../etc/passwd"},
    {"do": "load_mask", "picture": 0, "file": {"name": "../../a", "data": "!"}},
    {"do": "cut", "picture": 0, "strokes": [{"radius": 1e300, "points": []}]},
    {"files": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]},
    {"kind": "content", "files": [{"name": "a.svg", "data": "PHN2Zy8+"}]},
    {"do": "leave_out", "reference": 5, "out": True}, {"kind": "style", "files": [{"name": "a.png", "data": "é"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def studio(workshop: Workshop) -> Iterator[tuple[Visits, str]]:
    with ExitStack() as stack:
        visits = stack.enter_context(Visits(workshop, patience=0))
        yield visits, stack.enter_context(served(visits))


@pytest.mark.slow
def test_all_other_doors_are_shut(studio: tuple[Visits, str]) -> None:
    stranger = Visitor(studio[1], "doors")
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
    connection = http.client.HTTPConnection(studio[1].removeprefix("http://"))
    connection.request("POST", "/gradio_api/queue/join", iter([b"{}"]), encode_chunked=True)
    assert connection.getresponse().status == 411  # a body that does not say its length
    assert stranger.get("/gradio_api/queue/join", b"{no json", **{"Content-Type": "application/json"})[0] == 422
    with urllib.request.urlopen(studio[1]) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.slow
def test_strangers_write_anything_to_every_event(studio: tuple[Visits, str], capfd: pytest.CaptureFixture[str]) -> None:
    visits, address = studio
    stranger = Visitor(address, "stranger")
    for event in ("act", "bring", "fetch", "paint", "restore", "on", "stop"):
        for given in WRONG if event in ("act", "bring", "fetch", "paint", "restore") else WRONG[:1]:
            for shown in stranger.ask(event, given):
                text = json.dumps(shown)
                assert "Traceback" not in text and visits.root.name not in text
                assert event != "fetch" or shown["error"]
    assert "stylegallery/studio" not in capfd.readouterr().err  # no traceback of ours; paths Gradio itself refuses
    files = [path.name for path in visits.of("stranger").visit.folder.rglob("*") if path.is_file()]
    assert not [name for name in files if name.startswith(("a", "passwd"))]


@pytest.mark.slow
def test_visitors_are_apart_and_leave_nothing(studio: tuple[Visits, str]) -> None:
    visits, address = studio
    one, other = Visitor(address, "one"), Visitor(address, "other")
    one.ask("bring", {"kind": "content", "sample": "coffee"})
    _, wall = one.ask("bring", {"kind": "style", "sample": "mosaic_bay"})
    assert [picture["name"] for picture in wall["pictures"]] == ["coffee.jpg", "mosaic_bay.jpg"]
    _, wall = other.ask("bring", {"kind": "style", "sample": "ink_mountains"})
    assert wall["pictures"][0] is None and wall["pictures"][1]["name"] == "ink_mountains.jpg"
    folder = visits.of("one").visit.folder
    assert folder != visits.of("other").visit.folder and folder.is_dir()
    one.leave()
    until(lambda: not folder.exists())
    assert "one" not in visits.guests and "other" in visits.guests


@pytest.fixture
def easel_is_taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[Easel], Callable[[], None]]]:
    """Paintings that take as long as a test wants, or half a minute, so that what waits for the end of one in vain
    fails: whose they are, and what ends them all."""
    begun, held, latest = list[Easel](), {"on": True}, time.monotonic() + 30

    def waiting(easel: Easel, wishes: object) -> Iterator[Any]:
        begun.append(easel)
        while held["on"] and time.monotonic() < latest:
            time.sleep(0.02)
        return iter(())

    monkeypatch.setattr(Easel, "paint", waiting)
    yield begun, lambda: held.update(on=False)
    held["on"] = False


@pytest.mark.slow
def test_a_visitor_has_few_places(
    studio: tuple[Visits, str], easel_is_taken: tuple[list[Easel], Callable[[], None]]
) -> None:
    """Whoever asks on and on is told so, and keeps nobody else from a place."""
    greedy, other = Visitor(studio[1], "greedy"), Visitor(studio[1], "modest")
    answers = [greedy.join("paint", {}) for _ in range(4)]
    assert [status for status, _ in answers] == [200, 200, 400, 400]
    assert "not done yet" in json.loads(answers[-1][1])["detail"]
    assert other.join("paint", {})[0] == 200
    assert greedy.join("act", {"do": "undo"})[0] == 200  # other kinds of events do not wait for a painting
    begun, end = easel_is_taken
    end()
    until(lambda: len(begun) == 3)
    greedy.leave()
    other.leave()


@pytest.mark.slow
def test_a_painting_that_waits_is_withdrawn(
    studio: tuple[Visits, str], easel_is_taken: tuple[list[Easel], Callable[[], None]]
) -> None:
    """Its page is told that it is done, and one may ask again; that of another visitor goes on."""
    one, other = Visitor(studio[1], "painting"), Visitor(studio[1], "changed_mind")
    begun, end = easel_is_taken
    assert one.join("paint", {})[0] == 200
    until(lambda: begun)
    assert [other.join(event, given)[0] for event, given in (("paint", {}), ("stop", None))] == [200, 200]
    done = other.answers()
    answers = [next(done), next(done)]
    assert [{"__type__": "update"}] * 2 in answers  # of the painting: nothing changes
    assert any("Withdrawn" in json.dumps(answer) for answer in answers)
    assert len(begun) == 1 and not begun[0].stopping
    assert [other.join("paint", {})[0] for _ in range(3)] == [200, 200, 400]
    end()
    until(lambda: len(begun) == 3)
    assert begun[1:] == [studio[0].of("changed_mind").easel] * 2
    one.leave()
    other.leave()


@pytest.mark.slow
def test_how_a_painting_ended_is_said(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was to be stopped while the last update was made."""
    visitor, following = Visitor(studio[1], "ends"), Easel.next_of
    for kind, name in (("content", "coffee"), ("style", "mosaic_bay")):
        visitor.ask("bring", {"kind": kind, "sample": name})
    visitor.ask("look", None)
    assert visitor.ask("paint", {"steps": 2})[1]["said"]["text"] == "Result 1 is finished."
    stop_at = {"update": 1}

    def stopping(easel: Easel, updates: Any) -> Any:
        update = following(easel, updates)
        if update and len(update.energies) == stop_at["update"]:
            easel.stop()
        return update

    monkeypatch.setattr(Easel, "next_of", stopping)
    shown = visitor.ask("paint", {"steps": 2})[1]
    assert shown["said"]["text"].startswith("Stopped and kept as result 2") and shown["going"]
    stop_at["update"] = shown["results"][0]["of"]
    shown = visitor.ask("on", None)[1]
    assert shown["said"]["text"] == "Result 3 is finished." and not shown["going"]
    visitor.leave()


@pytest.mark.slow
def test_places_of_who_does_not_listen_are_free(
    studio: tuple[Visits, str],
    easel_is_taken: tuple[list[Easel], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visits, address = studio
    monkeypatch.setattr("stylegallery.studio.visits.SILENCE", 0.3)
    monkeypatch.setattr(visits, "patience", 60.0)
    begun, end = easel_is_taken
    deaf, other = Visitor(address, "deaf", deaf=True), Visitor(address, "listening")
    assert [deaf.join("paint", {})[0] for _ in range(2)] == [200, 200]
    until(lambda: begun)
    time.sleep(0.4)
    assert other.join("paint", {})[0] == 200
    end()
    until(lambda: len(begun) == 2)
    time.sleep(0.3)
    assert begun == [visits.of("deaf").easel, visits.of("listening").easel]
    other.leave()


@pytest.mark.slow
def test_the_house_is_bounded(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    visits, address = studio
    monkeypatch.setattr(visits, "patience", 60.0)
    monkeypatch.setattr(visits, "most", len(visits.guests) + 2)
    guests = [Visitor(address, f"full{number}") for number in range(4)]
    answers = [guest.join("act", {"do": "undo"}) for guest in guests]
    assert [status for status, _ in answers] == [200, 200, 400, 400]
    assert "visitors are here already" in json.loads(answers[-1][1])["detail"]
    tabs = [urllib.request.urlopen(f"{address}/gradio_api/heartbeat/tab{number}") for number in range(100)]
    _, wall, _ = Visitor(address, "tab99").ask("load", None)  # a page that is opened takes no place
    assert wall["samples"]["content"] and len(visits.guests) <= visits.most
    for tab in tabs:
        tab.close()
    for guest in guests:
        guest.leave()


@pytest.mark.slow
def test_names_and_sizes_that_no_page_sends(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Visitor(studio[1], "sizes")
    for others in ({"session_hash": "a" * 65}, {"session_hash": "../a"}, {"fn_index": 999}):
        status, said = stranger.join("act", {"do": "undo"}, **others)
        assert status == 400 and "load it again" in json.loads(said)["detail"]
    monkeypatch.setattr("stylegallery.studio.turns.MOST_HELD", 1000)
    status, said = stranger.join("bring", {"kind": "a" * 1000})
    assert status == 400 and "many pictures are arriving" in json.loads(said)["detail"]
    stranger.leave()


@pytest.mark.slow
def test_what_of_several_pictures_cannot_be_used_is_said_at_the_end(studio: tuple[Visits, str]) -> None:
    visitor = Visitor(studio[1], "several")
    good = (ROOT / "data/samples/style/mosaic_bay.jpg").read_bytes()
    files = [{"name": name, "data": base64.b64encode(data).decode()} for name, data in
             (("first.jpg", good), ("broken.png", b"\x89PNG\r\n\x1a\n..."), ("second.jpg", good + b"."))]  # fmt: skip
    shown, wall = visitor.ask("bring", {"kind": "style", "files": files})
    assert [picture and picture["name"] for picture in wall["pictures"]] == [None, "first.jpg", "second.jpg"]
    assert len(shown) == 2 and "broken.png" in wall["said"]["text"]
    (wall,) = visitor.ask("look", None)
    assert wall["said"]["kind"] == "error" and "broken.png" in wall["said"]["text"]
    (wall,) = visitor.ask("look", None)
    assert "broken.png" not in wall["said"]["text"]
    visitor.leave()


@pytest.mark.slow
def test_a_long_painting_makes_way(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegallery.studio.page.TURN", 0.0)
    one, other = Visitor(studio[1], "slow"), Visitor(studio[1], "next")
    for visitor in (one, other):
        visitor.ask("bring", {"kind": "content", "sample": "coffee"})
        visitor.ask("bring", {"kind": "style", "sample": "mosaic_bay"})
        visitor.ask("look", None)
    assert one.join("paint", {"steps": 300})[0] == 200
    until(lambda: studio[0].of("slow").easel.going)
    _, shown = other.ask("paint", {"steps": 2})
    assert shown["results"][0]["updates"] == shown["results"][0]["of"]
    (stopped,) = studio[0].of("slow").easel.results
    assert stopped.updates < stopped.of
    one.leave()
    other.leave()


@pytest.mark.slow
def test_a_painting_whose_visitor_left_is_ended(studio: tuple[Visits, str], monkeypatch: pytest.MonkeyPatch) -> None:
    visits, address = studio
    monkeypatch.setattr(visits, "patience", 60.0)
    monkeypatch.setattr(visits, "most", 20)
    visitor = Visitor(address, "leaving")
    visitor.ask("bring", {"kind": "content", "sample": "coffee"})
    visitor.ask("bring", {"kind": "style", "sample": "mosaic_bay"})
    easel = visits.of("leaving").easel
    assert visitor.join("paint", {"steps": 300})[0] == 200
    until(lambda: easel.going is not None)
    visitor.leave()
    until(lambda: easel.left)
    going = easel.going
    assert going is not None and not easel.results
    other = Visitor(address, "after")
    until(lambda: other.ask("bring", {"kind": "style", "sample": "mosaic_bay"}))  # one may paint again
    until(lambda: getgeneratorstate(going[1]) != GEN_RUNNING)
    done = len(next(going[1]).energies)
    assert done < 300 and not easel.results
    other.leave()


def until(test: Callable[[], object]) -> None:
    for _ in range(400):
        if test():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_a_page_that_is_closed_ends_its_painting(workshop: Workshop) -> None:
    with Visits(workshop, patience=60) as visits:
        with visits.connected("phone"):
            guest = visits.of("phone")
            with visits.connected("phone"):  # a phone connects again before it is seen that the first one ended
                pass
            assert guest.left is None and not guest.easel.left
        assert guest.easel.left and guest.visit.folder.exists()  # it may come back
        with visits.connected("phone"):
            assert visits.of("phone") is guest and guest.left is None
        folder = guest.visit.folder
    assert not folder.exists()


def test_who_never_connects_is_gone_soon(workshop: Workshop) -> None:
    with Visits(workshop, patience=0) as visits:
        guest = visits.of("script")
        visits.sweep()
        assert not visits.guests and not guest.visit.folder.exists()


def test_in_a_full_house_who_does_nothing_gives_way(workshop: Workshop) -> None:
    with Visits(workshop, most=1) as visits, visits.connected("asleep"):
        guest = visits.of("asleep")
        with pytest.raises(InputError, match="here already"):
            visits.of("awake")
        guest.seen -= GIVES_WAY
        visits.sweep()
        assert visits.guests == {"asleep": guest}  # nobody wants the place
        visits.of("awake")
        assert [*visits.guests] == ["awake"]


def test_data_that_did_not_arrive_whole() -> None:
    from stylegallery.studio.deeds import Sent

    assert Sent(name="a", data=base64.b64encode(b"abc").decode()).file() == ("a", b"abc")
    with pytest.raises(InputError, match="did not arrive whole"):
        Sent(name="a", data="é").file()
