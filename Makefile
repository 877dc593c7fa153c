# Two commands from a bare clone: `make demo` and `make test`. Everything they need goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test lint clean
help:
	@echo "make demo    install, run the first twin, say where its report is"
	@echo "make test    install, then linters, types, import contracts and tests"
	@echo "make lint    linters, types and import contracts only"
	@echo "make clean   remove .venv and what tools left"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mpi,dev]'
	$(BIN)/python -m simulators.reaction.kernels
	@touch $@

install: .venv/installed

demo: install
	$(BIN)/twin run gastric_met_resistance --overwrite

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2 --dist loadfile

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache dist
