"""python -m stylegallery.studio --host 127.0.0.1 --port 7860 [NAME=VALUE ...]"""

import argparse
import signal
import sys
from importlib.util import find_spec

from stylegallery.command import explained_errors
from stylegallery.errors import InputError


def main() -> None:
    does = "Open the studio: point at a region of a photo, say whose style it takes, watch it being painted."
    parser = argparse.ArgumentParser(prog="python -m stylegallery.studio", description=does)
    parser.add_argument("--host", default="127.0.0.1", help="where it listens; 0.0.0.0 opens it to the network")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="as for run.py: model=, encoder=, preset=")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as Ctrl-C: files of visitors go at the end
    with explained_errors():
        if find_spec("gradio") is None:
            raise InputError("the studio needs Gradio; python -m pip install -e '.[studio]' installs it")
        # What follows takes seconds to import.
        from stylegallery.studio.visits import Visits
        from stylegallery.studio.workshop import Workshop

        with Visits(Workshop(given.settings)) as visits:
            from stylegallery.studio.page import serve

            serve(visits, given.host, given.port)


if __name__ == "__main__":
    main()
