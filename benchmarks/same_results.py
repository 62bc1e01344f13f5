"""Whether a change of the code left every result as it was: run once before it and once after, then compare.

    STYLEGALLERY_DATA=folder python benchmarks/same_results.py run OUT     with the code of this checkout
    python benchmarks/same_results.py tables OUT COPY                      scores and tables of a copy of OUT
    python benchmarks/same_results.py compare BEFORE AFTER

`run` makes the demo, a result with pins, exclusions and masks, every method that needs no foreign weights on two items
of a benchmark, and StyleGallery's ablations on one; then the scores and tables of all that. `compare` holds pictures
against each other pixel by pixel (the files carry the digest of the code), other files of results byte by byte, and
tables byte by byte in the metrics that both have, costs left out. Run both sides on one machine with as many threads.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SINGLE = {
    "demo": [],
    "pinned": ["pins={1: [2, 1]}", "excluded=[1]", "seed=3", "resolution=128", "output_size=content"],
}
TABLE1 = (
    "identity,reference_copy,stylegallery,stylegallery_released,attention_distillation,styleid,global_style,gatys,"
    "img2img,latent_adain,color_transfer"
)
SWEEPS = {
    "table1": ["data=mixed60", "limit=2", f"only=[{TABLE1}]"],
    "ablation_regions": ["limit=1", "only=['stylegallery@no_merge','stylegallery@k=5','stylegallery@user_masks']"],
    "ablation_matching": ["limit=1", "only=['stylegallery@geometry=0','stylegallery@random-1']"],
    "ablation_sparsity": ["limit=1", "only=['stylegallery@outside_keys=zeroed','stylegallery@outside_keys=attended']"],
    "references": ["limit=2", "only=[stylegallery]"],
}
COSTS = ("seconds", "peak_memory_mib")


def start(*arguments: str) -> None:
    print("$", *arguments, flush=True)
    subprocess.run([sys.executable, *arguments], check=True)


def make_results(out: Path) -> None:
    for name, overrides in SINGLE.items():
        start("run.py", *overrides, f"out={out / name}")
    for name, overrides in SWEEPS.items():
        start("run.py", f"experiment={name}", *overrides, f"out={out / name}")


def make_tables(out: Path) -> None:
    for name in SWEEPS:
        start("-m", "evaluation.score", str(out / name))
        start("-m", "evaluation.tables", str(out / name))


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return f"{picture.mode} {picture.size}".encode() + np.asarray(picture).tobytes()


def table(path: Path) -> pd.DataFrame:
    """A table without what two versions need not share: costs, and the sentences of what is missing."""
    frame = pd.read_csv(path).drop(columns="reason", errors="ignore")
    return frame[~frame["metric"].isin(COSTS)]


def same_tables(first: Path, second: Path) -> bool:
    """Whether tables agree to the byte in all metrics that both have."""
    frames = [table(path) for path in (first, second)]
    common = set(frames[0]["metric"]) & set(frames[1]["metric"])
    texts = {frame[frame["metric"].isin(common)].to_csv(index=False) for frame in frames}
    return len(texts) == 1


def same(first: Path, second: Path) -> bool:
    if first.suffix == ".csv" and first.parent.name == "tables":
        return same_tables(first, second)
    return pixels(first) == pixels(second) if first.suffix == ".png" else first.read_bytes() == second.read_bytes()


def files(folder: Path) -> set[Path]:
    """What has to stay, by its place: results, regions, matches and energies; tables."""
    found = {path for name in ("*.png", "matches.json", "energies.csv", "tables/*.csv") for path in folder.rglob(name)}
    return {path.relative_to(folder) for path in found}


def compare(before: Path, after: Path) -> int:
    first, second = files(before), files(after)
    complaints = [f"only in {before}: {place}" for place in first - second]
    complaints += [f"only in {after}: {place}" for place in second - first]
    complaints += [f"differs: {place}" for place in first & second if not same(before / place, after / place)]
    print(*sorted(complaints), f"{len(first)} files, {len(complaints)} complaints", sep="\n")
    return 1 if complaints or not first else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, folders in {"run": ["out"], "tables": ["out", "copy"], "compare": ["before", "after"]}.items():
        command = commands.add_parser(name)
        for folder in folders:
            command.add_argument(folder, type=Path)
    options = parser.parse_args()
    if options.command == "compare":
        return compare(options.before, options.after)
    if options.command == "tables":
        shutil.copytree(options.out, options.copy)
        make_tables(options.copy)
        return 0
    make_results(options.out.absolute())
    make_tables(options.out.absolute())
    return 0


if __name__ == "__main__":
    sys.exit(main())
