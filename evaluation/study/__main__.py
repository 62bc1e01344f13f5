"""A user study: which of two results keeps the content, and which carries the style of the references.

    python -m evaluation.study export OUT [OUT ...] [--to FOLDER] [--methods LABEL ...] [data.root=FOLDER]
    python -m evaluation.study import FOLDER VOTES [VOTES ...]

`export` writes FOLDER (OUT/study): study.html, which is sent to participants, and key.json, which is not. Participants
answer in a browser and send back a file each. `import` writes from these results.md, abilities.csv, pairs.csv,
metrics.csv and votes.csv into FOLDER. docs/user_study.md says what they mean.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from evaluation.metric import ANNOTATORS, INDEPENDENT
from evaluation.study.export import export
from evaluation.study.results import write_results
from harness.folder import RunFolder
from harness.pictures import root_of
from stylegallery.command import explained_errors

ROOT = "data.root="


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m evaluation.study", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("export", help="write the page of a study")
    asking.add_argument("outs", nargs="+", metavar="OUT", help="folders of benchmark runs; data.root=FOLDER says where")
    asking.add_argument("--to", type=Path, metavar="FOLDER", help="where to write (default: study in the first OUT)")
    asking.add_argument("--methods", nargs="+", default=[], metavar="LABEL", help="what to compare (default: all)")
    asking.add_argument("--annotator", choices=ANNOTATORS, default=INDEPENDENT, help="whose regions are shown")
    asking.add_argument("--items", type=int, default=20, help="different items at most (default 20)")
    asking.add_argument("--questions", type=int, default=20, help="of either kind to a participant (default 20)")
    asking.add_argument("--checks", type=int, default=2, help="attention checks among them, more (default 2)")
    asking.add_argument("--plans", type=int, default=30, help="different draws of questions (default 30)")
    asking.add_argument("--side", type=int, default=512, help="larger side of pictures in pixels (default 512)")
    asking.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    counting = commands.add_parser("import", help="what the votes say")
    counting.add_argument("folder", type=Path, metavar="FOLDER", help="where `export` wrote the study")
    counting.add_argument("votes", type=Path, nargs="+", metavar="VOTES", help="files sent back, or folders of them")
    options = parser.parse_args(arguments)
    with explained_errors():
        if options.command == "import":
            print(write_results(options.folder, options.votes))
            return
        outs = [Path(out) for out in options.outs if not out.startswith(ROOT)]
        root = root_of([out for out in options.outs if out.startswith(ROOT)])
        if not outs:
            asking.error("the following arguments are required: OUT")
        study, page = export(
            outs, options.to or RunFolder(outs[0]).study, methods=options.methods, annotator=options.annotator,
            items=options.items, each=options.questions, checks=options.checks, plans=options.plans, side=options.side,
            seed=options.seed, root=root,
        )  # fmt: skip
    print(f"{page} ({page.stat().st_size / 2**20:.1f} MiB): {len(study.methods)} methods, {len(study.contents)} items")


if __name__ == "__main__":
    main()
