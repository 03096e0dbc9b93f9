# Set-up is done once, into .venv, from lock files with a hash for every package; stamp files remember it.
# uv is used where present and not needed.

SEED ?= 1
MINUTES ?= 5
UV := $(shell command -v uv)
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest --benchmark-disable -n 2 --doctest-modules
REAL_DATA := $(or $(BACKTEST_REAL_DATA),../shared/data)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: .venv/run.stamp .venv/warm.stamp ## compare strategies on a synthetic market (SEED=n)
	@$(BIN)/backtest demo --seed $(SEED)

test: lint .venv/warm.stamp ## lint, types, and the tests that are fast
	@$(PYTEST) -m "not slow" --ignore tests/bench tests backtest
	@$(real-data-note)

test-all: lint .venv/warm.stamp ## every test, the slow ones and the benchmarks too
	@$(PYTEST) --ignore tests/bench tests backtest
	@$(MAKE) --no-print-directory bench
	@$(real-data-note)

lint: .venv/test.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

fuzz: .venv/test.stamp ## compare kernel and oracle on random runs (SEED=n MINUTES=m, POOL=1: of several legs)
	@$(BIN)/python -m tests.engine.fuzz --seed $(SEED) --minutes $(MINUTES) $(if $(POOL),--pool)

bench: .venv/test.stamp ## speed, as ratios measured in one run
	@$(BIN)/python -m pytest tests/bench

lock: ## resolve the lock files anew (UPGRADE=1: take newer versions)
	@test -x build/lock/bin/pip-compile || { $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet pip-tools; }
	@$(call groups,build) > build/lock/build.in
	@$(call groups,test) > build/lock/test.in
	@$(COMPILE) --output-file requirements.lock pyproject.toml build/lock/build.in
	@$(COMPILE) --output-file requirements-test.lock requirements.lock build/lock/test.in

clean: ## remove what was made: .venv, caches, builds
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache

COMPILE = build/lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(if $(UPGRADE),--upgrade)
groups = $(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["$(1)"], sep="\n")'
real-data-note = test -d "$(REAL_DATA)" || echo "skipped: tests on real data (no $(REAL_DATA); set BACKTEST_REAL_DATA)"
install = $(if $(UV),uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r $(1) ||) \
	$(PIP) install --require-hashes -r $(1)

$(BIN)/python:
	@test -n "$(PYTHON)$(UV)" || { echo "needs Python 3.11 or newer with venv (Debian: python3-venv), or uv"; exit 1; }
	@$(if $(PYTHON),$(PYTHON) -m venv --clear .venv,uv venv --quiet --seed --python 3.11 .venv)

.venv/run.stamp: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setting up .venv (once)"
	@$(call install,requirements.lock)
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

.venv/test.stamp: requirements-test.lock pyproject.toml | $(BIN)/python
	@echo "setting up .venv for the tests (once)"
	@$(call install,requirements-test.lock)
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@ .venv/run.stamp

# The compiled code lies in the user's cache, under a hash of the engine's sources.
.venv/warm.stamp: $(wildcard backtest/engine/*.py backtest/engine/pool/*.py) backtest/schema.py
	@echo "compiling the replay (a minute or two, once)"
	@$(BIN)/python -m backtest.study.warm
	@touch $@

.NOTPARALLEL: # what compiles needs what is installed before it, whichever of the two lock files that is
.PHONY: help demo test test-all lint fuzz bench lock clean
.DELETE_ON_ERROR:
