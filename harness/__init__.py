import atexit
import gc
import io
import sys

import stylegallery  # noqa: F401  (first of all, for Ctrl-C)

# PyTorch and diffusers make half a million objects that last as long as the process. To look for garbage among them
# after every few hundred new ones, and again at exit, costs seconds at every start. (Not in stylegallery, which other
# programs import.)
if threshold := gc.get_threshold()[0]:  # 0 switches the collector off
    gc.set_threshold(max(10_000, threshold))
atexit.register(gc.freeze)

# Names of files need not be UTF-8, and what a Windows pipe takes has no arrows: neither keeps a command from printing.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # not a notebook's
        stream.reconfigure(errors="backslashreplace")
