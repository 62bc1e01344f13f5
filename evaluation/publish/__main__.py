"""Write pages such as docs/results from the records of sweeps, and from nothing else.

    python -m evaluation.publish OUT [OUT ...] [--docs DOCS] [--grids 20] [--gallery 24] [--gallery-of OUT]
        [--machine "2 cores, no GPU"]

A page, two CSV files and a table in LaTeX per experiment whose runs are in one of the folders, claims.{md,csv},
groups.{md,csv} (by number of references and style family), cost_quality.{md,csv} and costs.md, grids.md (every method,
one picture per item), gallery.md (StyleGallery's results with references and regions; --gallery-of takes them from
another folder, such as one of larger results), and README.md, the index. Pages written by hand in the same folder are
linked and never touched. The same records give the same bytes. Exit code 1: a table contradicts itself (see
`evaluation.tables`); 2: bad input.
"""

import argparse
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from evaluation.generated import generated
from evaluation.latex import latex
from evaluation.publish.claims import claims_page, decide, read_claims
from evaluation.publish.cost_quality import comparisons, cost_page, points
from evaluation.publish.cost_quality import panels as cost_panels
from evaluation.publish.costs import costs_page
from evaluation.publish.gallery import card, choose, gallery_page
from evaluation.publish.grids import choose_items, draw_grid, grids_page
from evaluation.publish.groups import grouped, groups_page
from evaluation.publish.groups import panels as group_panels
from evaluation.publish.studies import Study, find_studies, model_lines, read_sweep, shown_studies
from evaluation.publish.study_page import Sheet, item_scores, make_sheet, paper_page, study_page
from evaluation.publish.text import (
    GENERATED,
    Files,
    Written,
    bullets,
    page,
    pipe_table,
    require_generated,
    shell,
    write,
    write_pages,
)
from evaluation.tables import require_known
from harness.experiment_files import Experiment, read_experiments
from harness.folder import RunFolder, labels_with_results
from stylegallery.command import explained_errors
from stylegallery.errors import require

DISCUSSION = "discussion.md"
LARGEST_PICTURES = {"grids": 6 * 10**6, "gallery": 4 * 10**6}  # bytes that a repository should carry
LARGEST = 14 * 10**6  # of all of docs/results


def publish(
    outs: Sequence[Path], docs: Path, grids: int, side: int, machine: str, without: Collection[str] = (),
    gallery: int = 0, gallery_of: Sequence[Path] = (),
) -> list[str]:  # fmt: skip
    """Write everything `without` some labels, the gallery of `gallery_of` if there is any; returns what contradicts
    itself or is too large.

    Raises:
        InputError: a folder holds no records, damaged ones or none of an experiment; `docs` cannot be written.
    """
    require(grids >= 0, "--grids is at least 0", grids)
    require(gallery >= 0, "--gallery is at least 0", gallery)
    require(gallery > 0 or not gallery_of, "--gallery is at least 1 with --gallery-of", gallery)
    require(32 <= side <= 512, "--side is from 32 to 512", side)
    outs = list(dict.fromkeys(outs))
    require_known(without, labels_with_results(outs), "label")
    experiments, sweeps = read_experiments(), [read_sweep(out, frozenset(without)) for out in outs]
    studies = find_studies(experiments, sweeps)
    sheets = [make_sheet(study) for study in studies]
    pages = {sheet.study.experiment.name: sheet_files(sheet) for sheet in sheets}
    pages["costs"] = Written(costs_page(sweeps, machine))
    claims = read_claims()
    table = decide(claims, studies)
    text = claims_page(claims, table, studies, (docs / DISCUSSION).is_file())
    pages["claims"] = Written(text, {"claims.csv": as_csv(table)})
    pages |= views(studies, machine)
    shown = next((study for study in studies if study.experiment.pictures), None)
    if shown and grids:
        items = choose_items(shown, grids)
        pictures: Files = {f"grids/{item}.jpg": draw_grid(shown, item, side) for item in items}
        pages["grids"] = Written(grids_page(shown, items), pictures)
    shown_sweeps = [read_sweep(out, frozenset(without)) for out in dict.fromkeys(gallery_of)]
    if chosen := choose(shown_studies(experiments, shown_sweeps) or studies, gallery):
        pages["gallery"] = Written(gallery_page(chosen), {one.file: card(one) for one in chosen})
    require_generated(docs / "README.md")
    write_pages(docs, pages)
    command = ["python", "-m", "evaluation.publish", *map(str, outs), "--docs", str(docs), "--grids", str(grids)]
    command += ["--side", str(side), "--gallery", str(gallery), *(["--machine", machine] if machine else [])]
    command += [word for label in without for word in ("--without", label)]
    command += [word for out in gallery_of for word in ("--gallery-of", str(out))]
    write(docs / "README.md", index(docs, experiments, studies, pages, command))
    complaints = [f"{sheet.study.experiment.name}: {one}" for sheet in sheets for one in sheet.complaints]
    return complaints + too_large(docs, pages)


