PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
# The kernels of the notebooks leave the user's home alone.
export IPYTHONDIR := $(abspath $(VENV))/share/ipython
export JUPYTER_RUNTIME_DIR := $(abspath $(VENV))/share/jupyter/runtime

.PHONY: venv demo test lint

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) torch torchvision
	$(PIP) --editable '.[dev]'
	$(RUN) -m compileall -qq -j 0 $(VENV)/lib; true # pip would compile on one core
	touch $@

demo: venv
	$(RUN) run.py

test: venv lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
