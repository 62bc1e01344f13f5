"""Galleries: built bit by bit, by several, through kills; a run finds what a build made."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Pictures, paint
from hydra import compose, initialize_config_dir
from rich.console import Console

import run as script
from stylegallery import gallery as module
from stylegallery.errors import InputError
from stylegallery.gallery import entries_of
from stylegallery.gallery_table import Row, Table, tables

Command = Callable[..., tuple[int, str]]
STEPS = 2  # of inversion, in `small`

pytestmark = pytest.mark.slow  # each builds galleries with a model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, and what is none."""
    place = tmp_path / "paintings"
    place.mkdir()
    for number in range(3):
        paint(place / f"{number}.png", number)
    (place / "notes.txt").write_text("mine")
    (place / ".hidden.png").write_text("no picture")
    (place / "more").mkdir()
    paint(place / "more" / "deeper.png", 9)
    return place


@pytest.fixture
def settings(small: tuple[str, ...]) -> list[str]:
    return [setting for setting in small if setting != "store=null"]


@pytest.fixture
def command(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """`python -m stylegallery.gallery` with the small model and a store of its own: exit code and output."""
    monkeypatch.setenv("COLUMNS", "10000")  # no line of a table is wrapped, wherever the tests run

    def call(name: str, folder: Path, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            module.main([name, str(folder), *settings, *more, "--store", str(tmp_path / "store")])
        return int(left.value.code or 0), "".join(capsys.readouterr())

    return call


def entries(store: Path) -> set[str]:
    return {path.stem for path in (store / "analyses").glob("*.safetensors")}


def table_of(store: Path) -> Table:
    (found,) = tables(store / "galleries")
    return found


def test_a_run_after_a_build_inverts_nothing_but_the_content(
    command: Command, folder: Path, settings: list[str], pictures: Pictures, tmp_path: Path, passes: list[int],
    blank_figures: None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Sub-folders, hidden files and what is no picture are left alone by both. Descriptors are read together."""
    code, says = command("build", folder)
    assert code == 0 and "3 analysed now, 0 before, 0 left out, 0 gone" in says
    assert len(passes) == 3 * STEPS
    places = [f"content={pictures.content}", f"references={folder}", f"store.folder={tmp_path / 'store'}"]
    monkeypatch.setattr("stylegallery.analysis.read", pytest.fail)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[*settings, *places, f"out={tmp_path / 'out'}"])
    assert script.run(config, Console(file=io.StringIO()))
    assert len(passes) == 4 * STEPS
    assert (tmp_path / "out" / "regions_reference_3.png").is_file()


def test_a_build_adds_what_is_new_and_forgets_what_is_gone(
    command: Command, folder: Path, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    command("build", folder)
    first = table_of(store).rows
    assert first.keys() == {"0.png", "1.png", "2.png"}
    assert entries(store) == entries_of([table_of(store)]) > {row.key for row in first.values()}
    assert all(row.regions >= 1 and row.size == (folder / name).stat().st_size for name, row in first.items())

    with monkeypatch.context() as patch:
        patch.setattr(module, "file_digest", pytest.fail)  # nothing is read a second time
        code, says = command("build", folder)
    assert code == 0 and "0 analysed now, 3 before, 0 left out, 0 gone" in says

    (folder / "0.png").unlink()
    paint(folder / "1.png", 11)
    paint(folder / "new.jpg", 12)
    _, says = command("info", folder)
    assert says.split("these settings")[1].split()[0] == "3" and says.split()[-3:] == ["1", "1", "1"]
    del passes[:]
    code, says = command("build", folder)
    assert code == 0 and "2 analysed now, 1 before, 0 left out, 1 gone" in says
    assert len(passes) == 2 * STEPS
    rows = table_of(store).rows
    assert rows.keys() == {"1.png", "2.png", "new.jpg"}
    assert rows["2.png"] == first["2.png"] and rows["1.png"] != first["1.png"]
    assert list(rows) == sorted(rows)  # as a run reads them
    assert entries(store) == entries_of([table_of(store)]) > {row.key for row in rows.values()}
    _, says = command("info", folder)
    assert says.split()[-3:] == ["0", "0", "0"]


def test_a_file_of_another_size_or_time_is_another_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"12")
    os.utime(path, ns=(0, 5))
    alike = {seen for seen in ((2, 5), (3, 5), (2, 6)) if Row(*seen, "", "", 1).is_of(path)}
    assert alike == {(2, 5)}


def test_what_cannot_be_read_is_named_and_left_out(command: Command, folder: Path, tmp_path: Path) -> None:
    """Whether pictures are inverted one by one or together."""
    (folder / "1a.png").write_text("no picture")
    for more in ([], ["method.segmentation.inversion_batch=4"]):
        code, says = command("build", folder, *more)
        assert code == 1 and "left out: " in says and "1a.png is not a picture of PNG" in says
        assert "3 analysed now, 0 before, 1 left out, 0 gone" in says
        assert "needs those mended or moved that were left out" in says  # or else: "is not a picture of PNG"
    assert [table.rows.keys() for table in tables(tmp_path / "store" / "galleries")] == [
        {"0.png", "1.png", "2.png"}
    ] * 2


@pytest.mark.parametrize(
    ("name", "place", "says"),
    [
        ("build", "empty", "empty holds no picture"),
        ("build", "missing", "missing is no folder; pass one of pictures"),
        ("build", "paintings/0.png", "0.png is no folder; pass one of pictures"),
        ("build", "loop", "/loop "),  # Python before 3.13 resolves no such link
        ("build", 300 * "x", "cannot be read (File name too long)"),
        ("info", "paintings", "store holds nothing of {}; fill it with: python -m stylegallery.gallery build {}"),
        ("remove", "paintings", "store holds nothing of"),
    ],
)
def test_what_is_not_there_is_said(
    command: Command, folder: Path, tmp_path: Path, name: str, place: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    code, said = command(name, tmp_path / place)
    assert code == 2 and said.startswith("error: ") and says.format(folder, folder) in said


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("seed=one", "seed is one; pass a whole number from 0, below 2^63"),
        (f"seed={2**63}", "pass a whole number from 0, below 2^63"),  # runs take none above
        ("pins={1:[1,1]}", "pins= has no effect here"),
        ("store=null", "store=null keeps nothing; leave it out"),
    ],
)
def test_settings_that_cannot_be(command: Command, folder: Path, setting: str, says: str) -> None:
    code, said = command("build", folder, setting)
    assert code == 2 and says in said


def test_links_that_lead_nowhere_are_left_out(command: Command, folder: Path) -> None:
    """One at first, one of a picture that was analysed before, and one that leads to itself."""
    (folder / "1a.png").symlink_to(folder.parent / "nowhere.png")
    (folder / "1b.png").symlink_to("1b.png")
    shutil.move(folder / "2.png", folder.parent / "2.png")
    (folder / "2.png").symlink_to(folder.parent / "2.png")
    code, says = command("build", folder)
    assert code == 1 and "3 analysed now, 0 before, 2 left out, 0 gone" in says
    assert "1a.png cannot be read (No such file or directory)" in says
    (folder.parent / "2.png").unlink()
    _, says = command("info", folder)
    assert says.split()[-3:] == ["2", "1", "0"]
    code, says = command("build", folder)
    assert code == 1 and "0 analysed now, 2 before, 3 left out, 0 gone" in says


def test_a_name_that_is_no_text_is_said(command: Command, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = folder.parent / os.fsdecode(b"\xff\n")
    folder.rename(odd)
    for name in ("build", "info", "remove"):
        code, says = command(name, odd)
        assert code == 0 and "\\udcff\\n: 3 " in says
    assert "\\udcff\\n: taken as pictures 3" in caplog.messages[0] and caplog.messages[0].isprintable()


def test_a_store_that_may_only_be_read(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command("build", folder)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    code, says = command("remove", folder)
    assert code == 2 and "cannot be written (Read-only file system); make room or pass another --store" in says


def test_a_store_in_the_home_of_nobody(folder: Path) -> None:
    with pytest.raises(InputError, match="begins with a user who has no home; pass the whole path"):
        module.gallery(folder, [], "~of-nobody/store")


def test_a_method_that_analyses_nothing_has_no_galleries(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="analyses no pictures; pass method=stylegallery or a variant of it"):
        module.gallery(folder, ["method=styleid"], str(tmp_path / "store"))


def test_a_store_that_cannot_be_written_is_said_before_anything_is_computed(
    command: Command, folder: Path, tmp_path: Path, passes: list[int]
) -> None:
    (tmp_path / "store").write_text("a file")
    code, says = command("build", folder)
    assert code == 2 and "cannot be written" in says and "pass another --store" in says
    assert passes == []


def test_a_store_that_is_too_small_ends_a_build(command: Command, folder: Path) -> None:
    code, says = command("build", folder, "store.limit=0.000001")
    assert code == 2 and "did not keep what was found of" in says and "store.limit=" in says


def test_entries_that_made_room_are_missed_and_made_again(command: Command, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command("build", folder)
    gone = store / "analyses" / f"{table_of(store).rows['1.png'].key}.safetensors"
    size = gone.stat().st_size
    gone.unlink()
    _, says = command("info", folder)
    assert says.split()[-3:] == ["1", "0", "0"]
    code, says = command("build", folder, "store.limit=1")  # not one of the settings that make other galleries
    assert code == 0 and "1 analysed now, 2 before, 0 left out, 0 gone" in says
    assert gone.is_file()
    shutil.rmtree(store)
    code, says = command("build", folder, f"store.limit={2 * 2.6 * size / 2**30}")  # two fit into half of it
    assert (
        code == 1 and "made room for others or were removed meanwhile; build again, with a larger store.limit=" in says
    )


def test_without_its_table_a_gallery_is_found_by_its_entries(
    command: Command, folder: Path, tmp_path: Path, passes: list[int]
) -> None:
    """As after a kill before the table was written, or where it was damaged."""
    command("build", folder)
    rows, path = table_of(tmp_path / "store").rows, table_of(tmp_path / "store").path
    for damage in (path.unlink, lambda: path.write_bytes(path.read_bytes()[:-9]), lambda: path.write_bytes(b"")):
        damage()
        del passes[:]
        code, _ = command("build", folder)
        assert code == 0 and passes == []
        assert table_of(tmp_path / "store").rows == rows


def test_other_seeds_and_settings_have_tables_of_their_own_and_outdated_ones_go(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    command("build", folder)
    command("build", folder, "seed=3")
    assert len(entries(store)) == 2 * (3 + 1)
    _, says = command("info", folder, "seed=3")
    assert says.count("these settings") == says.count("other settings") == 1
    (mine,) = (table for table in tables(store / "galleries") if "seed=0" in table.settings)
    shutil.copy(mine.path, store / "galleries" / "copy.parquet")
    old = Table.of(store / "galleries", folder, mine.settings, "of an earlier version", "then")
    other = Table.of(store / "galleries", folder, mine.settings, mine.recipe, "on another machine")
    for table in (old, other):
        table.rows = {"0.png": mine.rows["0.png"]}
        table.write()
    (store / "galleries" / "copy.parquet").unlink()
    _, says = command("info", folder)
    assert says.count("outdated") == says.count("other machine") == 1
    command("build", folder)
    assert {table.identity for table in tables(store / "galleries")} == {mine.identity, other.identity}
    assert len(entries(store)) == 2 * (3 + 1)


def test_what_is_removed_is_that_of_one_gallery(command: Command, folder: Path, tmp_path: Path) -> None:
    """A picture in two galleries stays for the other."""
    store, other = tmp_path / "store", tmp_path / "others"
    other.mkdir()
    shutil.copy(folder / "1.png", other / "same.png")
    command("build", folder)
    command("build", other)
    assert len(entries(store)) == 3 + 2  # pictures, and the descriptors of each gallery together
    for table in tables(store / "galleries"):
        (store / "galleries" / f".{table.path.stem}-killed.tmp").write_text("half a table")
    code, says = command("remove", folder)
    assert code == 0 and "3 analyses removed" in says
    assert entries(store) == entries_of([table_of(store)]) and len(entries(store)) == 1 + 1
    assert command("remove", folder)[0] == 2
    shutil.rmtree(other)
    assert command("remove", other)[0] == 0
    assert not entries(store) and not list((store / "galleries").iterdir())


@pytest.mark.slow
def test_two_builds_at_once_and_a_kill_in_the_middle(
    command: Command, folder: Path, settings: list[str], tmp_path: Path, passes: list[int], environment: dict[str, str]
) -> None:
    for number in range(3, 12):
        paint(folder / f"{number}.png", number)
    store, log = tmp_path / "store", tmp_path / "log"
    given = [sys.executable, "-m", "stylegallery.gallery", "build", str(folder), *settings, "--store", str(store)]
    with log.open("wb") as output:
        builds = [subprocess.Popen(given, cwd=ROOT, env=environment, stdout=output, stderr=output) for _ in range(2)]
    while not entries(store) and all(build.poll() is None for build in builds):
        time.sleep(0.01)
    os.kill(builds[0].pid, signal.SIGKILL)
    assert builds[0].wait() == -signal.SIGKILL
    assert builds[1].wait() == 0, log.read_text()
    rows = table_of(store).rows
    assert rows.keys() == {f"{number}.png" for number in range(12)}
    assert entries(store) == entries_of([table_of(store)]) > {row.key for row in rows.values()}
    code, says = command("build", folder)
    assert code == 0 and passes == [] and "12 before" in says
