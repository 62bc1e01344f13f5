"""The table of weights, the lookup, and downloads from a server on this machine."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub.constants
import pytest
from conftest import ROOT, Pictures, RunInside, fetched, refused
from omegaconf import DictConfig

from stylegallery import transfer, weights
from stylegallery.errors import InputError
from stylegallery.weights import Entry, download, find, locate, locate_file, table
from stylegallery.weights.__main__ import main

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
REVISION = "0123456789abcdef0123456789abcdef01234567"


# --- a server, and a table of our own ---


@dataclass
class Server:
    """What a local server sends for weights.pth, and the Range headers it was sent."""

    url: str = ""
    body: bytes = CONTENT
    sent: int | None = None  # bytes after which it breaks off
    status: list[int] = field(default_factory=list)  # its next answers, where they are refusals
    kind: str = "application/octet-stream"
    knows_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status:
                self.send_error(state.status.pop(0))
                return
            offset = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state.knows_ranges else 0
            if offset >= len(state.body):
                self.send_error(416)
                return
            rest = state.body[offset:]
            self.send_response(206 if offset else 200)
            self.send_header("Content-Type", state.kind)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.sent])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}/weights.pth"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


class Places(NamedTuple):
    checkpoints: Path
    hub: Path
    placed: Path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Empty caches of our own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("STYLEGALLERY_WEIGHTS", str(tmp_path / "placed"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(transfer, "WAITS", (0, 0))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch" / "hub"))
    return Places(tmp_path / "torch" / "hub" / "checkpoints", tmp_path / "hub", tmp_path / "placed")


@pytest.fixture
def entry(server: Server, places: Places, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A table of one entry that the server has."""
    made = Entry("tiny", 1, "MIT", ["nothing"], ["weights.pth"], {"weights.pth": DIGEST}, url=server.url)
    monkeypatch.setattr(weights, "table", lambda: {"tiny": made})
    return made


def snapshot(places: Places, repository: str, revision: str, *files: str) -> Path:
    """Files in the hub's cache as its client lays them down."""
    folder = places.hub / ("models--" + repository.replace("/", "--")) / "snapshots" / revision
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"weights")
    return folder


# --- the table ---


def test_every_row_says_where_from_how_large_under_which_licence_and_for_what() -> None:
    for name, row in table().items():
        assert sum(value is not None for value in (row.repository, row.url, row.instructions)) == 1, name
        assert row.megabytes > 0 and row.licence and row.needed_by and row.files, name
        assert set(row.sha256) <= set(row.files), name
        assert all(re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", digest) for digest in row.sha256.values()), name
        assert row.url is None or (row.url.startswith("https://") and row.sha256), name
        if row.repository:
            assert re.fullmatch(r"[0-9a-f]{40}|main", str(row.revision)), name
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repository), name


def test_digests_are_those_of_the_weights_that_will_be_loaded() -> None:
    """Of every entry for which a public source states them, all of its weights have one; licences are the cards'."""
    weights_of = {name: [f for f in row.files if Path(f).suffix in {".safetensors", ".pth", ".bin"}]
                  for name, row in table().items()}  # fmt: skip
    whole = {name for name, row in table().items() if row.sha256 and set(row.sha256) == set(weights_of[name])}
    assert {name for name, row in table().items() if row.sha256} == whole | {"styleshot_lineart"}
    assert {"sd15", "sdxl", "clip_encoder", "hed", "lineart", "ip_adapter_sd15", "ip_adapter_sdxl",
            "controlnet_canny_sdxl", "lcm_lora_sd15", "csd", "art_inception"} <= whole  # fmt: skip
    assert (table()["csd"].licence, table()["clip_vit_b32"].licence) == ("CC-BY-4.0", "Apache-2.0")


def test_the_table_names_what_the_issue_lists() -> None:
    listed = {"sd15", "sd14", "sd21_base", "sdxl", "lcm_lora_sd15", "hyper_sd15", "dinov2_base", "stytr2", "styleshot",
              "depth_anything_v2_small", "sam_vit_huge", "lpips_alex", "vgg19", "inception", "art_inception", "csd",
              "clip_vit_b32", "dino_vitb8", "ip_adapter_sd15", "controlnet_canny"}  # fmt: skip
    assert listed <= table().keys()
    aliases = [row.alias for row in table().values() if row.alias]
    assert len(set(aliases)) == len(aliases) and not set(aliases) & table().keys()


@pytest.mark.parametrize(
    ("asked", "name"),
    [("sd15", "sd15"), ("dinov2", "dinov2_base"), ("facebook/dinov2-large", "dinov2_large"), ("lpips", "lpips_alex")],
)
def test_an_entry_has_a_name_perhaps_an_alias_and_a_repository(asked: str, name: str) -> None:
    found = find(asked)
    assert found is not None and found.name == name


