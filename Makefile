# `make demo` and `make test` set up everything they need in .venv, from nothing but Python 3.11+ and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope

.PHONY: demo test test-all test-lowest lint stubs clean

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "convsmith needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python examples/demo.py demo

test: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# A test a core, with one thread each; what is set up for a file is set up once. The slowest are named.
	# Those marked slow come last, as many as begin within 11 minutes in all: each day other ones.
	begun=$$(date +%s); $(RUN_TESTS) -m "not slow" --durations=30 --durations-min=3 && \
	$(RUN_TESTS) -m slow --budget $$((660 - $$(date +%s) + begun))

test-all: $(VENV)/.ready
	$(RUN_TESTS) --durations=40 --durations-min=3

lint: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# What editors know of names that are imported on first use.
stubs: $(VENV)/.ready
	$(BIN)/python tools/stubs.py

# The tests with the lowest versions that pyproject.toml declares, in an environment of their own.
test-lowest:
	$(PYTHON) tools/lowest.py dev > .lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade pip
	.venv-lowest/bin/python -m pip install --quiet --constraint .lowest.txt -e '.[dev]'
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n auto --dist loadscope

clean:
	rm -rf $(VENV) .venv-lowest .lowest.txt demo
