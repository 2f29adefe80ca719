# setup: build .venv; demo: the first table and page; test, check: what CI runs; bench: measurements
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup demo test check bench clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@echo "installing radhard into .venv (a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup
	@$(BIN)/radhard assess digits-cnn --format fp16 --faults 3000 --out runs/demo

test: setup
	@$(BIN)/pytest -n auto $(ARGS)

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv runs