def test_torchvision_looks_for_the_names_we_write() -> None:
    from torchvision.models import AlexNet_Weights, VGG16_Weights, VGG19_Weights

    for name, published in (("lpips_alex", AlexNet_Weights), ("lpips_vgg", VGG16_Weights), ("vgg19", VGG19_Weights)):
        row = table()[name]
        assert row.url == published.IMAGENET1K_V1.url
        assert row.megabytes == pytest.approx(published.IMAGENET1K_V1.meta["_file_size"] * 1.048576, abs=1)


# --- lookup ---


def test_locate_takes_a_folder_as_it_is_and_knows_the_embedded_model(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path
    assert (locate("embedded") / "model_index.json").is_file()


@pytest.mark.parametrize("asked", ["dinov2", "dinov2_base", "facebook/dinov2-base"])
def test_locate_wants_the_pinned_revision_and_every_file(places: Places, asked: str) -> None:
    row = table()["dinov2_base"]
    command = "download it with: python -m stylegallery.weights fetch dinov2_base"
    assert row.repository and row.revision
    snapshot(places, row.repository, REVISION, *row.files)
    with pytest.raises(InputError, match=re.escape(f"{asked} is not or not wholly on this machine; {command}")):
        locate(asked)
    snapshot(places, row.repository, row.revision, *row.files[:2])
    with pytest.raises(InputError, match=re.escape(command)):
        locate(asked)
    folder = snapshot(places, row.repository, row.revision, *row.files)
    assert locate(asked) == folder


def test_two_entries_of_one_repository_are_there_or_not_each_on_its_own(places: Places) -> None:
    contour, lineart = table()["hed"], table()["lineart"]
    assert contour.repository == lineart.repository and contour.repository and contour.revision
    folder = snapshot(places, contour.repository, contour.revision, *contour.files)
    assert locate("hed") == folder
    assert locate_file("hed") == folder / "ControlNetHED.pth"
    assert lineart.folder() is None


def test_a_repository_outside_the_table_may_lie_in_the_cache(places: Places) -> None:
    with pytest.raises(InputError, match=r"someone/model is neither .* download it with: hf download someone/model"):
        locate("someone/model")
    folder = snapshot(places, "someone/model", REVISION, "config.json")
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text(REVISION)
    assert locate("someone/model") == folder


def test_a_single_file_lies_where_torch_looks(places: Places) -> None:
    with pytest.raises(InputError, match=r"download it with: python -m stylegallery\.weights fetch vgg19$"):
        locate_file("vgg19")
    places.checkpoints.mkdir(parents=True)
    (places.checkpoints / "vgg19-dcbb9e9d.pth").touch()
    assert locate_file("vgg19") == places.checkpoints / "vgg19-dcbb9e9d.pth"


def test_locate_file_takes_a_file_as_it_is_and_no_folder_entry(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    assert locate_file(str(tmp_path / "mine.pth")) == tmp_path / "mine.pth"
    for name in ("sd15", "no such thing"):
        with pytest.raises(InputError, match=f"{name} is neither a file nor an entry of weights.yaml with a single"):
            locate_file(name)


def test_a_path_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    for find_it in (locate, locate_file):
        with pytest.raises(InputError, match=r"^/secret/model cannot be read \(Permission denied\); check the path"):
            find_it("/secret/model")


def test_files_that_only_the_user_can_get(places: Places) -> None:
    assert "has no download link: get transformer_iter_160000.pth" in refused("stytr2")
    assert str(places.placed / "stytr2") in refused("stytr2")
    (places.placed / "stytr2").mkdir(parents=True)
    for file in table()["stytr2"].files:
        with pytest.raises(InputError, match="fetch stytr2"):
            locate("stytr2")
        (places.placed / "stytr2" / file).write_bytes(b"PK\x03\x04")
    assert locate("stytr2") == places.placed / "stytr2"
    (places.placed / "stytr2" / "decoder_iter_160000.pth").write_text("<!DOCTYPE html><title>Google Drive")
    with pytest.raises(InputError, match=r"decoder_iter_160000\.pth is a web page, not weights; download it again"):
        locate("stytr2")


# --- downloads of single files ---


def test_a_whole_download_and_a_second_one_that_asks_for_nothing(entry: Entry, server: Server, places: Places) -> None:
    assert str(places.checkpoints) in fetched("tiny")
    assert locate_file("tiny").read_bytes() == CONTENT
    assert [path.name for path in places.checkpoints.iterdir()] == ["weights.pth"]
    fetched("tiny", "tiny")
    assert server.ranges == [None]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_only_the_missing_bytes_are_asked_for(entry: Entry, server: Server, places: Places, knows_ranges: bool) -> None:
    server.knows_ranges = knows_ranges
    places.checkpoints.mkdir(parents=True)
    (places.checkpoints / "weights.pth.part").write_bytes(CONTENT[:300_000])
    fetched("tiny")
    assert server.ranges == ["bytes=300000-"]
    assert locate_file("tiny").read_bytes() == CONTENT


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(entry: Entry, server: Server, places: Places) -> None:
    """In the same call as long as anything comes, and in the next one."""
    server.sent = 400_000
    fetched("tiny")
    assert server.ranges == [None, "bytes=400000-", "bytes=800000-"]
    assert locate_file("tiny").read_bytes() == CONTENT
    locate_file("tiny").unlink()
    (places.checkpoints / "weights.pth.part").write_bytes(CONTENT[:123_456])
    server.sent, server.ranges = 0, []
    assert "tiny is not whole: the transfer broke off after 123456 of 1048576 bytes" in refused("tiny")
    assert server.ranges == ["bytes=123456-"] * 3
    assert entry.folder() is None
    server.sent, server.ranges = None, []
    fetched("tiny")
    assert server.ranges == ["bytes=123456-"]
    assert locate_file("tiny").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(entry: Entry, server: Server, places: Places) -> None:
    server.status = [503, 503]
    fetched("tiny")
    assert len(server.ranges) == 3
    locate_file("tiny").unlink()
    server.status = [503] * 3
    assert "tiny could not be downloaded: 127.0.0.1 is out of order (503); try again later" in refused("tiny")
    server.status, server.ranges = [404], []
    assert f"it is not at {server.url} (404)" in refused("tiny")
    assert len(server.ranges) == 1


def test_a_part_that_is_already_the_whole_is_only_checked(entry: Entry, server: Server, places: Places) -> None:
    places.checkpoints.mkdir(parents=True)
    (places.checkpoints / "weights.pth.part").write_bytes(CONTENT)
    fetched("tiny")
    assert locate_file("tiny").read_bytes() == CONTENT


def test_a_wrong_digest_leaves_nothing(entry: Entry, server: Server, places: Places) -> None:
    server.body = CONTENT[::-1]
    message = refused("tiny")
    assert f"instead of {DIGEST[:16]}… and was removed" in message
    assert not (places.checkpoints / "weights.pth.part").exists()
    server.body = CONTENT
    fetched("tiny")
    assert locate_file("tiny").is_file()


def test_a_web_page_is_not_weights(entry: Entry, server: Server, places: Places) -> None:
    server.kind, server.body = "text/html; charset=utf-8", b"<!DOCTYPE html><title>Virus scan warning</title>"
    assert refused("tiny") == f"{server.url} answered with a web page, not with the file; try again later"
    assert entry.folder() is None


def test_nobody_answers(entry: Entry, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/weights.pth"
    gone = Entry("gone", 1, "MIT", ["nothing"], ["weights.pth"], url=url)
    monkeypatch.setattr(weights, "table", lambda: {"gone": gone})
    assert re.search(r"gone could not be downloaded, .*refused.*check the network", refused("gone"))


def test_a_full_disk_is_noticed_before_anything_is_asked_for(
    entry: Entry, server: Server, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(places.hub.parent)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=1_099_999))
    assert "needs 0.0 GB for tiny and has 0.0 GB; free space there or set" in refused("tiny")
    assert server.ranges == []
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=1_100_001))
    fetched("tiny")


