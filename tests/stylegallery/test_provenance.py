"""Digests of weights and of code: whatever decides a result is in them, and nothing else."""

import os
from pathlib import Path

import pytest
from conftest import Pictures

from harness.record import Request
from stylegallery import provenance
from stylegallery.contract import Item
from stylegallery.errors import InputError
from stylegallery.provenance import code_digest, weights_digest, weights_settings, with_absolute_paths, without_places
from stylegallery.settings import Weights

LOADER = "stylegallery.models.factory.from_directory"


def item_of(pictures: Pictures) -> Item:
    return Item("item", pictures.content, (pictures.first, pictures.second))


def test_a_pipe_among_weights_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match=r"unet\.safetensors is no regular file; restore it or remove it"):
        weights_digest(str(tmp_path))


def weights_of(folder: Path, value: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(value)
    return folder


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


def test_relative_imports_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "methods" / "deep").mkdir(parents=True)
    texts = {"methods/mine.py": "from .deep import a\nfrom . import b\n", "methods/deep/a.py": "from ..c import X\n"}
    for name in ("methods/mine.py", "methods/deep/a.py", "methods/b.py", "methods/c.py"):
        (tmp_path / name).write_text(texts.get(name, ""))
    found = provenance.reachable(frozenset({"methods.mine.Mine"}))
    assert {path.relative_to(tmp_path).as_posix() for path in found} == {
        "methods/mine.py", "methods/deep/a.py", "methods/b.py", "methods/c.py",
    }  # fmt: skip


def test_the_embedded_model_is_code_of_those_who_load_models() -> None:
    """Its class is named by model folders, and no method imports it."""
    embedded = provenance.ROOT / "stylegallery" / "embedded" / "autoencoder.py"
    assert embedded in provenance.reachable(frozenset({LOADER}))
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
