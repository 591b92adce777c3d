# `make help` lists the targets. All of them use .venv, which the first one builds from the lock files.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help run test test-slow fuzz kill damage lint format schema lock clean

# All tests run in as many processes as there are cores, a file in each; a selection starts faster in one process.
PARALLEL = $(if $(ARGS),,--numprocesses auto --maxprocesses 8 --dist loadfile)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Train on the digits, test the best checkpoint; with options: make run ARGS="--seed_everything 1"
	$(BIN)/lightning fit --config configs/digits.yaml $(ARGS)

test: $(VENV)/.dev ## Run the quick tests; a selection: make test ARGS="-k stem"
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-slow: $(VENV)/.dev ## Run the slow tests: whole trainings, several processes, real data
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

fuzz: $(VENV)/.dev ## Mutate configs, command lines and checkpoints at random: make fuzz ARGS="--cases 2000 --seed 1"
	$(BIN)/python tests/fuzz_command_line.py $(ARGS)

kill: $(VENV)/.dev ## Kill trainings at random moments, resume and compare them: make kill ARGS="--kills 100 --seed 1"
	$(BIN)/python tests/kill_runs.py $(ARGS)

damage: $(VENV)/.dev ## Damage files of runs at random and run commands on them: make damage ARGS="--cases 500 --seed 1"
	$(BIN)/python tests/damage_runs.py $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/.run ## Write configs/schema.json, with which editors check the configs
	$(BIN)/lightning fit --print_schema > $(VENV)/schema.json
	mv $(VENV)/schema.json configs/schema.json

lock: ## Lock the dependencies to their newest releases, with hashes (needs uv)
	uv pip compile pyproject.toml --group build $(LOCK) --output-file requirements.lock
	uv pip compile pyproject.toml --group build --extra dev $(LOCK) --output-file requirements-dev.lock
LOCK = --universal --upgrade --generate-hashes --no-annotate --custom-compile-command "make lock" --quiet

clean: ## Remove the environment and the caches, but not runs or data
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache

# The package alone for `make run`, and the development tools too for the rest. Every file is checked against its hash.
$(VENV)/.run: pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml requirements-dev.lock | $(BIN)/python
	$(BIN)/python -m pip install --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
