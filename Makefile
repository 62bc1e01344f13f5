PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
# A setting of pip, of its environment before that of its files; uv reads neither.
pip_setting = $(shell $(PYTHON) -m pip config list 2>/dev/null | sed -n 's/\\n/ /g; s/.*\.$(1)=.\(.*\)./\1/p' | head -n 1)
UV = UV_DEFAULT_INDEX='$(or $(UV_DEFAULT_INDEX),$(call pip_setting,index-url))' \
	UV_INDEX='$(or $(UV_INDEX),$(call pip_setting,extra-index-url))' UV_INDEX_STRATEGY=unsafe-best-match \
	UV_CONSTRAINT='$(or $(UV_CONSTRAINT),$(call pip_setting,constraint))' \
	$(VENV)/bin/uv pip install --quiet --python $(RUN)
# Processes keep the bytecode of what they import; pip would compile three times as much at once.
unexport PYTHONDONTWRITEBYTECODE
# The kernels of the notebooks leave the user's home alone.
export IPYTHONDIR := $(abspath $(VENV))/share/ipython
export JUPYTER_RUNTIME_DIR := $(abspath $(VENV))/share/jupyter/runtime

.PHONY: venv demo test pytest lint

venv: $(VENV)/.installed

# By uv, two to five times as fast as pip, which takes over where uv is not to be had or finds no index.
$(VENV)/.installed: pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	-$(PIP) uv
	@echo "uv pip install --editable '.[dev]'" # without its settings: an index may hold a password
	@$(UV) --editable '.[dev]' || $(PIP) --editable '.[dev]'
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
