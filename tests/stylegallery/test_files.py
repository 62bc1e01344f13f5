"""What comes from outside: only regular files are opened, and a small file never takes much memory or time."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stylegallery import files
from stylegallery.decoding import open_image
from stylegallery.errors import InputError
from stylegallery.files import read_json, read_yaml, replacing, require_file
from stylegallery.provenance import file_digest
from stylegallery.regions import named_regions

READERS: list[Callable[[Path], object]] = [open_image, named_regions, read_json, read_yaml, file_digest]


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path)


IRREGULAR = {
    "pipe": (os.mkfifo, "is a pipe, a socket or a device"),
    "socket": (bind, "is a pipe, a socket or a device"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "is a pipe, a socket or a device"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "is a pipe, a socket or a device"),
    "folder": (Path.mkdir, "is a folder; pass the path of a"),
    "loop": (loop, "cannot be read (Too many levels of symbolic links)"),
    "kernel": (lambda path: path.symlink_to("/proc/kmsg"), "is empty; restore it"),
    "empty": (Path.touch, "is empty; restore it"),
    "sparse": (lambda path: path.touch() or os.truncate(path, 2**40), "MiB, more than the"),
}


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("suffix", ["png", "json"])
def test_what_is_no_regular_file_is_never_opened(
    tmp_path: Path, kind: str, reader: Callable[[Path], object], suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, says = IRREGULAR[kind]
    path = tmp_path / f"a.{suffix}"
    make(path)
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("opened"))
    monkeypatch.setattr("io.open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(InputError) as caught:
        reader(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_path_that_no_system_takes() -> None:
    with pytest.raises(InputError, match=r"cannot be read \(.*null byte.*\); check the path"):
        require_file(Path("a\0b"))


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(InputError, match=r"a/b\.png is missing; pass the path of a picture"):
        require_file(tmp_path / "a" / "b.png", "picture")


# --- texts ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",  # every line doubles what is there
        "a: &a {b: *a}\n",  # never ends
        "base: &base {x: y}\nmore:\n  <<: *base\n",
        "[" * 100_000,
        "a: b: c",
        "\x00",
        b"\xff\xfe",
        "!!python/object/apply:os.system [true]",
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(
        InputError, match=r"a\.yaml is no readable YAML \(.*\); write the captions file again"
    ) as caught:
        read_yaml(path, "captions file")
    assert "\n" not in str(caught.value)


def test_yaml_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("\ufeffa/b: für Äpfel\nc: [1, 2.5, null]\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {"a/b": "für Äpfel", "c": [1, 2.5, None]}


@pytest.mark.parametrize("text", ["{", "[" * 100_000, b"\xff", "[1" + "0" * 5000 + "]"])
def test_json_that_is_refused(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"a\.json is no readable JSON \(.*\); write the JSON file again"):
        read_json(tmp_path / "a.json")


def test_json_is_counted_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("[" + "[]," * 9 + "[]]")
    assert read_json(tmp_path / "a.json") == [[]] * 10
    monkeypatch.setattr(files, "MOST_VALUES", 19)
    with pytest.raises(InputError, match=r"^\S+a\.json holds more than 19 values; make it smaller"):
        read_json(tmp_path / "a.json")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """What a kill left of an earlier try is gone in either case."""
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as killed:
        killed.write_text("half")
        left = killed.read_bytes()
    for error in (KeyboardInterrupt, OSError):
        path.write_text("old")
        killed.write_bytes(left)
        with pytest.raises(error), replacing(path) as temporary:
            temporary.write_text("new")
            raise error
        assert {found.name: found.read_text() for found in tmp_path.iterdir()} == {"file": "old"}
    killed.write_bytes(left)
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert {found.name: found.read_text() for found in tmp_path.iterdir()} == {"file": "new"}
