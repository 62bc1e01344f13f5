PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
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
	$(PIP) torch torchvision
	$(PIP) --editable '.[dev]'
	$(RUN) -c 'import stylegallery.pipeline'
	touch $@

demo: venv
	$(RUN) run.py

test: venv
	$(MAKE) --jobs 2 lint pytest

pytest: venv
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
