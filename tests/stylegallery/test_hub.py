"""Downloads from a model hub that this machine emulates: what is asked for, continued, refused, and said."""

import errno
import hashlib
import json
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest
from conftest import fetched, refused
from filelock import FileLock
from huggingface_hub.utils import close_session

from stylegallery import transfer, weights
from stylegallery.provenance import weights_digest
from stylegallery.weights import Entry, locate
from stylegallery.weights.__main__ import main

REVISION = "0123456789abcdef0123456789abcdef01234567"
NEWER = "89abcdef0123456789abcdef0123456789abcdef"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"a card"}


@dataclass
class Hub:
    """A hub with one repository, someone/tiny: what it holds, how it answers, what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    commit: str = REVISION
    refusals: list[tuple[int, str]] = field(default_factory=list)  # (status, X-Error-Code) of the next answers
    busy: list[str] = field(default_factory=list)  # files whose next answer is 503
    sent: int | None = None  # bytes of a file after which it breaks off
    asked: list[str] = field(default_factory=list)  # GETs of files, with the first byte where that is not 0
    authorised: list[str | None] = field(default_factory=list)
    elsewhere: bool = False  # whether the hub redirects to another server, as it does for large files


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.0"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        if hub.refusals and body:
            status, code = hub.refusals.pop(0)
            self.reply(status, {"X-Error-Code": code} if code else {}, b"")
        elif path.startswith("/api/models/someone/tiny/tree/"):
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(self.tree()).encode())
        elif path.startswith("/api/models/someone/tiny"):
            about = {"id": "someone/tiny", "sha": hub.commit, "siblings": []}
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(about).encode())
        elif path.startswith("/someone/tiny/resolve/"):
            if hub.elsewhere and body:
                hub.authorised.append(self.headers.get("Authorization"))
                self.reply(302, {"Location": f"{hub.url}/elsewhere/{path.split('/', 5)[5]}"}, b"")
            else:
                self.send_file(path.split("/", 5)[5], body)
        elif path.startswith("/elsewhere/"):
            self.send_file(path.split("/", 2)[2], body)
        else:
            self.reply(404, {"X-Error-Code": "RepoNotFound"}, b"")

    def tree(self) -> list[dict[str, object]]:
        rows = []
        for path, data in self.hub.files.items():
            row: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": etag(data)}
            if len(data) > 1000:
                row["lfs"] = {"oid": etag(data), "size": len(data), "pointerSize": 134}
            rows.append(row)
        return rows

    def send_file(self, path: str, body: bool) -> None:
        hub, data = self.hub, self.hub.files[path]
        asked = self.headers.get("Range")
        offset = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if body:
            hub.asked.append(f"{path}@{offset}" if offset else path)
            hub.authorised.append(self.headers.get("Authorization"))
            if path in hub.busy:
                hub.busy.remove(path)
                self.reply(503, {"Retry-After": "0"}, b"")
                return
        headers = {"ETag": f'"{etag(data)}"', "X-Repo-Commit": hub.commit, "Content-Type": "application/octet-stream"}
        self.reply(206 if offset else 200, headers, data[offset:], hub.sent if body else 0)

    def reply(self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])

    def log_message(self, *_: object) -> None:
        pass


def etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if len(data) > 1000 else hashlib.sha1(data).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, with an empty cache, and a client that does not wait before it tries again."""
    state = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state})) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", state.url)
        template = state.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(transfer, "WAITS", (0, 0))
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # of the client's own tries
        yield state
        close_session()
        listening.shutdown()


