"""StyleGallery as a library: README's "From Python"."""

import os
from importlib import import_module
from typing import Any

from stylegallery.interrupt import explain_interrupts_of_commands

explain_interrupts_of_commands()

# cuBLAS repeats its results only with a workspace of its own, and reads this when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

EXPORTED = {
    "Item": "stylegallery.contract",
    "MatchConstraints": "stylegallery.contract",
    "StyleGallery": "stylegallery.pipeline",
    "item_generator": "stylegallery.draws",
    "plan_figure": "stylegallery.figures",
    "regions_figure": "stylegallery.figures",
    "save": "stylegallery.images",
}


def __getattr__(name: str) -> Any:
    """Import an exported name at its first use: PyTorch takes seconds that an error message need not wait for."""
    if name not in EXPORTED:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(EXPORTED[name]), name)
