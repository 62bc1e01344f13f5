"""Records: what decides a result's address, and that nothing half written is ever taken for a result."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Pictures, paint
from PIL import Image

from data.custom import custom_item
from harness import environment as computing
from harness import provenance, result_files
from harness.folder import prepare_folder
from harness.provenance import code_digest, weights_digest, weights_settings, with_absolute_paths, without_places
from harness.record import read_record
from harness.request import Request
from harness.result_files import write_result
from stylegallery.contract import Item, MatchConstraints, Stylization
from stylegallery.errors import InputError
from stylegallery.images import read_image, to_pixels
from stylegallery.settings import Weights

CONFIG = {"method": {"steps": 2}}


def item_of(pictures: Pictures, **changes: Any) -> Item:
    values = {"id": "item", "content": pictures.content, "references": (pictures.first, pictures.second)}
    constraints = {name: changes.pop(name) for name in ("pins", "excluded", "forbidden") if name in changes}
    return Item(**(values | changes), constraints=MatchConstraints(**constraints))


def digest_of(item: Item, seed: int = 0, config: dict[str, Any] = CONFIG) -> str:
    return Request.of(item, seed, config).digest()


def outcome(pictures: Pictures, value: float = 0.5) -> Stylization:
    """What a baseline returns: an image and no regions, which is quick to write."""
    image = torch.full((1, 3, 64, 72), value)
    return Stylization(image, read_image(pictures.content), [read_image(pictures.first)], seconds={"all": 1.5})


pytestmark = pytest.mark.usefixtures("blank_figures")


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


# --- the address ---


def test_digest_repeats_and_ignores_where_files_lie(pictures: Pictures, tmp_path: Path) -> None:
    copies = [path.rename(tmp_path / f"moved_{path.name}") for path in pictures]
    moved = digest_of(item_of(Pictures(*copies)))
    for copy, path in zip(copies, pictures, strict=True):
        copy.rename(path)
    assert digest_of(item_of(pictures)) == digest_of(item_of(pictures)) == moved
    assert digest_of(item_of(pictures, id="other")) == moved
    for looks_up in ({"pattern": "{item}.png"}, {"nested": {"captions": __file__}}):  # of a method that goes by names
        seen = {digest_of(item_of(pictures, id=name), config=looks_up) for name in ("item", "other")}
        renamed = paint(tmp_path / "renamed.png", 1, (80, 64))
        assert renamed.read_bytes() == pictures.content.read_bytes()
        seen.add(digest_of(item_of(pictures, content=renamed), config=looks_up))
        assert len(seen) == 3
    one, other = (1, 2, 1), ((0.5, 0.5), 1, 1)
    assert digest_of(item_of(pictures, forbidden=(one, other), pins={1: (1, 1), 2: (2, 2)}, excluded=(1, 2))) == (
        digest_of(item_of(pictures, forbidden=(other, one), pins={2: (2, 2), 1: (1, 1)}, excluded=(2, 1)))
    )
    assert len(moved) == 16


def test_every_part_of_the_request_decides(pictures: Pictures, tmp_path: Path) -> None:
    base = item_of(pictures)
    digests = [
        digest_of(base),
        digest_of(base, seed=1),
        digest_of(base, config={"method": {"steps": 3}}),
        digest_of(item_of(pictures, content=pictures.second)),
        digest_of(item_of(pictures, references=(pictures.second, pictures.first))),
        digest_of(item_of(pictures, references=(pictures.first,))),
        digest_of(item_of(pictures, pins={1: (2, 1)})),
        digest_of(item_of(pictures, pins={(0.25, 1.0): (2, (0.5, 0.5))})),
        digest_of(item_of(pictures, excluded=(1,))),
        digest_of(item_of(pictures, forbidden=((1, 2, 1),))),
        digest_of(item_of(pictures, mask=paint(tmp_path / "mask.png", 4))),
    ]
    assert len(set(digests)) == len(digests)


def test_role_of_a_file_decides(pictures: Pictures) -> None:
    """The same files mean something else as content, reference, mask of the content or mask of a reference."""
    first, second, mask = pictures.first, pictures.second, pictures.content
    items = {
        "plain": item_of(pictures),
        "repeated": item_of(pictures, references=(first, second, first)),
        "content among references": item_of(pictures, references=(pictures.content, first, second)),
        "second as mask": item_of(pictures, references=(first,), mask=second),
        "second as reference mask": item_of(pictures, references=(first,), reference_masks=(second,)),
        "mask": item_of(pictures, content=second, references=(first, first), mask=mask),
        "first mask": item_of(pictures, content=second, references=(first, first), reference_masks=(mask,)),
        "second mask": item_of(pictures, content=second, references=(first, first), reference_masks=(None, mask)),
    }
    seen: dict[str, list[str]] = {}
    for name, item in items.items():
        seen.setdefault(digest_of(item), []).append(name)
    assert [names for names in seen.values() if len(names) > 1] == []


def test_changed_bytes_change_the_digest(pictures: Pictures) -> None:
    for path in pictures:
        before = digest_of(item_of(pictures))
        path.write_bytes(path.read_bytes() + b"\0")
        assert digest_of(item_of(pictures)) != before


def test_changed_code_changes_the_digest(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(item_of(pictures))
    monkeypatch.setattr("harness.request.code_digest", lambda config: "of other sources")
    assert digest_of(item_of(pictures)) != before


def test_a_pipe_among_weights_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match=r"unet\.safetensors is no regular file; restore it or remove it"):
        weights_digest(str(tmp_path))


def test_input_that_cannot_be_read(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(path: Path, *options: Any, **named: Any) -> Any:
        if path == pictures.second:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *options, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"second\.jpg cannot be read \(Permission denied\); check the path"):
        Request.of(item_of(pictures), 0, CONFIG)


def weights_of(folder: Path, value: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(value)
    return folder


LOADER = "stylegallery.models.factory.from_directory"


class Mine:
    """A method of a user's own: what it calls weights is what it marks as such."""

    def __init__(self, weights_dir: Weights, prompt: str, model: object = None) -> None:
        pass


