"""Labels one after the other in a process, while another process is at some of their items."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_method import Fake
from filelock import FileLock
from omegaconf import DictConfig
from rich.console import Console

from data.benchmark import load_items
from harness.experiments import run_labels
from harness.folder import RunFolder
from stylegallery.contract import Item, Stylization

STRENGTH = {"first": 0.25, "broken": 0.5, "last": 0.75}  # by which the method knows its label


@pytest.fixture
def config(fake_config: Callable[..., DictConfig], out: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """Of an experiment with three runs; one cannot be done."""
    given = {label: fake_config(f"out={out}", f"method.strength={value}") for label, value in STRENGTH.items()}
    given["broken"].method.broken = ["all"]
    given["last"].experiment = {"runs": {}}
    monkeypatch.setattr("harness.experiments.runs", lambda _: iter(given.items()))
    return given["last"]


@pytest.fixture
def held(config: DictConfig, out: Path) -> Iterator[FileLock]:
    """The lock of the second item of the first label, as another process holds it; half a minute at most."""
    lock = FileLock(RunFolder(out).lock(f"first/{load_items(config.data)[1].id}"), thread_local=False)
    Path(lock.lock_file).parent.mkdir(parents=True)
    lock.acquire()
    timer = threading.Timer(30, lock.release)
    timer.start()
    yield lock
    timer.cancel()
    lock.release(force=True)


def test_nobody_waits_at_the_end_of_a_label_while_there_is_another(
    config: DictConfig, held: FileLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[tuple[float, str]] = []
    whole = Fake.stylize

    def stylize(self: Fake, item: Item, *rest: Any) -> Stylization:
        did.append((self.strength, item.id))
        if self.strength == STRENGTH["last"]:
            held.release()
        return whole(self, item, *rest)

    monkeypatch.setattr(Fake, "stylize", stylize)
    jobs, tally = run_labels(config, Console(quiet=True))
    first, second, *others = (item.id for item in jobs[0].items)
    expected = [(STRENGTH["first"], item) for item in (first, *others)] + [(STRENGTH["broken"], first)]
    expected += [(STRENGTH["last"], item) for item in (first, second, *others)] + [(STRENGTH["first"], second)]
    assert did == expected
    assert tally == {"done": 24, "there": 0, "failed": 0, "not run": 1}


def test_what_the_other_process_did_is_there(config: DictConfig, held: FileLock, out: Path) -> None:
    """A label that could not be run is not begun again for an item that was held."""
    broken = FileLock(RunFolder(out).lock(f"broken/{load_items(config.data)[0].id}"))
    Path(broken.lock_file).parent.mkdir(parents=True)
    with broken:
        held.release()
        _, tally = run_labels(config, Console(quiet=True))
    assert tally["done"] == 24 and tally["not run"] == 1
