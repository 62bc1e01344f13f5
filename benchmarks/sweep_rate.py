"""Items an hour of a sweep in another commit and in this one: the same command line in both trees, in turns.

    git worktree add --detach BEFORE 6907bec
    export STYLEGALLERY_DATA=FOLDER    # of the benchmark: where it is fetched to is in a cache that neither side sees
    python -m benchmarks.sweep_rate BEFORE experiment=table1 limit=20 resolution=192 'only=[stylegallery,styleid,gatys]'

A side is as many processes of one thread as there are cores, each with a shard of every method; it begins with no
results and no kept analyses. `busy` is the processors' seconds by those that the cores had meanwhile: what is missing
to 100 % was waiting, or other work on the machine. Seconds of a method are the mean of its items, loading apart.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Sweep(NamedTuple):
    """What a side took: wall-clock and processor seconds, and those of every item by label."""

    wall: float
    processor: float
    items: dict[str, list[float]]

    def row(self, name: str) -> str:
        done = sum(map(len, self.items.values()))
        busy = self.processor / (self.wall * (os.cpu_count() or 1))
        return f"| {name} | {done} | {self.wall:.0f} | {3600 * done / self.wall:.0f} | {busy:.0%} |"


def sweep(tree: Path, overrides: list[str]) -> Sweep:
    """Run a sweep in a tree. Items that fail, such as those of methods without weights, do not count."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        out, cache = Path(folder, "out"), Path(folder, "cache")
        environment = {name: value for name, value in os.environ.items() if name != "STYLEGALLERY_STORE"}
        environment |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        processes = [
            subprocess.Popen(
                [sys.executable, "run.py", *overrides, f"out={out}", f"shard={shard}/{cores}"],
                cwd=tree, env=environment, stdout=subprocess.DEVNULL,
            )
            for shard in range(cores)
        ]  # fmt: skip
        for process in processes:
            process.wait()
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        items = defaultdict(list)
        for path in out.glob("cells/*/*/record.json"):
            record = json.loads(path.read_text())
            if "error" not in record:
                items[path.parts[-3]].append(sum(record["seconds"].values()))
    if not items:
        raise SystemExit(f"no item was done in {tree}; see there: python run.py {shlex.join(overrides)} out=FOLDER")
    return Sweep(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, dict(items))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of another commit")
    parser.add_argument("overrides", nargs="+", help="what run.py gets: experiment=table1 limit=20 resolution=192 ...")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    print("| | items | s | items an hour | busy |\n|---|---|---|---|---|")
    sides: dict[str, list[Sweep]] = {"before": [], "after": []}
    for _ in range(options.repeats):
        for name, tree in (("before", options.before.resolve()), ("after", ROOT)):
            sides[name].append(sweep(tree, options.overrides))
            print(sides[name][-1].row(name), flush=True)
    print("\n| seconds of an item | before | after |\n|---|---|---|")
    for label in sides["after"][0].items:
        taken = [[second for found in runs for second in found.items.get(label, [])] for runs in sides.values()]
        print(f"| {label} | " + " | ".join(f"{mean(some):.2f}" if some else "–" for some in taken) + " |")


if __name__ == "__main__":
    main()