def test_weights_anywhere_in_the_settings_decide(pictures: Pictures, tmp_path: Path) -> None:
    """Their bytes, not where they lie; nested settings and single files too."""
    one, same, other = (weights_of(tmp_path / name, value) for name, value in (("a", b"1"), ("b", b"1"), ("c", b"2")))
    model = {"_target_": LOADER, "path": str(one), "lora": str(other / "model.safetensors")}
    nested = {"method": {"_target_": f"{__name__}.Mine", "model": model, "weights_dir": str(same), "prompt": str(one)}}
    digests = Request.of(item_of(pictures), 0, nested).weights
    assert set(digests) == {"method.weights_dir", "method.model.path", "method.model.lora"}
    assert digests["method.weights_dir"] == digests["method.model.path"] != digests["method.model.lora"]
    with pytest.raises(InputError, match="download it with"):
        Request.of(item_of(pictures), 0, {"encoder": {"_target_": f"{__name__}.Mine", "weights_dir": "nobody/nothing"}})


def test_weights_that_another_setting_names_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `features: vgg19` of Gatys does."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    digests = []
    for value in (b"1", b"2"):
        provenance.weights_digest.cache_clear()
        weights_of(tmp_path / "checkpoints", b"").joinpath("vgg19-dcbb9e9d.pth").write_bytes(value)
        digests.append(provenance.weights_digests({"features": "vgg19", "resizing": "keep"}))
    assert digests[0].keys() == {"features"} and digests[0] != digests[1]
    assert provenance.weights_digests({"features": "efficientnet"}) == {}
    provenance.weights_digest.cache_clear()