@pytest.fixture
def entry(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A table with that repository alone."""
    made = Entry("tiny", 1, "MIT", ["nothing"], ["config.json", "*.safetensors"],
                 repository="someone/tiny", revision=REVISION)  # fmt: skip
    rows = {"tiny": made}
    monkeypatch.setattr(weights, "table", lambda: rows)
    return made


def blobs(entry: Entry) -> Path:
    return weights.blobs_of(str(entry.repository))


def test_only_the_files_that_will_be_loaded_are_asked_for(entry: Entry, hub: Hub) -> None:
    fetched("tiny")
    folder = locate("tiny")
    assert sorted(hub.asked) == ["config.json", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(path.name for path in blobs(entry).iterdir()) == sorted(etag(FILES[name]) for name in hub.asked)
    fetched("tiny")
    assert len(hub.asked) == 2


def test_a_killed_download_continues_and_leaves_no_orphan(entry: Entry, hub: Hub) -> None:
    """A killed call leaves its part; earlier versions and other programs left files that nobody continues."""
    blobs(entry).mkdir(parents=True)
    (blobs(entry) / f"{DIGEST}.part").write_bytes(WEIGHTS[:300_000])
    orphan, running = (blobs(entry) / f"{DIGEST}.{number}.incomplete" for number in ("01234567", "89abcdef"))
    for file in (orphan, running):
        file.write_bytes(b"half")
    os.utime(orphan, (time.time() - 4000,) * 2)
    fetched("tiny")
    assert "model.safetensors@300000" in hub.asked and "model.safetensors" not in hub.asked
    assert (locate("tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert not orphan.exists() and running.exists()
    assert list(blobs(entry).glob("*.part*")) == []


def test_a_hub_that_breaks_off_is_asked_for_the_rest(entry: Entry, hub: Hub) -> None:
    hub.sent = 400_000
    fetched("tiny")
    assert [asked for asked in hub.asked if "@" in asked] == ["model.safetensors@400000", "model.safetensors@800000"]
    assert (locate("tiny") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_part_is_removed(entry: Entry, hub: Hub) -> None:
    blobs(entry).mkdir(parents=True)
    (blobs(entry) / f"{DIGEST}.part").write_bytes(bytes(1000))
    assert "and was removed; run the same command again" in refused("tiny")
    fetched("tiny")
    assert (locate("tiny") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_token_goes_to_the_hub_alone(entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.elsewhere = True
    fetched("tiny")
    assert hub.authorised == ["Bearer hf_secret", None] * 2
    assert (locate("tiny") / "model.safetensors").read_bytes() == WEIGHTS


def test_part_of_a_repository_is_enough(entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers fetches the parts of a pipeline, not the card and the pictures beside them."""
    huggingface_hub.snapshot_download("someone/tiny", allow_patterns=["config.json", "*.safetensors"])
    hub.asked.clear()
    assert (locate("tiny") / "model.safetensors").is_file()
    monkeypatch.setattr(weights, "table", dict)
    assert (locate("someone/tiny") / "model.safetensors").is_file()  # the listing in the cache has README.md too
    assert hub.asked == []


def test_weights_in_half_precision_alone_are_found_and_counted(entry: Entry, hub: Hub) -> None:
    """As diffusers fetches them with variant="fp16"; `fetch` still brings the whole ones."""
    hub.files = {"config.json": b"{}", "model.fp16.safetensors": WEIGHTS[::-1]}
    named = replace(entry, files=["config.json", "model.safetensors"])
    weights.table()["tiny"] = named
    huggingface_hub.snapshot_download("someone/tiny", revision=REVISION)
    folder = locate("tiny")
    assert folder.joinpath("model.fp16.safetensors").is_file()
    found = weights_digest.__wrapped__("tiny")
    (folder / "model.fp16.safetensors").unlink()
    (folder / "model.fp16.safetensors").write_bytes(WEIGHTS)
    assert weights_digest.__wrapped__("tiny") != found
    hub.files = FILES
    shutil.rmtree(blobs(named).parent / "trees", ignore_errors=True)
    fetched("tiny")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


# --- refusals ---


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "RepoNotFound", "/someone/tiny does not exist, is private or your token is refused"),
        (401, "", "does not exist, is private or your token is refused"),
        (403, "GatedRepo", "its owner asks for consent; accept the terms at "),
        (401, "GatedRepo", "its owner asks for consent; accept the terms at "),
        (403, "", "forbids it to you (403)"),
        (404, "RepoNotFound", "it is not at "),
        (404, "RevisionNotFound", "the revision is not at "),
        (500, "", "is out of order (500); try again later"),
        (429, "", "limits how often you may ask (429); wait some minutes"),
    ],
)
def test_every_refusal_has_its_sentence(entry: Entry, hub: Hub, status: int, code: str, says: str) -> None:
    hub.refusals = [(status, code)] * 30
    message = refused("tiny")
    assert message.startswith("tiny could not be downloaded: ") and says in message


