import os

# cuBLAS repeats its results only with a workspace of its own, and reads this when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
