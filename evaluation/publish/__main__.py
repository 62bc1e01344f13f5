"""Write pages such as docs/results from the records of sweeps, and from nothing else.

    python -m evaluation.publish OUT [OUT ...] [--docs DOCS] [--grids 20] [--machine "2 cores, no GPU"]

A page and two CSV files per experiment whose runs are in one of the folders, costs.md, claims.{md,csv}, grids.md with
one picture per item, and README.md, the index. Pages written by hand in the same folder are linked and never touched.
The same records give the same bytes. Exit code 1: a table contradicts itself (see `evaluation.tables`); 2: bad input.
"""

import argparse
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from evaluation.generated import generated
from evaluation.publish.claims import claims_page, decide, read_claims
from evaluation.publish.costs import costs_page
from evaluation.publish.grids import choose_items, draw_grid, grids_page
from evaluation.publish.studies import Experiment, Study, find_studies, model_lines, read_experiments, read_sweep
from evaluation.publish.study_page import item_scores, make_sheet, study_page
from evaluation.publish.text import GENERATED, bullets, page, pipe_table, require_own, write
from evaluation.tables import require_known
from harness.folder import RunFolder, labels_with_results
from stylegallery.command import explained_errors
from stylegallery.errors import require

DISCUSSION = "discussion.md"
LARGEST_GRIDS, LARGEST = 6 * 10**6, 10 * 10**6  # bytes of docs/results that a repository should carry


def publish(
    outs: Sequence[Path], docs: Path, grids: int, side: int, machine: str, without: Collection[str] = ()
) -> list[str]:
    """Write everything `without` some labels; returns what contradicts itself or is too large.

    Raises:
        InputError: a folder holds no records, damaged ones or none of an experiment; `docs` cannot be written.
    """
    require(grids >= 0, "--grids is at least 0", grids)
    require(32 <= side <= 512, "--side is from 32 to 512", side)
    outs = list(dict.fromkeys(outs))
    require_known(without, labels_with_results(outs), "label")
    experiments, sweeps = read_experiments(), [read_sweep(out, frozenset(without)) for out in outs]
    studies = find_studies(experiments, sweeps)
    shown = next((study for study in studies if study.experiment.pictures), None) if grids else None
    items = choose_items(shown, grids) if shown else []
    old = require_own(docs, ["claims", *(study.experiment.name for study in studies)], items)
    complaints = []
    for study in studies:
        name, sheet = study.experiment.name, make_sheet(study)
        complaints += [f"{name}: {complaint}" for complaint in sheet.complaints]
        write(docs / f"{name}.md", study_page(sheet))
        write(docs / f"{name}.csv", sheet.table.to_csv(index=False, float_format="%.6g"))
        write(docs / f"{name}_items.csv", item_scores(study).to_csv(index=False, float_format="%.6g"))
    write(docs / "costs.md", costs_page(sweeps, machine))
    claims = read_claims()
    table = decide(claims, studies)
    write(docs / "claims.csv", table.to_csv(index=False, float_format="%.6g"))
    write(docs / "claims.md", claims_page(claims, table, studies, (docs / DISCUSSION).is_file()))
    if shown:
        complaints += write_grids(docs, shown, items, side, old)
    command = ["python", "-m", "evaluation.publish", *map(str, outs), "--docs", str(docs)]
    command += ["--grids", str(grids), "--side", str(side), *(["--machine", machine] if machine else [])]
    command += [word for label in without for word in ("--without", label)]
    write(docs / "README.md", index(docs, experiments, studies, command))
    size = sum(path.stat().st_size for path in docs.rglob("*") if path.is_file())
    complaints += [f"{docs} has {size / 1e6:.1f} MB; pass fewer --grids"] if size > LARGEST else []
    return complaints


def write_grids(docs: Path, study: Study, items: Sequence[str], side: int, old: Sequence[Path]) -> list[str]:
    """Pictures and their page; the `old` ones of items that are no longer chosen go."""
    pictures = {f"{item}.jpg": draw_grid(study, item, side) for item in items}
    for name, data in pictures.items():
        write(docs / "grids" / name, data)
    for path in old:
        if path.name not in pictures:
            path.unlink()
    write(docs / "grids.md", grids_page(study, items))
    size = sum(map(len, pictures.values()))
    return [f"{docs / 'grids'} has {size / 1e6:.1f} MB; pass fewer --grids"] if size > LARGEST_GRIDS else []


def index(docs: Path, experiments: Sequence[Experiment], studies: Sequence[Study], command: Sequence[str]) -> str:
    """README.md: the command, its pages, those written by hand, and the experiments that none of the folders holds."""
    rows = []
    for study in studies:
        name, experiment = study.experiment.name, study.experiment
        shared = f"{len(study.shared_items())} of {len(study.items())}"
        runs = f"{len(study.ran)} of {len(experiment.runs)}"
        rows.append([f"[{name}]({name}.md)", experiment.reproduces, study.manifest, runs, shared])
    others = {
        "claims": "which claims of the paper hold in these numbers",
        "costs": "seconds and memory of every method",
        "grids": "pictures",
    }
    pages = [f"[{name}.md]({name}.md): {about}" for name, about in others.items() if (docs / f"{name}.md").is_file()]
    by_hand = [path for path in sorted(docs.glob("*.md")) if path.is_file() and not generated(path, GENERATED)]
    for path in by_hand:
        if path.name != "README.md":
            heading = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ")
            pages.append(f"[{path.name}]({path.name}): {heading} (written by hand)")
    missing = [one.name for one in experiments if one.name not in {study.experiment.name for study in studies}]
    sweep = studies[0].sweep
    return page(
        "Results",
        "\n\n".join(model_lines(sweep)),
        f"```sh\n{shlex.join(command)}\n```",
        pipe_table(["page", "reproduces", "benchmark", "runs with results", "items that all these have"], rows),
        bullets(pages),
        f"Not run: {', '.join(missing)}." if missing else "",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m evaluation.publish", description=__doc__.partition("\n")[0])
    parser.add_argument("outs", nargs="+", type=Path, metavar="OUT", help="folders of benchmark runs")
    parser.add_argument("--docs", type=Path, help="where to write (default: docs in the first OUT)")
    parser.add_argument("--grids", type=int, default=20, help="items of Table 1 that get a picture (default 20)")
    parser.add_argument("--side", type=int, default=144, help="side of a tile in pixels (default 144)")
    parser.add_argument("--machine", default="", help="the machine in words, for the page of costs")
    parser.add_argument("--without", action="append", default=[], metavar="LABEL", help="a label to leave out")
    options = parser.parse_args(arguments)
    docs = options.docs or RunFolder(options.outs[0]).docs
    with explained_errors():
        complaints = publish(options.outs, docs, options.grids, options.side, options.machine, options.without)
    for complaint in complaints:
        print(f"error: {complaint}", file=sys.stderr)
    print(docs / "README.md")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
