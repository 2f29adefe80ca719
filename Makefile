# setup: build .venv; demo: the first table and page; test, check: what CI runs; bench: measurements
# survival: processes killed and bits flipped, many times (half an hour)
# fuzz: each reader of files is given 10,000 that are damaged or crafted
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup demo test check bench survival fuzz clean

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

survival: setup
	@$(BIN)/python tests/survival/killed.py --rounds 100
	@$(BIN)/python tests/survival/flipped.py --rounds 1000

fuzz: setup
	@$(BIN)/python tests/fuzz/judge.py --inputs 10000 $(ARGS)

clean:
	rm -rf .venv runs