def test_the_space_of_all_entries_together_counts(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(places.hub.parent)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=6 * 10**9))
    message = refused("sd15", "dinov2", "facebook/sam-vit-huge")
    assert message.startswith(f"{places.hub} needs 7.9 GB for sd15, dinov2_base, sam_vit_huge and has 6.0 GB")


def test_what_is_here_already_needs_no_space(
    entry: Entry, server: Server, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.checkpoints.mkdir(parents=True)
    (places.checkpoints / "weights.pth.part").write_bytes(CONTENT[:600_000])
    usage = shutil.disk_usage(places.hub.parent)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=439_999))
    assert "free space there" in refused("tiny")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=440_001))
    fetched("tiny")

    large = Entry("large", 2, "MIT", ["nothing"], ["unet/*", "a.bin", "b.bin"], repository="so/me", revision=REVISION)
    monkeypatch.setattr(weights, "table", lambda: {"large": large})
    (snapshot(places, "so/me", REVISION, "a.bin") / "a.bin").write_bytes(bytes(1_500_000))
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=549_999))
    assert "free space there" in refused("large")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=550_001))
    monkeypatch.setattr(download, "download_repository", lambda *_: None)
    assert "lacks some of unet/*, a.bin, b.bin" in refused("large")


def test_a_folder_that_cannot_be_written(entry: Entry, server: Server, places: Places) -> None:
    places.checkpoints.parent.parent.mkdir()
    places.checkpoints.parent.write_text("a file where the folder should be")
    assert re.search(
        r"tiny could not be written to .*checkpoints \(.+\); change its permissions or set", refused("tiny")
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(entry: Entry, server: Server, places: Places) -> None:
    places.checkpoints.mkdir(parents=True, mode=0o500)
    assert "Permission denied" in refused("tiny")


def test_a_read_only_disk(entry: Entry, server: Server, places: Places, tmp_path: Path, mounted: Any) -> None:
    places.checkpoints.parent.mkdir(parents=True)
    mounted(str(places.checkpoints.relative_to(tmp_path)), "ro,size=8m")  # room enough: the write alone is refused
    assert re.search(
        r"tiny could not be written to .*checkpoints \(Read-only file system\); change its permissions or set",
        refused("tiny"),
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dinov3", "did you mean dinov2?"),
        ("sd_15", "did you mean sd15?"),
        ("qqq", "see: python -m stylegallery.weights"),
    ],
)
def test_an_unknown_name(places: Places, name: str, hint: str) -> None:
    assert refused(name).startswith(f"{name} is not in weights.yaml; {hint}")


