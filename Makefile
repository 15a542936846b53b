# `make demo` and `make test` do all the set-up themselves: no root, no Docker.
PYTHON ?= python3
VENV ?= .venv
PACS ?= embedded
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint format docs bench install

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23.2"
	@echo "installing what dicomnode needs (torch is the largest part) ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,train]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/dicomnode demo --out demo_out --pacs $(PACS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

# What CI runs: style, types, imports, tests.
check: lint test

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Tables in documents that are written from the code; a test fails when they fall behind.
docs: $(READY)
	$(BIN)/python -m dicomnode.conformance docs/conformance.md
	$(BIN)/python -m dicomnode.sql_reference docs/sql.md

bench: $(READY)
	$(BIN)/python benchmarks/receive.py --quick
	$(BIN)/python benchmarks/volume.py
	$(BIN)/python benchmarks/flow.py