def test_paths_of_weights_for_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is a path, nor is the name of the shipped model, although a folder here is called so."""
    monkeypatch.chdir(tmp_path)
    for name in ("embedded", "mine", "square"):
        (tmp_path / name).mkdir()
    mine, loader = {"_target_": f"{__name__}.Mine", "prompt": "mine"}, {"_target_": LOADER}
    given = {
        "model": loader | {"path": "embedded"},
        "resizing": "square",
        "parts": [mine | {"weights_dir": "mine/"}, loader | {"path": "no/such"}],
    }
    parts = [mine | {"weights_dir": str(tmp_path / "mine")}, loader | {"path": "no/such"}]
    assert with_absolute_paths(given) == given | {"parts": parts}
    names = weights_settings(given)
    assert set(names) == {"model.path", "parts[0].weights_dir", "parts[1].path"}
    moved = {
        "model": loader | {"path": "/x"},
        "resizing": "square",
        "parts": [mine | {"weights_dir": "/y"}, loader | {"path": "z"}],
    }
    assert without_places(moved, names) == without_places(given, names)
    assert without_places(moved, names) != without_places(given | {"resizing": "keep"}, names)


def digest_of_weights(path: Path) -> str:
    weights_digest.cache_clear()
    return weights_digest(str(path))


@pytest.mark.parametrize("name", ["scheduler/scheduler_config.json", "tokenizer/merges.txt", "x.PNG", "linked/x.bin"])
def test_every_file_that_decides_is_in_the_weights(tmp_path: Path, name: str) -> None:
    """Long texts whole, suffixes of any case, what lies behind a link."""
    folder, elsewhere = weights_of(tmp_path / "model", b"1"), tmp_path / "elsewhere"
    for inner in (elsewhere, folder / "scheduler", folder / "tokenizer"):
        inner.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    seen = {digest_of_weights(folder)}
    for value in (b"1", b"2"):
        (folder / name).write_bytes(b" " * 100_000 + value + b" " * 3_000_000 if name.endswith("txt") else value)
        seen.add(digest_of_weights(folder))
    assert len(seen) == 3


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of digests of its own, of all files that are large enough."""
    monkeypatch.setattr(provenance, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(provenance, "SETTLED", -1e9)
    return tmp_path / "kept"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every file whose bytes are digested."""
    done: list[int] = []
    whole = provenance.hashlib.file_digest
    monkeypatch.setattr(provenance.hashlib, "file_digest", lambda stream, name: done.append(1) or whole(stream, name))
    return done


def test_any_byte_of_any_weights_decides(tmp_path: Path, kept: Path) -> None:
    """Also where size, time, inode and every sampled place stay as they were."""
    folder, seen = weights_of(tmp_path / "model", bytes(3_000_000)), set()
    file, time = folder / "model.safetensors", (folder / "model.safetensors").stat()
    for place in (None, 70_000, 1_234_567, 2_999_999):
        if place is not None:
            with file.open("r+b") as stream:
                stream.seek(place)
                stream.write(b"x")
            os.utime(file, ns=(time.st_atime_ns, time.st_mtime_ns))
        seen.add(digest_of_weights(folder))
    assert len(seen) == 4
    alone = digest_of_weights(file)
    file.rename(folder / "other.safetensors")  # which part of a model a file is, its name says
    assert digest_of_weights(folder) not in seen
    assert digest_of_weights(folder / "other.safetensors") == alone


def test_large_weights_are_read_once(tmp_path: Path, kept: Path, reads: list[int]) -> None:
    folder = weights_of(tmp_path / "model", bytes(2_000_000))
    assert len({digest_of_weights(folder) for _ in range(3)}) == len(reads) == 1
    copy = weights_of(tmp_path / "copy", bytes(2_000_000))
    assert digest_of_weights(copy) == digest_of_weights(folder)
    assert len(reads) == 2


@pytest.mark.parametrize("damage", ["cut", "other", "bytes", "folder", "moment"])
def test_digest_that_is_in_doubt_is_computed_again(
    tmp_path: Path, kept: Path, reads: list[int], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (weights_of(tmp_path / name, bytes([number]) * 2_000_000) for number, name in enumerate("ab"))
    if damage == "moment":  # the clock may not show another change that follows at once
        monkeypatch.setattr(provenance, "SETTLED", 60)
    right = digest_of_weights(one)
    entries = list(kept.glob("*"))
    assert len(entries) == (damage != "moment")
    digest_of_weights(two)
    for entry in entries:
        (other,) = set(kept.glob("*")) - {entry}
        text = entry.read_text()
        entry.unlink()
        if damage == "folder":
            entry.mkdir()
        else:
            entry.write_bytes({"cut": text[:40].encode(), "other": other.read_bytes(), "bytes": b"\xff\xfe"}[damage])
    assert digest_of_weights(one) == right
    assert len(reads) == 3


def test_digests_without_a_place_to_keep_them(tmp_path: Path, kept: Path) -> None:
    folder = weights_of(tmp_path / "model", bytes(2_000_000))
    kept.write_text("a file")
    assert digest_of_weights(folder) == digest_of_weights(folder)


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    folder = weights_of(tmp_path, b"1")
    before = digest_of_weights(folder)
    (folder / "old.pt").mkdir()
    assert digest_of_weights(folder) == before
    (folder / "unet.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"unet\.safetensors cannot be read \(No such file or directory\); restore"):
        digest_of_weights(folder)


@pytest.mark.parametrize("name", ["mine.py", "stylegallery/draws.py", "models/autoencoder.py"])
def test_code_is_also_what_no_method_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The draws of every item, and a module that is loaded by its name."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    digests = []
    for text in ("old = 1", "new = 1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine.py").write_text("LIBRARIES = {'diffusers', 'models.autoencoder'}\n")
        with (tmp_path / name).open("a") as file:
            file.write(f"{text}\n")
        provenance.sources_digest.cache_clear()
        digests.append(code_digest({"_target_": "mine.Mine"}))
    provenance.sources_digest.cache_clear()
    assert digests[0] != digests[1]


def test_the_embedded_model_is_code_of_those_who_load_models() -> None:
    """Its class is named by model folders, and no method imports it."""
    embedded = provenance.ROOT / "stylegallery" / "embedded" / "autoencoder.py"
    assert embedded in provenance.reachable(frozenset({"stylegallery.pipeline.StyleGallery"}))
    assert embedded not in provenance.reachable(frozenset({"baselines.identity.Identity"}))


def test_code_is_what_the_settings_reach() -> None:
    """Methods reach what they import, also through each other; nobody reaches scores, and no method another one."""
    names = {
        target: {path.relative_to(provenance.ROOT).as_posix() for path in provenance.reachable(frozenset({target}))}
        for target in ("stylegallery.pipeline.StyleGallery", "baselines.stytr2.StyTR2")
    }
    first, second = names.values()
    assert {"stylegallery/pipeline.py", "stylegallery/models/attention.py", "stylegallery/contract.py"} <= first
    assert {"baselines/stytr2.py", "baselines/networks/stytr2.py", "stylegallery/contract.py"} <= second
    assert not any(path.startswith("baselines/") for path in first)
    assert not any(path.startswith(("evaluation/", "tests/")) for path in first | second)
    config = {"_target_": "stylegallery.pipeline.StyleGallery"}
    assert code_digest(config) == code_digest({"inner": config}) != code_digest({"_target_": "baselines.stytr2.StyTR2"})


# --- writing ---


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


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda:1"])
def test_record_names_what_computed(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Results are the same on one machine: another processor or GPU is another machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device}")
    monkeypatch.setattr(torch, "empty", lambda _, device: SimpleNamespace(device=torch.device(device)))  # two GPUs
    found = computing.environment({"resolution": 64, "model": {"device": device}})
    assert found["device"] == {"auto": "NVIDIA cuda", "cuda:1": "NVIDIA cuda:1"}.get(device, computing.cpu_name())
    assert found["cuda"] == (torch.version.cuda or "none")
    assert computing.environment(CONFIG)["device"] == computing.cpu_name() != ""


def test_provenance_is_in_the_picture(pictures: Pictures, request_two: Request, out: Path) -> None:
    write_result(out, request_two, outcome(pictures))
    record = json.loads((out / "record.json").read_text())
    with Image.open(out / "stylised.png") as image:
        text = {key: image.info[key] for key in image.info if key != "dpi"}
    assert text == {"config": record["digest"], "seed": "1", "code": record["code"]}


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


# --- the folder ---


def test_folder_is_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folder_below_a_file_or_a_file_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"out folder .*file.* cannot be written .*; pass another out="):
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