def test_files_that_are_here_are_checked_too(places: Places) -> None:
    """A call that is killed while it checks leaves all files in place."""
    row = table()["lcm_lora_sd15"]
    assert row.repository and row.revision
    folder = snapshot(places, row.repository, row.revision, *row.files)
    assert "pytorch_lora_weights.safetensors of lcm_lora_sd15 has sha256" in refused("lcm_lora_sd15")
    assert not list(folder.iterdir())


# --- runs never use the network ---


def test_a_run_without_its_model_names_the_command_and_opens_no_connection(
    places: Places, pictures: Pictures, run_inside: RunInside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a run used the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    arguments = (*pictures.overrides(), f"out={tmp_path / 'out'}")
    hub_id = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    with pytest.raises(InputError, match=r"python -m stylegallery\.weights fetch sd15$"):
        run_inside(*arguments, f"model.path={hub_id}")
    with pytest.raises(InputError, match=r"python -m stylegallery\.weights fetch dinov2_base$"):
        run_inside(*arguments, "encoder=dinov2")


def test_the_model_of_the_table_is_found_by_a_config(
    places: Places, tiny_model: Path, composed: Callable[..., DictConfig]
) -> None:
    """The patterns of the table fit what `save_pretrained` writes."""
    row = table()["sd15"]
    assert row.repository and row.revision
    folder = places.hub / ("models--" + row.repository.replace("/", "--")) / "snapshots" / row.revision
    shutil.copytree(tiny_model, folder)
    path = composed("model.path=stable-diffusion-v1-5/stable-diffusion-v1-5").model.path
    assert locate(path) == locate("sd15") == folder


# --- the command ---


def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stylegallery.weights", *arguments]
    environment = os.environ | {"COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_command_fails_with_one_sentence_and_code_2() -> None:
    result = call("fetch", "sd51")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: sd51 is not in weights.yaml; did you mean sd15?\n"


def test_status_shows_what_is_here_and_what_is_off(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = table()["csd"]
    assert row.repository and row.revision
    snapshot(places, row.repository, row.revision, *row.files)
    main(["status"])
    lines = capsys.readouterr().out.splitlines()
    shown = {cells[0]: cells[1:] for line in lines if len(cells := re.split(r" {2,}", line.strip())) == 5}
    assert shown.keys() == {"name", *table()}
    assert shown["csd"] == ["yes", "2439", "CC-BY-4.0", "csd, regional_style_csd, regional_margin_csd"]
    assert shown["dinov2_base"] == ["no", "347", "Apache-2.0", "encoder=dinov2"]


def test_the_command_downloads(entry: Entry, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fetch", "tiny"])
    assert "tiny: 1 MB, licence MIT" in capsys.readouterr().out
    assert locate_file("tiny").is_file()
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", "tiny", "no such thing"])


def test_what_needs_an_entry_is_there_under_that_name() -> None:
    """Metrics of conf/metric, or overrides whose choice is a file of the group; prose for what needs settings."""
    conf = Path(__file__).parents[2] / "conf"
    metrics = {path.stem for path in (conf / "metric").glob("*.yaml")}
    for name, row in table().items():
        for need in row.needed_by:
            if override := re.fullmatch(r"(\w+)(?:@[\w.]+)?=(\w+)(?: .*)?", need):
                assert (conf / override[1] / f"{override[2]}.yaml").is_file(), (name, need)
            else:
                assert need in metrics or " " in need, (name, need)
