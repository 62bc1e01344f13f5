"""Notebooks are pairs: the .py is what people review, the .ipynb the same cells without outputs. All run."""

from typing import Any

import jupytext
import pytest
from conftest import ROOT
from nbclient import NotebookClient

pytestmark = pytest.mark.slow  # processes, or many runs of the whole program

FOLDER = ROOT / "notebooks"
NAMES = sorted({path.stem for pattern in ("*.py", "*.ipynb") for path in FOLDER.glob(pattern)})
REMEDY = "edit the .py and run: jupytext --sync notebooks/*.py"


def cells(notebook: Any) -> list[tuple[str, str, list[str]]]:
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


@pytest.mark.parametrize("name", NAMES)
def test_both_halves_hold_the_same_cells_and_no_outputs(name: str) -> None:
    source, notebook = (jupytext.read(FOLDER / f"{name}{suffix}") for suffix in (".py", ".ipynb"))
    assert len(cells(source)) > 1
    assert cells(source) == cells(notebook), REMEDY
    assert source.metadata.kernelspec == notebook.metadata.kernelspec, REMEDY
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None, f"{name}.ipynb holds outputs; {REMEDY}"


def test_there_are_notebooks() -> None:
    assert NAMES


SMALLER = {"01_method": "OVERRIDES, UPDATES = ['method.resolution=128'], 2", "02_results": "PHOTOS = 2"}
PUBLISHED = (ROOT / "docs" / "results" / "table1.csv").is_file()
FIGURES = {"01_method": 9, "02_results": 5 if PUBLISHED else 3}


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_draws(name: str) -> None:
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += f"\n{SMALLER[name]}"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[name]
