"""How many pictures a sweep inverts, and how many its results ask for: each one for its content and its references.

    export STYLEGALLERY_DATA=FOLDER    # of the benchmark
    python -m benchmarks.inversions experiment=ablation_matching resolution=128

Settings are those of run.py. The sweep begins with no results and no kept analyses, and leaves none.
"""

import argparse
import os
import runpy
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from stylegallery.analysis import Analyser
from stylegallery.inversion import Inversion, invert

RUN = Path(__file__).parent.parent / "run.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="as on the command line of run.py")
    settings, counts = parser.parse_args().settings, Counter[str]()

    def inverting(model: Any, images: Sequence[Any], *others: Any) -> list[Inversion]:
        counts["inverted"] += len(images)
        return invert(model, images, *others)

    def analysing(analyser: Analyser, pictures: Sequence[Any], *others: Any) -> Any:
        counts["asked for"] += len(pictures)
        return analyse(analyser, pictures, *others)

    analyse = Analyser.__call__
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("stylegallery.analysis.invert", inverting),
        patch.object(Analyser, "__call__", analysing),
        patch.dict(os.environ, STYLEGALLERY_STORE=f"{folder}/store"),
        patch.object(sys, "argv", [str(RUN), *settings, f"out={folder}/out"]),
    ):
        try:
            runpy.run_path(str(RUN), run_name="__main__")  # which ends the process
        finally:
            print(f"pictures asked for {counts['asked for']}, inverted {counts['inverted']}")


if __name__ == "__main__":
    main()
