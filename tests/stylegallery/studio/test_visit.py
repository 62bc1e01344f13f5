"""What a visitor decides, without a page: it shows at once, can be undone, and no picture is analysed twice."""

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylegallery.contract import Stylization
from stylegallery.decoding import read_pixels
from stylegallery.errors import InputError, SettingsError
from stylegallery.figures import overview
from stylegallery.provenance import weights_digests
from stylegallery.regions import resize_labels
from stylegallery.studio import brush
from stylegallery.studio.__main__ import main
from stylegallery.studio.brush import Stroke
from stylegallery.studio.bundle import bundle, overview_png
from stylegallery.studio.deeds import act, bring
from stylegallery.studio.easel import Easel, Moment
from stylegallery.studio.opening import open_result
from stylegallery.studio.papers import read_asked
from stylegallery.studio.samples import sample
from stylegallery.studio.view import pictures_of, wall
from stylegallery.studio.visit import Visit
from stylegallery.studio.visits import Guest
from stylegallery.studio.wishes import Wishes
from stylegallery.studio.workshop import Workshop, updates_by_steps

DOT = Stroke(radius=0.2, points=[(0.5, 0.5)])


def match_of(visit: Visit, region: int) -> tuple[int, int, bool]:
    match = visit.plan().matches[region - 1]
    return match.reference, match.reference_region, match.pinned


def another(visit: Visit, region: int) -> tuple[int, int]:
    """A reference region that a content region is not matched with."""
    reference, target, _ = match_of(visit, region)
    return reference, 1 + target % int(visit.labels(reference).max())


