# `make check` is the one command: format, lint, types, import contracts, tests with doctests.
# Everything runs in .venv, which is made on first use.

PYTHON ?= python3
BIN := .venv/bin

# One thread: OpenMP's own threads slow small work down and make timings meaningless.
export OMP_NUM_THREADS := 1

.PHONY: check lint test slow coverage format

check: lint test

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/installed
	$(BIN)/python -m pytest

slow: .venv/installed
	$(BIN)/python -m pytest -m slow

coverage: .venv/installed
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --skip-covered

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@
