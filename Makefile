# make setup | train | test | test-kernels | test-faults | test-fuzz | test-gpu | lint | bench | bench-cpu | bench-gpu; ARGS="..." goes to the command, EXTRAS=cuda12|cuda13 to setup

PYTHON ?= python3
BIN := .venv/bin
comma := ,

.PHONY: setup train test test-kernels test-faults test-fuzz test-gpu lint bench bench-cpu bench-gpu

setup: .venv/dev
	$(if $(EXTRAS),$(BIN)/pip install -q -e '.[dev$(comma)$(EXTRAS)]')
	@echo "ready: $(BIN)/gpucnn --help"

train: .venv/run
	$(BIN)/gpucnn train --dataset digits $(ARGS)

test: .venv/dev
	$(BIN)/pytest $(ARGS)

test-kernels: .venv/dev
	$(BIN)/pytest tests/test_kernel_cases.py -n auto --draws 200 $(ARGS)

test-faults: .venv/dev
	$(BIN)/pytest tests/test_kill.py -s --timeout 1200 --kills 200 $(ARGS)

test-fuzz: .venv/dev
	$(BIN)/python bench/fuzz.py $(ARGS)

# with any Python that has what the tests import; nothing is installed: build/path holds kernels/ under its name
test-gpu bench-gpu: PYTHON = $(BIN)/python
test-gpu: build/path/gpucnn_kernels
	PYTHONPATH=build/path:. $(PYTHON) -m pytest -m gpu $(ARGS)

bench-gpu: build/path/gpucnn_kernels
	PYTHONPATH=build/path:. $(PYTHON) bench/gpu_all.py $(ARGS)

build/path/gpucnn_kernels:
	mkdir -p build/path
	ln -s ../../kernels $@

lint: .venv/dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

bench: .venv/dev
	$(BIN)/gpucnn reproduce --all --output-dir bench/results/claims $(ARGS)
	$(BIN)/python bench/report.py

bench-cpu: .venv/dev  # with EXTRAS=oracle once before it, or there is no PyTorch to compare with
	$(BIN)/python bench/cpu_step.py $(ARGS)

.venv/run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[plot]'
	@touch $@

.venv/dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[dev,sim]'
	@touch $@ .venv/run
