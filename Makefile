# Everything a developer runs. Needs Python 3.11 or later, make and a package index; the rest goes to .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# What `make test` installs, and the Pythons that the program has to run on.
TESTED := requirements-dev.lock
PYTHONS := 3.11 3.12 3.13 3.14
NO_PEERS = ARGS='-m "not peer" $(ARGS)'

.DEFAULT_GOAL := help

.PHONY: help demo test test-lowest test-pythons lint fmt draw draw-top screenshots bench soak dist lock clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/run  ## Run a simulated worker and its exporter until Ctrl-C (ARGS="--ranks 8")
	@exec $(BIN)/smg-exporter demo $(ARGS)

test: $(VENV)/dev  ## Run the tests (ARGS="-k name")
	$(BIN)/python -m pytest $(ARGS)

test-lowest:  ## Run the tests, but for those of peers, on the lowest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-lowest TESTED=requirements-lowest.lock $(NO_PEERS)

test-pythons:  ## Run the tests, but for those of peers, on each other Python from 3.11 to 3.14 that is here
	@ours=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(PYTHONS); do \
		if test $$version = $$ours; then continue; fi; \
		if ! python=$$(.ci/find-python $$version); then absent="$$absent $$version"; continue; fi; \
		echo "Python $$version: $$python"; \
		if $(MAKE) test PYTHON=$$python VENV=.venv-$$version $(NO_PEERS); then passed="$$passed $$version"; \
		else failed="$$failed $$version"; fi; \
	done; \
	echo "Pythons: passed:$${passed:- none}; failed:$${failed:- none}; not here, so not tested:$${absent:- none};" \
		"$$ours is for make test"; \
	test -z "$$failed"

lint: $(VENV)/docs  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/dev  ## Format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

draw: $(VENV)/docs  ## Draw the dashboard as a picture (ARGS="http://localhost:9090 docs/dashboard.png")
	$(BIN)/python docs/draw.py $(ARGS)

draw-top: $(VENV)/docs  ## Draw what top shows as a picture (ARGS="docs/top.png http://localhost:18001")
	$(BIN)/python docs/draw_top.py $(ARGS)

screenshots: $(VENV)/browser  ## Take the pictures of the pages in docs/, with Debian's chromium
	$(BIN)/python -m docs.screenshots

bench: $(VENV)/bench  ## Measure side by side with the alternatives, and print a table
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/dev  ## Stress the exporter with real processes and faults, and check its promises (ARGS="--minutes 2")
	$(BIN)/python -m soak $(ARGS)

# The wheel is built from the sdist, so what is tried is right in both.
dist: $(VENV)/dist  ## Build sdist and wheel, check them, and try the wheel on each Python from 3.11 to 3.14 that is here
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	@for version in $(PYTHONS); do \
		if ! python=$$(.ci/find-python $$version); then absent="$$absent $$version"; continue; fi; \
		$$python tests/deploy/try_wheel.py dist/*.whl || exit; \
	done; \
	echo "not here, so not tried:$${absent:- none}"
	@! grep -q git.example pyproject.toml || echo "do not publish it yet: its links lead to git.example (see CONTRIBUTING.md)"

lock: $(VENV)/pyvenv.cfg  ## Resolve the locked versions anew
	@$(PIP) install uv
	$(BIN)/uv pip compile $(COMPILE) --extra top -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(COMPILE) --extra top -o requirements-dev.lock --group dev pyproject.toml
	$(BIN)/uv pip compile $(COMPILE) -o requirements-build.lock --constraint requirements-dev.lock --group build
	$(BIN)/uv pip compile $(COMPILE) --resolution lowest-direct --extra top -o $(VENV)/lowest.txt pyproject.toml
	$(BIN)/uv pip compile $(COMPILE) -o requirements-lowest.lock --constraint $(VENV)/lowest.txt --extra top --group dev pyproject.toml
	$(BIN)/uv pip compile $(COMPILE) -o requirements-dist.lock --constraint requirements-dev.lock --group dist
	$(BIN)/uv pip compile $(COMPILE) -o requirements-docs.lock --constraint requirements-dev.lock --group docs
	$(BIN)/uv pip compile $(COMPILE) -o requirements-bench.lock --group bench
	$(BIN)/uv pip compile $(COMPILE) -o requirements-peers.lock --group peers
	$(BIN)/uv pip compile $(COMPILE) -o requirements-browser.lock --constraint requirements-dev.lock --group browser

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .venv-* dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

COMPILE := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# With the locked build backend, rather than with the newest that a build of its own would bring.
INSTALL := $(PIP) install --no-build-isolation --no-deps --editable .

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)

# What the program needs, and what its developers need: the latter holds the former.
$(VENV)/run: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@test -e $(VENV)/dev || { echo "installing the program into $(VENV) ..."; $(PIP) install -r requirements.lock; }
	@$(PIP) install -r requirements-build.lock
	@$(INSTALL)
	@touch $@

$(VENV)/dev: $(TESTED) requirements-build.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing the program and its tests' tools into $(VENV) ..."
	@$(PIP) install -r $(TESTED) -r requirements-build.lock
	@$(INSTALL)
	@touch $@ $(VENV)/run

# Drives Debian's chromium in the tests of the pages, and for their pictures.
$(VENV)/browser: requirements-browser.lock | $(VENV)/dev
	@$(PIP) install -r requirements-browser.lock
	@touch $@

$(VENV)/bench: requirements-bench.lock | $(VENV)/dev
	@$(PIP) install -r requirements-bench.lock
	@touch $@

$(VENV)/dist: requirements-dist.lock | $(VENV)/dev
	@$(PIP) install -r requirements-dist.lock
	@touch $@

# Types are checked with it, for docs/draw.py is one of ours.
$(VENV)/docs: requirements-docs.lock | $(VENV)/dev
	@$(PIP) install -r requirements-docs.lock
	@touch $@
