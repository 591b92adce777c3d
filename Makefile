# `make help` lists what can be made. Everything happens in .venv, which the first command builds.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Train on the digits, test the best checkpoint; more options: make run ARGS="--seed_everything 1"
	$(BIN)/lightning fit --config configs/digits.yaml $(ARGS)

test: $(VENV)/.dev ## Run the quick tests; one of them: make test ARGS="-k stem"
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-slow: $(VENV)/.dev ## Run the slow tests: whole trainings, several processes, real data
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and the caches, but not runs or data
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache

# The package alone for `make run`, with the tools of development for the rest, at the versions it was tested with.
$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
