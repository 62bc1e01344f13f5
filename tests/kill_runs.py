"""Kill processes at work on items with SIGKILL, again and again, and check what is left.

    python tests/kill_runs.py --kills 60        prints figures

Two processes do the same items; after a random time one of them is killed and replaced by a new one. When all items
are there, what they left is compared with what one undisturbed process wrote, and a new round begins.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console
from running import images, job_of

from harness.record import read_record
from harness.runs import run_items
from stylegallery.files import PARTIAL

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["harness.runs", "fake_method"])


def work(out: Path, label: str, gallery: Path, method: dict[str, object]) -> None:
    """One process over all items; exits 1 where items failed."""
    from fake_method import Fake

    job = job_of(out, label, gallery, method)
    settings = {"strength": 0.5, "seconds": 0.0, "broken": [], "log": None} | method
    tally = run_items(job, lambda: Fake(**settings), Console(quiet=True))
    sys.exit(1 if tally["failed"] else 0)


def start(*arguments: object) -> BaseProcess:
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def items_of(out: Path, label: str, pid: int | None) -> list[Path]:
    """The cells that a process had or has, by what it wrote in their locks."""
    locks = (out / ".locks" / label).glob("*.lock")
    return [out / "cells" / label / path.stem for path in locks if path.read_text().split()[-1:] == [str(pid)]]


def under_way(out: Path, label: str, pid: int | None) -> bool:
    """Whether a process is in a cell that has no record yet."""
    return any(read_record(cell) is None for cell in items_of(out, label, pid))


def survive(out: Path, gallery: Path, kills: int, seed: int = 0) -> Counter[str]:
    """Kill that many times; counts of what the kills met. AssertionError where anything is lost or wrong."""
    rng, seen = random.Random(seed), Counter(kills=0, rounds=0)
    work_alone = start(out, "alone", gallery, {})
    work_alone.join()
    expected = images(out, "alone")
    assert len(expected) == len(job_of(out, "alone", gallery, {}).items)
    while seen["kills"] < kills:
        label = f"round{seen['rounds']}"
        workers = [start(out, label, gallery, {}), start(out, label, gallery, {})]
        while seen["kills"] < kills and all(worker.is_alive() for worker in workers):
            victim = workers[rng.randrange(2)]
            # Every other kill waits for a cell under way: on a busy machine a process may take long to get there.
            waiting = seen["kills"] % 2 == 1
            while waiting and victim.is_alive() and not under_way(out, label, victim.pid):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.01 if waiting else 0.25))
            if not victim.is_alive():
                break
            assert victim.pid
            try:  # stopped first: the other one would take over what it leaves before it is counted
                os.kill(victim.pid, signal.SIGSTOP)
                met = under_way(out, label, victim.pid)
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has just ended
                break
            seen["met a cell under way"] += met
            victim.join()
            seen["kills"] += 1
            seen["left a cell half written"] += bool(list((out / "cells" / label).glob(f"*/{PARTIAL}*")))
            left = images(out, label)
            assert left.items() <= expected.items(), "a record of a killed process is wrong"
            workers[workers.index(victim)] = start(out, label, gallery, {})
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        assert images(out, label) == expected, "items are lost or wrong"
        assert not list((out / "cells" / label).glob(f"*/{PARTIAL}*")), "half written cells are left"
        seen["rounds"] += 1
        seen["cells compared"] += len(expected)
    return seen


if __name__ == "__main__":
    from conftest import paint_gallery

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = paint_gallery(Path(folder) / "gallery", contents=8)
        print(dict(survive(Path(folder) / "out", Path(folder) / "gallery", options.kills, options.seed)))
