import atexit
import gc
import io
import sys

import stylegallery  # noqa: F401  (first of all, for Ctrl-C)

# The garbage collector would search the half a million lasting objects of PyTorch and diffusers again and again, which
# costs seconds at every start. (Not set in stylegallery, which other programs import.)
if threshold := gc.get_threshold()[0]:  # 0 switches the collector off
    gc.set_threshold(max(10_000, threshold))
atexit.register(gc.freeze)

# A file name that is not UTF-8, or an arrow in a Windows pipe, is printed escaped instead of ending the command.
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # not a notebook's
        stream.reconfigure(errors="backslashreplace")
