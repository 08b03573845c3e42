# make install | demo | demo-real | test | test-full | bench | lint.  GPU=cu12 or GPU=cu13 installs the GPU kernels too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU ?=
CONSTRAINTS := constraints$(if $(GPU),-$(GPU)).txt
PYTEST_ARGS ?=
AREA ?= matang
PERIOD ?= 2020
LABELS ?=
BASE := $(VENV)/neocube-base
DEV := $(VENV)/neocube-dev
BENCH := $(VENV)/neocube-bench
KERNELS := $(VENV)/neocube-kernels

.PHONY: install demo demo-real test test-full bench lint constraints

# uv reads no pip settings: it is handed the index that pip is told to use. Where uv cannot be had or fails, pip does it.
define installed
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit(f"neocube needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make install PYTHON=python3.11")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "make: $(VENV) has no pip: install your system's venv package (Debian: python3-venv), remove $(VENV), try again"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv || echo "make: uv cannot be installed here"
	@index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"; \
	if test -n "$$index"; then export UV_DEFAULT_INDEX="$$index"; fi; \
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/uv pip install -c $(CONSTRAINTS) -e '$(1)' \
	|| { echo "make: uv failed, pip tries the same and takes some minutes"; $(BIN)/python -m pip install -c $(CONSTRAINTS) -e '$(1)'; }
	@test -z "$$PYTHONDONTWRITEBYTECODE" || { echo "make: bytecode of what the commands import"; env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c '$(IMPORTED)'; }
endef

# Where PYTHONDONTWRITEBYTECODE is set, every command would compile these thousand modules again; all that is installed would take three times as long.
IMPORTED := import flows.demo, flows.reconcile, flows.retire, flows.serve, prefect.server.api.server

comma := ,

install:
	$(call installed,.[dev$(comma)deep$(if $(GPU),$(comma)gpu-$(GPU))])
	@touch $(BASE) $(DEV)

$(DEV): pyproject.toml $(CONSTRAINTS)
	$(call installed,.[dev$(comma)deep$(if $(GPU),$(comma)gpu-$(GPU))])
	@touch $(BASE) $@

$(BENCH): pyproject.toml $(CONSTRAINTS)
	$(call installed,.[dev$(comma)deep$(comma)bench$(if $(GPU),$(comma)gpu-$(GPU))])
	@touch $(BASE) $(DEV) $@

$(BASE): pyproject.toml $(CONSTRAINTS)
	$(call installed,.$(if $(GPU),[gpu-$(GPU)]))
	@touch $@

# numba keeps compiled kernels by the file that names them, and would keep the old code of a kernel that another file calls.
$(KERNELS): $(wildcard products/*/*.py)
	@mkdir -p $(VENV)
	@find products -name '*.nb?' -delete
	@touch $@

demo: $(BASE) $(KERNELS)
	$(BIN)/neocube demo var/demo

# Sentinel-2 only: Landsat files behind Earth Search want a USGS account. Exit code 1 of ingest: some items are in quarantine.
demo-real: $(BASE) $(KERNELS)
	@echo "This reads Sentinel-2 scenes over the network, from the open Earth Search archive."
	$(BIN)/neocube init
	$(BIN)/neocube ingest earth-search --collection sentinel-2-l2a --area $(AREA) --period $(PERIOD) || test $$? -eq 1
	$(BIN)/neocube plan mangrove_features --area $(AREA) --period $(PERIOD)
	$(BIN)/neocube build mangrove_features --area $(AREA) --period $(PERIOD)
ifeq ($(LABELS),)
	@echo "The cube is built. A model needs labels of this coast, such as Global Mangrove Watch: make demo-real LABELS=FILE"
else
	$(BIN)/neocube train mangrove_extent --area $(AREA) --period $(PERIOD) --labels "$(LABELS)"
	$(BIN)/neocube map mangrove_extent --area $(AREA) --period $(PERIOD)
endif

test: $(DEV) $(KERNELS)
	$(BIN)/pytest -m 'not full' $(PYTEST_ARGS)

test-full: $(DEV) $(KERNELS)
	$(BIN)/pytest $(PYTEST_ARGS)

bench: $(BENCH) $(KERNELS)
	$(BIN)/python tests/bench/run.py

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --no-annotate --python-version 3.11 --custom-compile-command "make constraints" --extra dev --extra bench --extra deep --extra explain --extra export --extra tune --extra track --extra notebooks
CUDA = --python-platform x86_64-unknown-linux-gnu

constraints:
	$(COMPILE) --universal -o constraints.txt
	$(COMPILE) $(CUDA) --extra gpu-cu12 -o constraints-cu12.txt
	$(COMPILE) $(CUDA) --extra gpu-cu13 -o constraints-cu13.txt
