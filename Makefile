# `make demo` and `make test` do all the set-up themselves: no root, no Docker.
PYTHON ?= python3
VENV ?= .venv
PACS ?= embedded
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint format docs bench soak fuzz install install-locked lock sbom licences audit

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23.2"
	@echo "installing what dicomnode needs: some minutes, torch is the largest part"
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,train]'
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

# A long night: 20,000 instances in 200 studies while workers are killed; SOAK="--studies 40 ..." for less.
soak: $(READY)
	$(BIN)/python benchmarks/soak.py $(SOAK)

# Coverage-guided fuzzing of all that peers send: FUZZ_S seconds for each target, FUZZ="hl7 rules" for some.
FUZZ ?= $(notdir $(wildcard tests/fuzz/corpus/*))
FUZZ_S ?= 60
fuzz: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]'
	for one in $(FUZZ); do \
		nice -n 5 $(BIN)/python -m tests.fuzz.fuzz $$one --seconds $(FUZZ_S) --out fuzz_out || exit 1; \
	done

# What is installed, to the byte: versions and SHA-256 of every file (`requirements.lock`); with JPEG=1
# the decoder of JPEG Lossless too, which is GPL v3.
install-locked:
	$(PYTHON) -m venv $(VENV)
	@echo "installing what requirements.lock names: some minutes, torch is the largest part"
	$(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(if $(JPEG),$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-jpeg.lock)
	$(BIN)/python -m pip install --quiet --no-deps .

# The tools below stay out of the node's own environment.
TOOLS ?= .tools
TOOL := $(TOOLS)/bin

$(TOOL)/uv:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOL)/python -m pip install --quiet uv==0.13.8 cyclonedx-bom==7.5.0 pip-licenses==5.5.5 pip-audit==2.10.1

lock: $(TOOL)/uv
	$(TOOL)/uv pip compile --quiet pyproject.toml -c constraints.txt --generate-hashes \
		--python-version 3.11 --no-header -o requirements.lock
	echo pylibjpeg-libjpeg | $(TOOL)/uv pip compile --quiet - -c constraints.txt --generate-hashes --no-deps \
		--python-version 3.11 --no-header --no-annotate -o requirements-jpeg.lock

# CycloneDX, of what the lock file names.
sbom: $(TOOL)/uv
	$(TOOL)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --of JSON -o sbom.cdx.json

licences: $(READY) $(TOOL)/uv
	$(TOOL)/pip-licenses --python $(BIN)/python --format=markdown --with-urls --with-system \
		--packages $$(grep -oE '^[A-Za-z0-9_.-]+==' requirements.lock | tr -d '=')

# Known vulnerabilities; asks pypi.org.
audit: $(TOOL)/uv
	$(TOOL)/pip-audit --requirement requirements.lock --disable-pip --require-hashes