def sheet_files(sheet: Sheet) -> Written:
    """The page of an experiment, its tables, and one of few columns for a paper."""
    name = sheet.study.experiment.name
    scores = item_scores(sheet.study)
    tables: Files = {f"{name}.csv": as_csv(sheet.table), f"{name}_items.csv": as_csv(scores)}
    return Written(study_page(sheet), tables | {f"{name}.tex": latex(paper_page(sheet))})


def views(studies: Sequence[Study], machine: str) -> dict[str, Written]:
    """Scores by groups and costs against quality, where an experiment asks for them."""
    from evaluation.publish.plots import drawn, front_figure, groups_figure, shown  # the library takes a second

    pages = {}
    if asked := [study for study in studies if study.experiment.groups]:
        table = pd.concat([grouped(study) for study in asked], ignore_index=True)
        files: Files = {"groups.csv": as_csv(table)}
        figures = {}
        for study in asked:
            parts, groups = group_panels(study, table)
            if parts:
                name = f"groups_{study.experiment.name}"
                files |= drawn(name, groups_figure(parts, groups, "number of references"))
                figures[study.experiment.name] = shown(name, "scores by number of references")
        pages["groups"] = Written(groups_page(asked, table, figures), files)
    if compared := comparisons(studies):
        table = pd.concat([points(one) for one in compared], ignore_index=True)
        files = {"cost_quality.csv": as_csv(table)}
        for one in compared:
            files |= drawn(one.figure, front_figure(cost_panels(one, table), "seconds per item"))
        figures = {one.name: shown(one.figure, "quality over seconds, one point per method") for one in compared}
        pages["cost_quality"] = Written(cost_page(compared, table, figures, machine), files)
    return pages


def as_csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, float_format="%.6g"))


def too_large(docs: Path, pages: Mapping[str, Written]) -> list[str]:
    """What a repository should not carry."""
    found = []
    for name, most in LARGEST_PICTURES.items():
        size = sum(map(len, pages[name].files.values())) if name in pages else 0
        found += [f"{docs / name} has {size / 1e6:.1f} MB; pass fewer --{name}"] if size > most else []
    size = sum(path.stat().st_size for path in docs.rglob("*") if path.is_file())
    return found + ([f"{docs} has {size / 1e6:.1f} MB; pass fewer --grids or --gallery"] if size > LARGEST else [])


def index(
    docs: Path, experiments: Sequence[Experiment], studies: Sequence[Study], made: Collection[str],
    command: Sequence[str],
) -> str:  # fmt: skip
    """README.md: the command, its pages, those written by hand, and the experiments that none of the folders holds."""
    rows = []
    for study in studies:
        name, experiment = study.experiment.name, study.experiment
        shared = f"{len(study.shared_items())} of {len(study.items())}"
        runs = f"{len(study.ran)} of {len(experiment.runs)}"
        rows.append([f"[{name}]({name}.md)", experiment.reproduces, study.manifest, runs, shared])
    others = {
        "claims": "which claims of the paper hold in these numbers",
        "groups": "scores by number of references and by style family",
        "cost_quality": "what more seconds buy: regional style and texture against cost",
        "costs": "seconds and memory of every method",
        "gallery": "results with their references and regions, for the eye",
        "grids": "what every method made of the same items",
    }
    pages = [f"[{name}.md]({name}.md): {about}" for name, about in others.items() if name in made]
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
        shell([shlex.join(command)]),
        pipe_table(["page", "reproduces", "benchmark", "runs with results", "items that all these have"], rows),
        bullets(pages),
        f"Not run: {', '.join(missing)}." if missing else "",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m evaluation.publish", description=__doc__.partition("\n")[0])
    parser.add_argument("outs", nargs="+", type=Path, metavar="OUT", help="folders of benchmark runs")
    parser.add_argument("--docs", type=Path, help="where to write (default: docs in the first OUT)")
    parser.add_argument("--grids", type=int, default=20, help="items of Table 1 that get a picture (default 20)")
    parser.add_argument("--gallery", type=int, default=24, help="results that get a card of the gallery (default 24)")
    parser.add_argument(
        "--gallery-of", type=Path, action="append", default=[], metavar="OUT",
        help="a folder whose results the gallery shows instead, such as larger ones (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--side", type=int, default=144, help="side of a tile in pixels (default 144)")
    parser.add_argument("--machine", default="", help="the machine in words, for the page of costs")
    parser.add_argument("--without", action="append", default=[], metavar="LABEL", help="a label to leave out")
    options = parser.parse_args(arguments)
    docs = options.docs or RunFolder(options.outs[0]).docs
    with explained_errors():
        complaints = publish(
            options.outs, docs, options.grids, options.side, options.machine, options.without, options.gallery,
            options.gallery_of,
        )  # fmt: skip
    for complaint in complaints:
        print(f"error: {complaint}", file=sys.stderr)
    print(docs / "README.md")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
