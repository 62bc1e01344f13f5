PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
UV := $(VENV)/bin/uv pip install --quiet --python $(RUN)
# Processes keep the bytecode of what they import; pip would compile three times as much at once.
unexport PYTHONDONTWRITEBYTECODE
# The kernels of the notebooks leave the user's home alone.
export IPYTHONDIR := $(abspath $(VENV))/share/ipython
export JUPYTER_RUNTIME_DIR := $(abspath $(VENV))/share/jupyter/runtime

.PHONY: venv demo test pytest lint

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	-$(PIP) uv
# PyTorch by pip, which finds wheels that a machine was given; the rest by uv, four times as fast, where it is to be had
# and reaches an index (UV_DEFAULT_INDEX names another one).
	$(PIP) torch torchvision
	$(UV) --editable '.[dev]' || $(PIP) --editable '.[dev]'
	touch $@

demo: $(VENV)/.imported
	$(RUN) run.py

# Compiles once what every run imports.
$(VENV)/.imported: $(VENV)/.installed
	$(RUN) -c 'import stylegallery.pipeline' || { rm $(VENV)/.installed; false; }
	touch $@

test: venv
	$(MAKE) --jobs 2 lint pytest

pytest: $(VENV)/.collected
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# And once what all workers of the tests import.
$(VENV)/.collected: $(VENV)/.installed
	$(RUN) -m pytest --collect-only -qq -n 0
	touch $@

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