def test_a_busy_hub_is_asked_again(entry: Entry, hub: Hub) -> None:
    hub.busy = ["config.json", "model.safetensors"]
    fetched("tiny")
    assert sorted(hub.asked) == ["config.json", "config.json", "model.safetensors", "model.safetensors"]


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (URLError(ssl.SSLCertVerificationError(1, "certificate verify failed")), "no safe connection to 127.0.0.1"),
        (URLError(socket.gaierror(-2, "Name or service not known")), r"127.0.0.1 does not answer (Name or service not"),
        (TimeoutError("timed out"), "127.0.0.1 does not answer (timed out); check the network"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk of "),
        (PermissionError(errno.EACCES, "Permission denied", "blob"), "could not be written to "),
        (URLError(PermissionError(errno.EACCES, "Permission denied")), "does not answer (Permission denied)"),
    ],
)
def test_every_failure_has_its_sentence(
    entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch, raised: Exception, says: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(transfer, "urlopen", fail)
    assert says in refused("tiny")


def test_a_hub_without_tls(entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own connection fails before any file is asked for."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url.replace("http:", "https:"))
    assert "no safe connection to 127.0.0.1 is possible (" in refused("tiny")


def test_without_a_network(entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert "127.0.0.1 does not answer (" in refused("tiny")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert "since HF_HUB_OFFLINE is set; unset it" in refused("tiny")


def test_two_fetches_at_once(entry: Entry, hub: Hub) -> None:
    blobs(entry).mkdir(parents=True)
    with FileLock(blobs(entry) / f"{DIGEST}.part.lock"):
        message = refused("tiny")
    assert f"{blobs(entry) / DIGEST} is being downloaded by another process; wait for it" in message
    fetched("tiny")
    assert list(blobs(entry).glob("*.lock")) == []


def test_a_file_that_changed_is_refused_before_it_is_downloaded(
    entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = Entry("tiny", 1, "MIT", [], ["model.safetensors"], {"model.safetensors": DIGEST},
                   repository="someone/tiny", revision=REVISION)  # fmt: skip
    monkeypatch.setattr(weights, "table", lambda: {"tiny": pinned})
    hub.files["model.safetensors"] = WEIGHTS[::-1]
    message = refused("tiny")
    assert f"instead of {DIGEST[:16]}… in weights.yaml), and results of the two do not compare; set tiny." in message
    assert hub.asked == []


def test_what_no_commit_pins_is_the_first_that_was_seen(
    entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository at main that changes is refused, also where the files of before are gone."""
    moving = Entry("tiny", 1, "MIT", [], ["*.safetensors", "config.json"], repository="someone/tiny", revision="main")
    monkeypatch.setattr(weights, "table", lambda: {"tiny": moving})
    fetched("tiny")
    record = blobs(moving).parent / "first_seen.json"
    assert json.loads(record.read_text()) == {name: etag(FILES[name]) for name in ("config.json", "model.safetensors")}
    for name, changed in (("model.safetensors", WEIGHTS[::-1]), ("config.json", b'{"other": 1}')):
        shutil.rmtree(blobs(moving).parent / "snapshots")
        hub.files, hub.commit = FILES | {name: changed}, NEWER
        message = refused("tiny")
        assert f"someone/tiny has changed {name} (" in message and f"removing the old from {record}" in message
        hub.files, hub.commit = dict(FILES), REVISION
        fetched("tiny")
    hub.files, hub.commit = FILES | {"config.json": b"[]"}, NEWER
    shutil.rmtree(blobs(moving).parent / "snapshots")
    record.unlink()
    fetched("tiny")
    assert (locate("tiny") / "config.json").read_bytes() == b"[]"


def test_one_that_fails_does_not_stop_the_next(
    entry: Entry, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Entry("gone", 1, "MIT", [], ["config.json"], repository="someone/gone", revision=REVISION)
    byhand = Entry("byhand", 1, "MIT", [], ["a.pth"], instructions="get a.pth from its authors")
    monkeypatch.setattr(weights, "table", lambda: {"gone": gone, "tiny": entry, "byhand": byhand})
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", "gone", "byhand", "tiny"])
    assert (locate("tiny") / "model.safetensors").is_file()
    first, second = capsys.readouterr().err.splitlines()  # a line for each
    assert first.startswith("error: gone could not be downloaded: it is not at ")
    assert second.startswith("error: byhand has no download link: get a.pth from its authors, and place them in ")
