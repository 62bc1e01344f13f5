PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
COMMA := ,
UV := $(VENV)/bin/uv pip install --quiet --python $(RUN)
# Processes keep the bytecode of what they import; pip would compile much that nobody imports.
unexport PYTHONDONTWRITEBYTECODE
# The kernels of the notebooks leave the user's home alone.
export IPYTHONDIR := $(abspath $(VENV))/share/ipython
export JUPYTER_RUNTIME_DIR := $(abspath $(VENV))/share/jupyter/runtime

.PHONY: venv demo test test-fast pytest lint

venv: $(VENV)/.installed

# By uv, which is faster than pip and is told here which indexes pip is told to use; pip takes over where uv is not to be
# had or does not succeed, and where it may use no index.
define install
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	-$(PIP) uv
	@settings=$$($(RUN) -m pip config list); \
	pip_setting() { for section in :env: install global; do \
		printf '%s\n' "$$settings" | sed -n "s/^$$section\.$$1='\(.*\)'/\1/p"; \
	done | head -n 1 | sed 's/\\n/ /g'; }; \
	test -z "$$(pip_setting no-index)" && echo "uv pip install --editable '$(1)'" && \
	UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$$(pip_setting index-url)} \
	UV_INDEX=$${UV_INDEX:-$$(pip_setting extra-index-url)} UV_INDEX_STRATEGY=unsafe-best-match \
	UV_FIND_LINKS=$${UV_FIND_LINKS:-$$(pip_setting find-links | sed 's/^ *//; s/  */,/g')} \
	UV_CONSTRAINT=$${UV_CONSTRAINT:-$$(pip_setting constraint)} \
	$(UV) --editable '$(1)' || $(PIP) --editable '$(1)'
	touch $@
endef

$(VENV)/.installed: pyproject.toml
	$(call install,.[dev])

# The tests open the studio too, which the demo can do without.
$(VENV)/.studio: $(VENV)/.installed
	$(call install,.[dev$(COMMA)studio])

demo: $(VENV)/.imported
	$(RUN) run.py

# Compiles once what every run imports.
$(VENV)/.imported: $(VENV)/.installed
	$(RUN) -c 'import stylegallery.pipeline' || { rm $(VENV)/.installed; false; }
	touch $@

test: venv
	$(MAKE) --jobs 2 lint pytest

PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist

pytest: $(VENV)/.collected
	$(PYTEST) loadfile --no-loadscope-reorder

# Without the tests that are marked slow: those that run whole commands or models of real size.
test-fast: $(VENV)/.collected
	$(PYTEST) worksteal -m 'not slow'

# And once what all workers of the tests import.
$(VENV)/.collected: $(VENV)/.studio
	$(RUN) -m pytest --collect-only -qq -n 0
	touch $@

lint: venv
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
