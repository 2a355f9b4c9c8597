# The two commands: `make demo` and `make test`. Both do all the set-up; Python >= 3.10 is enough.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test lint types bench clean

help:
	@echo 'make demo    run the instrumented example on a real MongoDB; show its traces and metrics'
	@echo 'make test    run all tests'
	@echo 'make lint    run the linter and the formatter, as a check'
	@echo 'make types   run the type checker'
	@echo 'make bench   measure what a command costs'
	@echo 'make clean   remove the virtual environment and what tools left behind'

demo: .venv/installed
	$(BIN)/python examples/demo.py

test: .venv/installed
	$(BIN)/pytest --cov --cov-report=term

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python benchmarks/listener.py

clean:
	rm -rf .venv .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* dist site

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'Python 3.10 or newer is needed: make PYTHON=python3.12 ...'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev --editable .
	@touch $@
