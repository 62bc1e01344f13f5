"""Seconds until every command that loads no model has answered: python -m benchmarks.startup [--repeats 3]

Commands are found in the sources. Each runs in fresh processes; the median and the range of their seconds are printed,
and the modules of other projects that took longest to import, as `python -X importtime` tells them. The commands that
read a run folder get one with two methods that only copy, on six items.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
PACKAGES = ("stylegallery", "harness", "evaluation", "data")
COPIES = ["data=folder", "data.contents=data/samples/content", "data.references=data/samples/style", "resolution=64"]


def commands() -> Iterator[list[str]]:
    """What follows `python` to ask a command of the repository what it does."""
    yield ["run.py", "--help"]
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if 'if __name__ == "__main__"' in source and "argparse" in source:
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
                yield ["-m", module, "--help"]


def readers(out: Path) -> Iterator[list[str]]:
    """The commands that read a run folder alone."""
    for module in ("harness.status", "evaluation.tables", "evaluation.report"):
        yield ["-m", module, str(out)]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done


def seconds(arguments: list[str]) -> float:
    """Of the processor: what one waits for on an idle machine, since imports run on one core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def slowest_imports(arguments: list[str], most: int = 4) -> str:
    """The packages that took longest to import, each with what it imports, in seconds."""
    lines = re.findall(
        r"^import time:\s+\d+ \|\s+(\d+) \|\s+(\S+)$", call("-X", "importtime", *arguments).stderr, re.MULTILINE
    )
    taken = {name: int(micro) / 1e6 for micro, name in lines if "." not in name and name not in (*PACKAGES, "run")}
    found = sorted(taken.items(), key=lambda pair: -pair[1])[:most]
    return ", ".join(f"{name} {took:.1f}" for name, took in found if took >= 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print("| python | s | lowest to highest | longest imports, s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method in ("identity", "reference_copy"):
            call("run.py", f"method={method}", *COPIES, f"out={folder}")
        for arguments in [*commands(), *readers(Path(folder))]:
            taken = [seconds(arguments) for _ in range(repeats)]
            shown = " ".join(arguments).replace(folder, "OUT")
            spread = f"{min(taken):.1f} to {max(taken):.1f}"
            print(f"| {shown} | {median(taken):.1f} | {spread} | {slowest_imports(arguments)} |", flush=True)


if __name__ == "__main__":
    main()
