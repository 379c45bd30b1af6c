# What a developer does with Tidemill. `make` alone prints the list.
#
# One virtual environment (.venv) serves everything. Each stamp in it stands for one set of dependencies, and is made
# again only when pyproject.toml changed. A machine needs make and a Python from 3.10 upward, no more; where it has Java
# and Maven too, the tests run against the real Apache Kafka.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The Python that makes the environment: PYTHON=..., or the first found that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then echo $$p; break; fi; done)
PYTHONS := 3.10 3.11 3.12 3.13

# Tests run in this many processes; each starts the brokers that its tests ask for.
JOBS ?= 2
# More arguments for pytest or the benchmark: make test-fast ARGS='-k windows'.
ARGS ?=

# How long chaos goes on, and what it begins with: the same seed and duration is the same list of faults.
DURATION ?= 3m
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --use-pep517
# A test process that dies ends the run: pytest-xdist would wait for ever for the tests that it had.
PYTEST := $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadgroup --max-worker-restart=0

# A line for a person: bold on a terminal, plain elsewhere.
say = if [ -t 1 ] && [ -z "$${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m\n' "$(1)"; else printf '%s\n' "$(1)"; fi

.PHONY: help
help:
	@echo 'Tidemill: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## a year of flights through a topology; BROKER=host:port uses a Kafka of yours, KILL=1 kills it on the way
	@BROKER='$(BROKER)' KILL='$(KILL)' $(BIN)/python examples/flights/demo.py

.PHONY: test
test: check kafka ## everything: style, types, all tests (minutes)
	@$(call say,Running all tests)
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## the tests that need no broker (under a minute)
	@$(PYTEST) -m 'not broker and not slow' $(ARGS)

.PHONY: test-pythons
test-pythons: ## the fast tests on every supported Python of this machine
	@passed=; failed=; for version in $(PYTHONS); do \
		for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
			if "$$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then \
				if $(MAKE) .test-python VERSION=$$version WITH="$$python"; \
				then passed="$$passed $$version"; else failed="$$failed $$version"; fi; continue 2; \
			fi; \
		done; \
		$(call say,Python $$version is not on this machine); \
	done; \
	$(call say,The fast tests pass on Python$${passed:- none}$${failed:+ and fail on$$failed}); \
	[ -z "$$failed" ]

.PHONY: test-floors
test-floors: $(VENV)/.dev ## the fast tests with the oldest dependencies that pyproject.toml allows
	@mkdir -p .venvs
	@$(BIN)/python .ci/floors.py > .venvs/floors.txt
	@$(call say,The oldest dependencies: $$(tr '\n' ' ' < .venvs/floors.txt))
	@$(MAKE) .test-python VERSION=floors WITH='$(PYTHON)' CONSTRAINTS='--constraint .venvs/floors.txt'

.PHONY: .test-python
.test-python:
	@$(call say,Installing for $$('$(WITH)' -V) in .venvs/$(VERSION))
	@[ -x .venvs/$(VERSION)/bin/python ] || '$(WITH)' -m venv .venvs/$(VERSION)
	@.venvs/$(VERSION)/bin/python -m pip install $(PIP_FLAGS) $(CONSTRAINTS) -e '.[tests]'
	@.venvs/$(VERSION)/bin/python -m pytest --numprocesses=$(JOBS) -m 'not broker and not slow' -q $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## style and types, without tests
	@$(call say,Checking style and types)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

.PHONY: format
format: $(VENV)/.dev ## put the code into its standard form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# SEED=17 runs the schedule of that seed alone and prints everything that happens in it; FIRST is where SEEDS begin.
SEEDS ?= 5000
FIRST ?= 0
SEED ?=
.PHONY: simulate
simulate: $(VENV)/.dev ## processes, crashes and a broker in virtual time; SEEDS=5000 schedules, SEED=17 tells of one
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

# SEED=17 runs one seed alone and prints its programs, made small where they fail. SEEDS=20000 takes hours.
.PHONY: fuzz
fuzz: $(VENV)/.dev ## random programs, run in all ways that must not matter; SEEDS=5000 of them, SEED=17 shows one
	@$(BIN)/python -m tests.random_programs $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

.PHONY: bench
bench: $(VENV)/.bench ## measure the engine; ARGS are for `python -m bench` (ARGS=--help lists them)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## faults without end against three brokers, and the proof; DURATION=8h SEED=1, ARGS for `python -m tests.chaos`
	@$(BIN)/python -m tests.chaos --duration '$(DURATION)' $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: kafka
kafka: $(VENV)/.dev ## get the Kafka that the tests use, and say which it is
	@$(BIN)/python -m tests.brokers

.PHONY: venv
venv: $(VENV)/.dev ## make the development environment in .venv

.PHONY: clean
clean: ## remove all that make has made (not the Kafka in the user's cache)
	@rm -rf .venv .venvs build dist tidemill.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The empty environment. The link in src/ lets the type checker find this folder under the package's name.
$(VENV)/.made:
	@[ -n '$(PYTHON)' ] || { echo 'No Python from 3.10 upward was found. Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(call say,Making the virtual environment in $(VENV) with $$('$(PYTHON)' -V))
	@'$(PYTHON)' -m venv $(VENV)
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/tidemill
	@touch $@

$(VENV)/.dev $(VENV)/.demo $(VENV)/.bench: $(VENV)/.made pyproject.toml
	@$(call say,Installing Tidemill with what '$(subst .,,$(@F))' needs (a minute or so the first time))
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[$(subst .,,$(@F))]'
	@touch $@
