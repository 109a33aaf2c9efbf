# `make help` lists the targets. Only Python 3.11+ and make are needed; everything else is fetched into
# this checkout by `make setup`.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp

# A test run starts a hundred Pythons: they may keep what they compiled, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-fast coverage check format lock faults simulate documents bench clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from the locked requirements (seconds; nothing when it is up to date)

UV = $$(command -v uv || echo .tools/bin/uv)

$(STAMP): requirements.lock pyproject.toml
	@command -v uv >/dev/null || test -x .tools/bin/uv || \
	  { $(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --editable .
	@touch $(STAMP)

demo: setup ## run the main job on the sample data, against real embedded servers
	$(BIN)/tenantctl demo $(ARGS)

SHARED = -n 3 --dist loadfile --no-loadscope-reorder

test: setup ## run all tests
	$(BIN)/pytest $(SHARED) $(ARGS)

test-fast: setup ## the domain, the sagas and the read models, which need no server: seconds
	$(BIN)/pytest tests/domain tests/sagas tests/projections $(ARGS)

coverage: setup ## run all tests and measure; fails below 90 %, of lines with branches and of branches alone
	$(BIN)/pytest $(SHARED) --cov --cov-report=term --cov-report=json:.coverage.json $(ARGS)
	$(BIN)/python -m tests.support.branches .coverage.json 90

check: setup ## formatting, lint, strict types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_CACHE_DIR=.tools/pyright PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports

format: setup ## format and sort imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

faults: setup ## a long round of kills, stops and restarts under load (SECONDS=600)
	$(BIN)/python -m tests.faults --seconds $(or $(SECONDS),600)

simulate: setup ## simulated schedules of the saga runner (SEEDS=10000, ALL=1), or one told (SEED=334, PLAN='…')
	$(if $(ALL),SIMULATION_BREADTH=6 $(BIN)/pytest -n 2 tests/simulation && )$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(PLAN),--plan '$(PLAN)') --seeds $(or $(SEEDS),10000)

documents: setup ## check AsyncAPI and OpenAPI by their official parsers; fails where npm has no registry
	DOCUMENTS=required $(BIN)/pytest tests/documents $(ARGS)

bench: setup ## one table of ratios, side by side on this machine
	$(BIN)/python -m tests.benchmarks

lock: ## compile requirements.lock again from pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --output-file requirements.lock pyproject.toml

clean: ## remove everything that setup, demo and tests made
	rm -rf .venv .tools .data build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
