# Everything runs in .venv, which is made with the machine's python3 and redone only when pyproject.toml or
# uv.lock change. No target needs root, a running server or a variable.

PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
# What the checks read; `make lint FILES="domain/job.py"` narrows it.
FILES ?= domain application projections infrastructure tests $(wildcard src/jobledger/*.py examples benchmarks)

# Behind a company's certificate authority uv otherwise refuses the index that pip accepts.
export UV_SYSTEM_CERTS := 1
# uv works in .venv, whatever environment the caller has activated.
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format format-check types check bench soak clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with every dependency of uv.lock

$(STAMP): pyproject.toml uv.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@$(BIN)/uv sync --frozen --quiet --all-extras --all-groups
	@touch $@

demo: $(STAMP)  ## run the condominium example on real input (POSTGRES=1: on an embedded PostgreSQL)
	@$(BIN)/python -m examples.condominium $(if $(filter 1 yes true,$(POSTGRES)),--postgres)

# Many tests wait for processes that they started or killed: three run at a time, also on two cores. Those of a file stay
# together; the longest files begin first.
WORKERS ?= 3
test: $(STAMP)  ## run all tests, PostgreSQL ones included (TESTS=tests/unit narrows it, WORKERS=0: one at a time)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(STAMP)  ## lint FILES=... (default: everything)
	@$(BIN)/ruff check $(FILES)

format: $(STAMP)  ## rewrite FILES=... in the project's style
	@$(BIN)/ruff check --fix --select I $(FILES)
	@$(BIN)/ruff format $(FILES)

format-check: $(STAMP)
	@$(BIN)/ruff format --check $(FILES)

types: $(STAMP)  ## check the types (mypy, strict)
	@$(BIN)/mypy

check:  ## format, lint, types and tests: what has to pass before a commit
	@$(MAKE) --no-print-directory format-check
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory test

bench: $(STAMP)  ## run the benchmarks beside a raw psycopg loop; writes benchmarks/results/
	@$(BIN)/python -m benchmarks

# A soak of one's own; the one that `make test` runs is smaller and has a fixed seed.
SEED ?= $(shell date +%s)
JOBS ?= 40000
ACTS ?= 150
soak: $(STAMP)  ## kill, freeze and restart workers, rebuilds and servers for longer (SEED=1 JOBS=40000 ACTS=150 repeat or size it)
	@SOAK_SEED=$(SEED) SOAK_JOBS=$(JOBS) SOAK_ACTS=$(ACTS) SOAK_CUTS=60 SOAK_POISONS=4 KILL_ROUNDS=1000 \
		$(BIN)/python -m pytest -q tests/faults/test_soak.py tests/faults/test_rebuild.py tests/faults/test_http_kill.py

clean:  ## remove .venv, caches, builds and what the demo left behind
	@rm -rf $(VENV) var dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