def test_the_overview_is_as_large_as_that_of_a_run() -> None:
    """Pixels of the result are those of the page at no other size."""
    images = (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    made = Stylization(next(images), next(images), list(images))
    given: Any = SimpleNamespace(stylization=made, order=SimpleNamespace(item=SimpleNamespace(content=Path("a.png"))))
    with Image.open(io.BytesIO(overview_png(given))) as page:
        assert page.size == overview(made, "a.png").canvas.get_width_height()


def test_pins_vetoes_and_references_left_out(visit: Visit) -> None:
    chosen = another(visit, 1)
    best = match_of(visit, 1)[:2]
    visit.pin(1, *chosen)
    assert match_of(visit, 1) == (*chosen, True)
    visit.forbid(1, *chosen)
    assert match_of(visit, 1)[:2] != chosen and not match_of(visit, 1)[2]
    visit.undo()
    assert match_of(visit, 1) == (*chosen, True)
    visit.unpin(1)
    visit.forbid(1, *best)
    assert match_of(visit, 1)[:2] != best
    visit.forbid(1, *best)
    assert match_of(visit, 1)[:2] == best
    visit.leave_out(best[0], True)
    assert {match.reference for match in visit.plan().matches} == {3 - best[0]}
    with pytest.raises(InputError, match="no region left"):
        visit.leave_out(3 - best[0], True)
    assert visit.choices.excluded == (best[0],)  # as it was
    visit.reset()
    assert match_of(visit, 1)[:2] == best and not visit.choices.excluded
    with pytest.raises(InputError, match="region 9"):
        visit.pin(9, 1, 1)
    with pytest.raises(InputError, match="painting 7"):
        visit.pin(1, 7, 1)


def test_regions_are_joined_cut_and_drawn_without_another_look(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    found = visit.labels(0)
    visit.plan()

    def looked(*_: object) -> None:
        raise AssertionError("the picture was looked at again")

    for name in ("invert", "find_regions"):
        monkeypatch.setattr(f"stylegallery.analysis.{name}", looked)
    visit.join(0, 1, 2)
    assert torch.equal(visit.labels(0), torch.where(found == 1, 1, found - 1))
    visit.cut(0, [DOT])
    cells = brush.brushed([DOT], found.shape)
    new = visit.labels(0) == visit.labels(0).max()
    assert new.any() and bool(cells[new].all())
    visit.draw(0, [DOT])
    assert torch.equal(visit.labels(0) == visit.labels(0).max(), cells)
    visit.blank(1)
    assert bool((visit.labels(1) == 1).all())
    visit.pin(1, 1, 1)
    visit.undo()
    visit.undo()
    assert int(visit.labels(1).max()) == 3
    visit.as_found(0)
    assert torch.equal(visit.labels(0), found)


def test_what_was_done_is_said(visit: Visit) -> None:
    """Of what is done and taken back by the same click, which of the two."""
    guest, veto = Guest(visit, Easel(visit)), {"do": "forbid", "region": 1, "reference": 1, "target": 1}
    visit.plan()
    assert act(guest, veto).startswith("Forbidden: region 1")
    assert act(guest, veto).startswith("Allowed again: region 1")
    assert act(guest, {"do": "leave_out", "reference": 2, "out": True}) == "Painting 2 is left out."
    assert act(guest, {"do": "leave_out", "reference": 2, "out": False}) == "Painting 2 is used again."


def test_a_click_matches_once(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    from stylegallery.pipeline import best_matches

    guest, calls = Guest(visit, Easel(visit)), []
    visit.plan()

    def counted(*given: Any) -> Any:
        calls.append(given)
        return best_matches(*given)

    monkeypatch.setattr("stylegallery.pipeline.best_matches", counted)
    reference, target = another(visit, 1)
    act(guest, {"do": "pin", "region": 1, "reference": reference, "target": target})
    shown = wall(guest)["matches"][0]
    assert (shown["reference"], shown["target"], shown["pinned"]) == (reference, target, True) and len(calls) == 1
    act(guest, {"do": "undo"})
    assert not wall(guest)["matches"][0]["pinned"] and len(calls) == 2


def test_a_picture_is_decoded_twice(new_visit: Callable[[], Visit], monkeypatch: pytest.MonkeyPatch) -> None:
    """When it comes, and when it is analysed, which wants all of its pixels; for no decision again."""
    visit, decoded = new_visit(), []

    def counted(path: Any) -> Any:
        decoded.append(Path(path).name)
        return read_pixels(path)

    for module in ("studio.limits", "studio.view", "images"):
        monkeypatch.setattr(f"stylegallery.{module}.read_pixels", counted)
    guest = Guest(visit, Easel(visit))
    visit.take_photo(*sample("content", "coffee"))
    visit.take_reference(*sample("style", "ink_mountains"))
    pictures_of(guest)
    assert len(decoded) == 2
    assert [*visit.analyse()] == [0, 1]
    wall(guest)
    visit.draw(0, [DOT])
    visit.join(1, 1, 2)
    visit.pin(1, 1, 1)
    wall(guest)
    names = [name for name in decoded if name in ("coffee.jpg", "ink_mountains.jpg")]
    assert sorted(names) == ["coffee.jpg"] * 2 + ["ink_mountains.jpg"] * 2


def test_a_picture_that_is_analysed_keeps_nobody_waiting(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    free = []

    def looked(*_: object, **__: object) -> None:
        with ThreadPoolExecutor(1) as other:
            free.append(other.submit(visit.lock.acquire, timeout=1).result())
        raise InputError("seen")

    monkeypatch.setattr("stylegallery.pipeline.StyleGallery.analyse", looked)
    with pytest.raises(InputError, match="seen"):
        list(visit.analyse())
    assert free == [True]


def test_when_nothing_may_be_used_it_is_said(visit: Visit) -> None:
    """The only painting that was not left out is taken away; it can be mended from the page."""
    guest = Guest(visit, Easel(visit))
    visit.leave_out(1, True)
    bring(guest, {"remove": 2})
    shown = wall(guest, "whatever")
    assert shown["said"]["kind"] == "error" and "no region left" in shown["said"]["text"] and not shown["matches"]
    act(guest, {"do": "leave_out", "reference": 1, "out": False})
    assert wall(guest)["matches"]


def test_of_pins_in_joined_regions_the_later_stays(visit: Visit) -> None:
    visit.pin(1, 1, 1)
    visit.pin(2, 1, 2)
    visit.join(0, 1, 2)
    assert match_of(visit, 1) == (1, 2, True) and len(visit.choices.pins) == 1


def test_brush_strokes() -> None:
    cells = brush.brushed([Stroke(radius=0.125, points=[(0, 0.5), (1, 0.5)])], (8, 8))
    assert cells.sum(1).tolist() == [0, 0, 0, 8, 8, 0, 0, 0]
    with pytest.raises(InputError, match="covered nothing"):
        brush.brushed([Stroke(radius=0.01, points=[(0.5, 0.5)])], (8, 8))
    with pytest.raises(InputError, match="covers all"):
        brush.cut(torch.ones(8, 8, dtype=torch.int64), torch.ones(8, 8, dtype=torch.bool))


@pytest.mark.parametrize("kind", ["png", "labelme"])
def test_masks_are_loaded_as_they_were_saved(visit: Visit, new_visit: Callable[[], Visit], kind: str) -> None:
    visit.draw(0, [DOT])
    data = visit.mask_png(0) if kind == "png" else visit.mask_labelme(0)
    other = new_visit()
    other.take_photo("photo.jpg", visit.pictures[0].path.read_bytes())  # type: ignore[union-attr]
    other.load_mask(0, "../../mine.txt", data)
    assert torch.equal(other.labels(0), visit.labels(0))
    assert {path.parent for path in other.choices.masks.values()} == {other.folder}


@pytest.mark.parametrize("size", [(8, 13), (9, 30), (100, 100), (257, 1001)])
def test_an_enlarged_mask_is_what_was_enlarged(size: tuple[int, int]) -> None:
    labels = torch.arange(8 * 13).reshape(8, 13)
    assert torch.equal(resize_labels(brush.enlarged(labels, size), (8, 13)), labels)


def test_a_labelme_file_has_regions_inside_of_others() -> None:
    labels = torch.ones(12, 12, dtype=torch.int64)
    labels[3:9, 3:9] = 2
    labels[5:7, 5:7] = 1
    labels[0, 11] = 3
    shapes = json.loads(brush.labelme(labels, (96, 96), "a.png"))["shapes"]
    assert [shape["label"][-1] for shape in shapes] == ["1", "2", "1", "3"]


def last(moments: list[Moment]) -> Moment:
    assert all(moment.of for moment in moments if moment.doing == "painting")
    return moments[-1]


@pytest.mark.slow
def test_a_painting_is_stopped_and_carried_on(visit: Visit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stopped, it is what the command line makes of the exported command; carried on, what it is without a stop."""
    visit.pin(1, *another(visit, 1))
    visit.draw(1, [DOT])
    visit.leave_out(2, True)
    easel, wishes = Easel(visit), Wishes(resolution=80, content_weight=0.5)
    whole = last(list(easel.paint(wishes))).result
    assert whole is not None and whole.updates == whole.of == 4
    painting, seen = easel.paint(wishes), []
    for moment in painting:
        seen.append(moment)
        if moment.done == 2 and moment.doing == "painting":
            easel.stop()
    stopped = last(seen).result
    assert stopped is not None and (stopped.updates, stopped.of) == (2, 4)
    finished = last(list(easel.carry_on())).result
    assert finished is not None
    assert finished.picture.read_bytes() == whole.picture.read_bytes() != stopped.picture.read_bytes()
    with pytest.raises(InputError, match="nothing was stopped"):
        list(easel.carry_on())
    assert stopped.stylization.image.shape[-2:] == stopped.size and len(stopped.stylization.energies) == 2
    assert "updates=2" in stopped.command and "updates" not in finished.command
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(io.BytesIO(bundle(stopped))) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / stopped.folder
    arguments = [f"--config-dir={folder.name}", "--config-name=settings"]  # test_browser.py runs the command
    process = subprocess.run(
        [sys.executable, ROOT / "run.py", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    made = folder / "out" / "stylised.png"
    assert made.read_bytes() == stopped.picture.read_bytes() == (folder / "stylised.png").read_bytes()
    record = (folder / "out" / "record.json").read_bytes()
    for name, data in (("record.json", record), ("stylised.png", stopped.picture.read_bytes())):
        reopen(visit, name, data, wishes.model_copy(update={"updates": 2}))


def reopen(visit: Visit, name: str, data: bytes, wishes: Wishes) -> None:
    """A new visitor has the whole state from a result and the mask; the pictures are bundled ones."""
    folder = visit.folder.parent / f"reopened_{name}"
    folder.mkdir()
    other = Visit(visit.workshop, folder)
    with pytest.raises(InputError, match="mask"):
        open_result(other, [(name, data)])
    assert not other.ready
    mask = visit.choices.masks[1]
    restored, differ = open_result(other, [("mask.png", mask.read_bytes()), (name, data)])
    assert (restored, differ) == (wishes, [])
    assert other.plan().matches == visit.plan().matches
    assert (other.choices.pins, other.choices.excluded) == (visit.choices.pins, visit.choices.excluded)
    other.end()
    assert not folder.exists()


def test_a_result_of_other_settings_says_which(visit: Visit) -> None:
    config = visit.workshop.settings(Wishes()) | {"detail": 0.5}
    record = record_of(visit, seed=3, config=config, constraints={"pins": [[1, 2, 1]]})
    _, differ = open_result(visit, [("record.json", record)])
    assert differ == ["detail"] and visit.seed == 3 and match_of(visit, 1) == (2, 1, True)


def record_of(visit: Visit, **others: Any) -> bytes:
    """What a run of the visit's pictures would record."""
    config = visit.workshop.settings(Wishes())
    photo, *paintings = [picture.sha256 for picture in visit.pictures if picture]
    inputs = {"content": photo} | {f"reference {number}": sha256 for number, sha256 in enumerate(paintings, 1)}
    asked = {"seed": 0, "config": config, "inputs": inputs, "constraints": {}, "weights": weights_digests(config)}
    others["inputs"] = inputs | others.get("inputs", {})
    return json.dumps(asked | others).encode()


def test_ten_references_come_in_their_order(visit: Visit) -> None:
    """A picture's text has its roles as a dictionary has words: reference 10 before reference 2."""
    roles = [f"reference {number}" for number in range(1, 12)]
    inputs = {role: f"digest of {role}" for role in sorted([*roles, "mask of reference 10"])}
    found = read_asked("record.json", record_of(visit, inputs=inputs)).files()
    assert [*found] == ["content", *roles, "mask of reference 10"]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"constraints": {"pins": [[10**30, 1, 1]]}}, "no region"),
        ({"constraints": {"pins": [[[3.0, 0.5], 1, 1]]}}, "outside the picture"),
        ({"constraints": {"excluded": [9]}}, "reference 9"),
        ({"inputs": {"mask of everything": "0"}}, "other inputs"),
        ({"inputs": {"signature": "0"}}, "other inputs"),
    ],
)
def test_a_record_that_cannot_be_opened_changes_nothing(visit: Visit, others: dict[str, Any], said: str) -> None:
    before = visit.pictures, visit.choices, visit.seed
    with pytest.raises(InputError, match=said):
        open_result(visit, [("record.json", record_of(visit, seed=1, **others))])
    assert (visit.pictures, visit.choices, visit.seed) == before


def test_of_a_stylised_png_no_pixel_is_decoded(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    text, stream = PngInfo(), io.BytesIO()
    text.add_text("request", record_of(visit).decode())
    Image.new("1", (9000, 9000)).save(stream, "png", pnginfo=text)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    assert read_asked("a.png", stream.getvalue()).seed == 0


@pytest.mark.slow
def test_a_painting_has_the_regions_of_when_it_was_asked_for(visit: Visit) -> None:
    visit.draw(0, [DOT])
    asked, regions = visit.choices, int(visit.labels(0).max())
    easel = Easel(visit)
    for moment in easel.paint(Wishes(resolution=80)):
        if moment.doing.startswith("looking at the photo"):
            visit.blank(0)
    (made,) = easel.results
    assert made.started.choices == asked != visit.choices
    assert made.stylization.content_labels is not None and int(made.stylization.content_labels.max()) == regions


@pytest.mark.slow
def test_a_photo_that_is_a_result(visit: Visit) -> None:
    """An archive holds both, also where small letters are large ones."""
    visit.take_photo("Stylised.png", picture())
    list((easel := Easel(visit)).paint(Wishes()))
    with zipfile.ZipFile(io.BytesIO(bundle(easel.results[0]))) as archive:
        names = [name.rpartition("/")[2].casefold() for name in archive.namelist() if "/regions/" not in name]
        assert len(set(names)) == len(names) and "stylised_2.png" in names
        assert archive.read(f"{easel.results[0].folder}/stylised.png") == easel.results[0].picture.read_bytes()


@pytest.mark.slow
def test_the_networks_work_for_one_at_a_time(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    model, networks, free = visit.workshop.parts["model"], visit.workshop.networks, []

    def look() -> None:
        free.append(networks.acquire(blocking=False))
        if free[-1]:
            networks.release()

    for name in ("predict", "predict_with_features"):

        def watched(*given: Any, run: Callable[..., Any] = getattr(model, name)) -> Any:
            with ThreadPoolExecutor(1) as other:
                other.submit(look).result()
            return run(*given)

        monkeypatch.setattr(model, name, watched)
    list(Easel(visit).paint(Wishes()))
    assert free and not any(free)


@pytest.mark.parametrize("moment", [0, -1])
def test_stopped_before_the_first_stroke(visit: Visit, moment: int) -> None:
    """While the first picture is looked at, or the last one was."""
    easel, seen = Easel(visit), []
    doing = ["looking at the photo, for a picture of this size", "matching the regions"]
    for one in easel.paint(Wishes(resolution=80)):
        seen.append(one.doing)
        if one.doing == doing[moment]:
            easel.stop()
    assert seen[-1] == doing[moment] and not easel.results


def test_a_visitor_who_left_keeps_nothing(visit: Visit) -> None:
    easel = Easel(visit)
    for moment in easel.paint(Wishes()):
        if moment.doing == "painting":
            easel.leave()
    assert not easel.results


def test_a_removed_painting(visit: Visit) -> None:
    visit.pin(1, 2, 1)
    visit.remove(1)
    assert match_of(visit, 1) == (1, 1, True) and len(visit.pictures) == 2


def picture(size: tuple[int, int] = (64, 64), kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture of"),
        (picture()[:200], "damaged"),
        (picture((8, 8)), "fewer than 32"),
        (b"GIF89a" + b"\xff" * 40, "damaged|not a picture"),
        (b"0" * (25 * 2**20), "MiB"),
    ],
)
def test_hostile_pictures(new_visit: Callable[[], Visit], data: bytes, said: str) -> None:
    visit = new_visit()
    with pytest.raises(InputError, match=said) as error:
        visit.take_photo("../../etc/evil.png", data)
    assert str(visit.folder) not in str(error.value)
    assert not [path for path in visit.folder.rglob("*") if path.is_file()]


def test_a_bomb_is_not_decoded(new_visit: Callable[[], Visit], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "png")
    monkeypatch.setattr("stylegallery.studio.limits.read_pixels", None)
    with pytest.raises(InputError, match="81 megapixels"):
        new_visit().take_photo("bomb.png", stream.getvalue())


@pytest.mark.parametrize("size", [(32, 24_000), (24_000, 32)])
def test_a_thin_picture(new_visit: Callable[[], Visit], size: tuple[int, int]) -> None:
    """The networks would see 32 pixels by thousands, for hours."""
    stream = io.BytesIO()
    Image.new("L", size).save(stream, "png")
    with pytest.raises(InputError, match="16 times as long"):
        new_visit().take_photo("thin.png", stream.getvalue())


def test_a_mask_has_the_name_that_it_came_with(visit: Visit) -> None:
    stream = io.BytesIO()
    Image.effect_noise((90, 60), 80).save(stream, "png")
    with pytest.raises(InputError, match=r"mask my sky\.png has"):
        visit.load_mask(0, "my sky.png", stream.getvalue())


def test_a_huge_mask(visit: Visit) -> None:
    stream = io.BytesIO()
    Image.new("P", (9000, 9000)).save(stream, "png")
    with pytest.raises(InputError, match="81 megapixels"):
        visit.load_mask(0, "mask.png", stream.getvalue())
    huge = {"imageWidth": 10**6, "imageHeight": 10**6, "shapes": []}
    with pytest.raises(InputError, match="labelme"):
        visit.load_mask(0, "mask.json", json.dumps(huge).encode())
    assert not visit.choices.masks


def test_of_a_polyglot_only_the_picture_is_shown(new_visit: Callable[[], Visit]) -> None:
    visit = new_visit()
    visit.take_photo("a.png", picture() + b"<script>alert(1)</script>")
    (address,) = pictures_of(Guest(visit, Easel(visit))).values()
    shown = base64.b64decode(address.partition(",")[2])
    assert shown[:3] == b"\xff\xd8\xff" and b"script" not in shown


@pytest.mark.parametrize("name", ["../../a b'\".png", "名.jpg", "..", "", "a\x00b", "-out=x", "a" * 500])
def test_names_of_files(new_visit: Callable[[], Visit], name: str) -> None:
    visit = new_visit()
    visit.take_photo(name, picture())
    assert visit.pictures[0] is not None
    path = visit.pictures[0].path
    assert path.parent == visit.folder and path.name.replace("_", "").removesuffix(".png").isalnum()


def test_a_session_holds_so_many_bytes(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegallery.studio.limits.MOST_OF_VISITOR", 1000)
    with pytest.raises(InputError, match="as many files as it may"):
        visit.take_reference("a.png", picture())
    assert len(visit.pictures) == 3


def test_pictures_that_are_gone_are_forgotten(visit: Visit) -> None:
    visit.plan()
    assert len(visit.known) == 3
    visit.remove(1)
    visit.take_photo("a.png", picture())
    assert len(visit.known) == 1


@pytest.mark.slow
def test_so_many_sizes_stay_in_memory(visit: Visit) -> None:
    sizes = [64 + 16 * number for number in range(7)]
    visit.labels(0)
    for size in sizes:
        visit.analysis(0, Wishes(resolution=size))
    known = {key[0].resolution for key in visit.known}
    assert known == {visit.look.resolution, *sizes[-4:]} == {one.resolution for one in visit.methods}


@pytest.mark.parametrize(
    "data", [b"{}", b"[" * 100_000, b"{" + b'"a":{' * 100 + b"}" * 101, b'{"seed": 1e400}', picture()]
)  # fmt: skip
def test_hostile_records(visit: Visit, data: bytes) -> None:
    with pytest.raises(InputError):
        open_result(visit, [("record.json", data)])
    assert visit.ready


@pytest.mark.parametrize(
    "wishes",
    [{"resolution": 10**9}, {"model": "/etc"}, {"content_weight": float("nan")}, {"resolution": "64"}, [], None],
)
def test_hostile_wishes(wishes: object) -> None:
    with pytest.raises(InputError):
        Wishes.of(wishes)


def test_the_page_is_told_the_limits() -> None:
    for name, (least, most) in Wishes.limits().items():
        assert Wishes.of({name: least}) and Wishes.of({name: most})
        for beyond in (least - 1, most + 1):
            with pytest.raises(InputError, match=name):
                Wishes.of({name: beyond})
    assert {"steps", "content_weight", "recolouring", "resolution"} <= Wishes.limits().keys()


def test_how_often_a_painting_is_updated_in_so_many_steps(visit: Visit) -> None:
    """For the page; a model may have fewer steps than a visitor may set."""

    def updates(guidance: Any) -> int:
        if guidance.steps > 36:
            raise SettingsError("no such schedule")
        return int(guidance.steps) // 6 + 1

    method: Any = SimpleNamespace(guidance=visit.method(Wishes()).guidance, updates=updates)
    assert updates_by_steps(method) == {steps: steps // 6 + 1 for steps in range(1, 37)}
    assert visit.workshop.updates[4] == 4 and len(visit.workshop.updates) == 300


def test_a_weight_that_no_number_holds(workshop: Workshop) -> None:
    settings = workshop.settings(Wishes())
    assert Wishes.in_config(settings) == workshop.defaults
    settings["guidance"]["content_weight"] = 10**400
    with pytest.raises(InputError, match="no settings of StyleGallery"):
        Wishes.in_config(settings)


def test_a_missing_gradio_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("stylegallery.studio.__main__.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["studio", "model=embedded"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: the studio needs Gradio; python -m pip install -e '.[studio]' installs it\n"
    )


@pytest.mark.parametrize("given", ["content=a.jpg", "seed=1", "time_budget=30", "model=nothing", "method=identity"])
def test_settings_that_are_none_of_a_studio(given: str) -> None:
    with pytest.raises(InputError):
        Workshop([given])
