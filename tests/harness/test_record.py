"""Records: nothing half written is ever taken for a result."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from conftest import Pictures
from PIL import Image

from data.custom import custom_item
from harness import result_files
from harness.record import Request, read_record
from harness.result_files import write_result
from stylegallery.contract import Item, Stylization
from stylegallery.errors import InputError
from stylegallery.images import read_image, to_pixels

CONFIG = {"method": {"steps": 2}}
pytestmark = pytest.mark.usefixtures("blank_figures")


def item_of(pictures: Pictures) -> Item:
    return Item("item", pictures.content, (pictures.first, pictures.second))


def outcome(pictures: Pictures, value: float = 0.5) -> Stylization:
    """What a baseline returns: an image and no regions, which is quick to write."""
    image = torch.full((1, 3, 64, 72), value)
    return Stylization(image, read_image(pictures.content), [read_image(pictures.first)], seconds={"all": 1.5})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def request_one(pictures: Pictures) -> Request:
    return Request.of(item_of(pictures), 0, CONFIG)


@pytest.fixture
def request_two(pictures: Pictures) -> Request:
    return Request.of(item_of(pictures), 1, CONFIG)


def test_written_record_reads_back(pictures: Pictures, request_one: Request, out: Path) -> None:
    written = write_result(out, request_one, outcome(pictures))
    assert read_record(out) == written
    assert written.digest == request_one.digest()
    assert written.size == (72, 64)
    assert written.seconds == {"all": 1.5}
    assert list(written.files) == ["overview.png", "stylised.png"]
    assert {path.name for path in out.iterdir()} == {"overview.png", "stylised.png", "record.json"}
    assert to_pixels(read_image(out / "stylised.png")).tolist() == [[[128] * 3] * 72] * 64


@pytest.mark.parametrize("name", [b"caf\xe9.png", "Übung 名.png".encode()])
def test_names_of_any_bytes(pictures: Pictures, out: Path, name: bytes) -> None:
    content = pictures.content.rename(pictures.content.parent / os.fsdecode(name))
    request = Request.of(custom_item(str(content), str(pictures.first)), 0, CONFIG)
    write_result(out, request, outcome(pictures._replace(content=content)))
    (out / "record.json").read_text(encoding="ascii")
    record = read_record(out)
    assert record is not None
    assert record.inputs["content"].path == str(content)
    assert (record.item, record.digest) == (request.item, request.digest())


def test_provenance_is_in_the_picture(pictures: Pictures, request_two: Request, out: Path) -> None:
    write_result(out, request_two, outcome(pictures))
    record = json.loads((out / "record.json").read_text())
    with Image.open(out / "stylised.png") as image:
        text = {key: image.info[key] for key in image.info if key != "dpi"}
    request = json.loads(text.pop("request"))
    assert text == {"config": record["digest"], "seed": "1", "code": record["code"]}
    assert request["config"] == CONFIG and request["constraints"] == record["constraints"]
    assert request["inputs"] == {role: file["sha256"] for role, file in record["inputs"].items()}


@pytest.mark.parametrize("damage", ["no record", "cut", "not json", "other schema", "a list", "file gone"])
def test_record_that_is_not_whole_is_none(pictures: Pictures, request_one: Request, out: Path, damage: str) -> None:
    write_result(out, request_one, outcome(pictures))
    path = out / "record.json"
    assert read_record(out) is not None
    if damage == "no record":
        path.unlink()
    elif damage == "cut":
        path.write_text(path.read_text()[:200])
    elif damage == "not json":
        path.write_bytes(b"\xff\xfe\x00")
    elif damage == "other schema":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": -1}))
    elif damage == "a list":
        path.write_text("[1]")
    else:
        (out / "overview.png").unlink()
    assert read_record(out) is None


class Killed(BaseException):
    """Nothing in the product catches it, as nothing catches a SIGKILL."""


@pytest.mark.parametrize("moves", range(4))
def test_kill_while_moving_never_leaves_a_mixture(
    pictures: Pictures, request_one: Request, request_two: Request, out: Path,
    monkeypatch: pytest.MonkeyPatch, moves: int,
) -> None:  # fmt: skip
    """An old result lies there; the new one is killed after `moves` of its three files are in their place."""
    write_result(out, request_one, outcome(pictures, 0.25))
    real, done = Path.replace, 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal done
        if Path(target).parent == out:
            if done == moves:
                raise Killed
            done += 1
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        if moves < 3:
            with pytest.raises(Killed):
                write_result(out, request_two, outcome(pictures, 0.75))
        else:
            write_result(out, request_two, outcome(pictures, 0.75))
    record = read_record(out)
    if record is not None:
        pixel = to_pixels(read_image(out / "stylised.png"))[0, 0, 0]
        assert (record.digest, pixel) in ((request_one.digest(), 64), (request_two.digest(), 191))
    assert (record is not None) == (moves == 3)
    again = write_result(out, request_two, outcome(pictures, 0.75))
    assert read_record(out) == again


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_old_result_survives_a_failed_new_one(
    pictures: Pictures, request_one: Request, request_two: Request, out: Path,
    monkeypatch: pytest.MonkeyPatch, error: BaseException,
) -> None:  # fmt: skip
    write_result(out, request_one, outcome(pictures))
    before = contents(out)

    def fail(folder: Path, *_: object) -> None:
        (folder / "stylised.png").write_bytes(b"half a picture")
        raise error

    monkeypatch.setattr(result_files, "write_files", fail)
    with pytest.raises(InputError if isinstance(error, OSError) else Killed) as caught:
        write_result(out, request_two, outcome(pictures))
    if isinstance(error, OSError):
        assert str(out) in str(caught.value)
        assert "No space left on device" in str(caught.value)
        assert "make room or pass another out=" in str(caught.value)
    assert contents(out) == before
    record = read_record(out)
    assert record is not None
    assert record.digest == request_one.digest()


def test_error_without_a_reason_is_still_a_sentence(
    pictures: Pictures, request_one: Request, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow raises OSError with a message and no errno."""

    def fail(*_: object) -> None:
        raise OSError("encoder error -2 when writing image file")

    monkeypatch.setattr(result_files, "write_files", fail)
    with pytest.raises(InputError) as caught:
        write_result(out, request_one, outcome(pictures))
    assert "None" not in str(caught.value)
    assert "encoder error -2" in str(caught.value)


def test_files_of_an_older_result_do_not_stay(
    pictures: Pictures, request_one: Request, request_two: Request, out: Path
) -> None:
    """Otherwise the regions of a reference that is gone look like a part of the new result. The user's own stay."""
    labels = torch.ones(8, 9, dtype=torch.int64)
    labels[4:] = 2
    result = outcome(pictures)
    rich = Stylization(result.image, result.content, result.references, labels, [labels[:, :8]])
    write_result(out, request_one, rich)
    assert (out / "regions_reference_1.png").is_file()
    (out / "notes.txt").write_text("mine")
    record = write_result(out, request_two, result)
    assert {path.name for path in out.iterdir()} == {*record.files, "record.json", "notes.txt"}
