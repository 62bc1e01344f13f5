"""Numbers computed with the authors' published code. A part is in tests/vectors; all are where it is developed."""

import json
from typing import Any

import pytest
from conftest import ROOT, SHARED
from safetensors.torch import load_file
from torch import Tensor

VECTORS = ROOT / "tests" / "vectors"
SCALARS: dict[str, Any] = json.loads((VECTORS / "scalars.json").read_text())["cases"]
SHARED_VECTORS = SHARED / "vectors"
needs_shared = pytest.mark.skipif(not SHARED_VECTORS.exists(), reason="needs the shared vectors")


def shared_case(method: str, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and scalars of a case of a method's full set."""
    manifest = json.loads((SHARED_VECTORS / method / "manifest.json").read_text())
    case = next(case for case in manifest["cases"] if case["id"] == name)
    return load_file(SHARED_VECTORS / method / case["file"]), case["scalars"]
