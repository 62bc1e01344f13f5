import atexit
import gc
import os

# cuBLAS repeats its results only with a workspace of its own, and reads this when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# PyTorch and diffusers make a million objects that last as long as the process. To look for garbage among them after
# every 700 new ones, and again at exit, takes a third of the time of a start.
gc.set_threshold(10_000)
atexit.register(gc.freeze)
