# One command each: make demo, make test. Both do all the set-up by themselves.
#
#   make demo    napari with a sample, the dock, the model and an adapter, ready to click;
#                without a display the same by itself, under Xvfb, into demo/;
#                SAMPLE=cells takes an image of many objects, SAMPLE=volume a CT volume
#   make test    the tests, the layering included
#   make test-all
#                those that take minutes, too
#   make test-quick
#                those without a window that take no more than three seconds
#   make lint    ruff, mypy, import-linter, and the plugin's manifest
#   make docs    the documentation, into site/
#   make results docs/results.md from the runs in results/
#   make clean   forget the environment and what the tools left behind
#
# PYTHON=/path/to/python3 chooses the Python (3.10 to 3.13) of a first set-up.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# Progress is shown when it is made, in a log file too.
export PYTHONUNBUFFERED := 1

VENV := .venv
BIN := $(VENV)/bin
# What Python compiles is kept, even where the environment says otherwise: each of the
# many processes of the tests would spend seconds on torch alone. Kept in one place, so
# that nothing lies about in the source.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
# Newer than what it depends on: nothing is installed. The file says what was.
# (--no-compile: Python compiles what is used, when it is used, which is far less.)
READY := $(VENV)/.ready

.PHONY: demo test test-all test-quick lint docs results setup system clean

demo: setup
	$(BIN)/napari-promise demo $(if $(SAMPLE),--sample $(SAMPLE))

# Two processes, each with a screen, folders and a thread of its own.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not long"

# With those that take minutes each: servers that are killed, hundreds of objects.
test-all: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# While working on something: a minute or so.
test-quick: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal \
	    -m "not window and not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_promise/napari.yaml

docs: setup
	$(BIN)/python -m scripts.draw_rooms
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

results: setup
	$(BIN)/python -m scripts.study.results

setup: system $(READY)

# Looks every time (a blink), so that a library removed since is noticed in one line.
system:
	@scripts/setup_system.sh >/dev/null

$(READY): setup.cfg constraints.txt pyproject.toml | system
	@echo "Setting up $(VENV) (torch and napari: some hundred megabytes the first time)"
	$(BIN)/python -m pip --version 2>/dev/null || \
	    "$$(scripts/setup_system.sh)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt \
	    --editable ".[dev]"
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt \
	    --no-deps pysodmetrics
	@$(BIN)/python -m pip freeze --exclude-editable >$@
	@echo "Ready."

clean:
	rm -rf $(VENV) build dist demo site .nox *.egg-info .pytest_cache .mypy_cache .ruff_cache \
	    .import_linter_cache
