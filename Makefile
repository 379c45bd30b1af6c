# Development tasks. `make` prints the list.
#
# All targets use one virtual environment (.venv). Each stamp file in it stands for one set of dependencies, and is
# updated when pyproject.toml has changed. Only make and Python 3.10 or newer are needed; with Java and Maven, the tests
# also run against Apache Kafka.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
# Container images set it; then each of the many Python processes of the tests would compile all modules.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

# The Python of the environment: PYTHON=..., or the first one found that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3.10 python3 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then echo $$p; break; fi; done)
PYTHONS := 3.10 3.11 3.12 3.13 3.14

# The number of test processes; each starts the brokers that its tests need.
JOBS ?= 2
# Additional arguments for pytest or the benchmark: make test-fast ARGS='-k windows'.
ARGS ?=

# Duration and seed of chaos: the same values give the same list of faults.
DURATION ?= 3m
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check --use-pep517
# A test process that dies ends the run: pytest-xdist would wait for its tests forever.
WORKERS := --numprocesses=$(JOBS) --dist=loadgroup --max-worker-restart=0
PYTEST := $(BIN)/python -m pytest $(WORKERS)
# Property tests run a fifth of their examples. Directories are in memory if there is room: RocksDB waits for disks.
MEMORY := $(shell df -k /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { print "/dev/shm" }')
FAST := -m 'not broker and not slow' --hypothesis-profile=fast

# Print a line: bold on a terminal, plain elsewhere.
say = if [ -t 1 ] && [ -z "$${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m\n' "$(1)"; else printf '%s\n' "$(1)"; fi

.PHONY: help
help:
	@echo 'Tidemill: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## process a year of flights; BROKER=host:port uses an existing Kafka, KILL=1 kills the application several times
	@BROKER='$(BROKER)' KILL='$(KILL)' $(BIN)/python examples/flights/demo.py

# Spark is large, so it has an environment of its own.
LAKE := .venvs/lake
.PHONY: lake
lake: $(LAKE)/.made ## flights into Iceberg, Delta and Parquet, asked by Spark SQL and DuckDB; KILL=1 kills the program on the way
	@BROKER='$(BROKER)' KILL='$(KILL)' $(LAKE)/bin/python examples/lake/demo.py --jars $(LAKE)/jars

$(LAKE)/.made: pyproject.toml
	@$(call say,Making an environment with Spark in $(LAKE) (minutes the first time))
	@[ -x $(LAKE)/bin/python ] || '$(PYTHON)' -m venv $(LAKE)
	@$(LAKE)/bin/python -m pip install $(PIP_FLAGS) -e '.[demo,iceberg,delta,parquet,snapshots]' 'duckdb>=1.2' 'pyspark==4.1.1'
	@for jar in org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0 org.xerial:sqlite-jdbc:3.50.3.0 \
		io.delta:delta-spark_4.1_2.13:4.1.0 io.delta:delta-storage:4.1.0; do \
		mvn -q -B dependency:copy -Dartifact=$$jar -DoutputDirectory='$(CURDIR)/$(LAKE)/jars'; done
	@touch $@

.PHONY: test
test: check kafka ## style, types and all tests (minutes)
	@$(call say,Running all tests)
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## tests that need no broker (about a minute)
	@TMPDIR=$${TMPDIR:-$(MEMORY)} $(PYTEST) $(FAST) $(ARGS)

.PHONY: properties
properties: $(VENV)/.dev ## the property tests with ten times the examples, other ones each time (an hour)
	@$(PYTEST) -m hypothesis --hypothesis-profile=more --timeout=3600 $(ARGS)

.PHONY: test-snapshots
test-snapshots: $(VENV)/.dev kafka ## tests that kill processes, with durability="snapshot" (minutes)
	@TIDEMILL_TEST_DURABILITY=snapshot $(PYTEST) -m without_changelogs $(ARGS)

.PHONY: test-pythons
test-pythons: ## fast tests on each supported Python of this machine
	@passed=; failed=; for version in $(PYTHONS); do \
		for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
			if "$$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then \
				if $(MAKE) .test-python VERSION=$$version WITH="$$python"; \
				then passed="$$passed $$version"; else failed="$$failed $$version"; fi; continue 2; \
			fi; \
		done; \
		$(call say,Python $$version is not installed); \
	done; \
	$(call say,The fast tests pass on Python$${passed:- none}$${failed:+ and fail on$$failed}); \
	[ -z "$$failed" ]

.PHONY: test-floors
test-floors: $(VENV)/.dev ## fast tests with the oldest dependencies that pyproject.toml allows
	@mkdir -p .venvs
	@$(BIN)/python .ci/floors.py > .venvs/floors.txt
	@$(call say,The oldest dependencies: $$(tr '\n' ' ' < .venvs/floors.txt))
	@$(MAKE) .test-python VERSION=floors WITH='$(PYTHON)' CONSTRAINTS='--constraint .venvs/floors.txt'

.PHONY: test-wheel
test-wheel: $(VENV)/.dev ## the wheel alone in a clean environment of every supported Python of this machine
	@rm -rf .venvs/wheel && mkdir -p .venvs/wheel
	@$(BIN)/python -m pip wheel $(PIP_FLAGS) --no-deps --wheel-dir .venvs/wheel .
	@for version in $(PYTHONS); do \
		for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
			if "$$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then \
				"$$python" -m venv --clear .venvs/clean-$$version; \
				.venvs/clean-$$version/bin/python -m pip install $(PIP_FLAGS) .venvs/wheel/tidemill-*.whl; \
				.venvs/clean-$$version/bin/python -m pip check --disable-pip-version-check >/dev/null; \
				.venvs/clean-$$version/bin/python -I .ci/try_installed.py; continue 2; \
			fi; \
		done; \
		$(call say,Python $$version is not on this machine); \
	done

.PHONY: free-threaded
free-threaded: $(VENV)/.dev ## which dependencies have wheels for free-threaded Pythons, and the fast tests where there is one
	@$(BIN)/python .ci/free_threaded.py 3.13 3.14
	@for python in python3.14t python3.13t "$$HOME"/.pyenv/versions/3.1[34]*t/bin/python; do \
		if "$$python" -c 'import sys; sys.exit(sys._is_gil_enabled())' >/dev/null 2>&1; then \
			$(MAKE) .test-python VERSION=free-threaded WITH="$$python"; exit; \
		fi; \
	done; \
	$(call say,There is no free-threaded Python on this machine to run the tests on)

.PHONY: .test-python
.test-python:
	@$(call say,Installing for $$('$(WITH)' -V) in .venvs/$(VERSION))
	@[ -x .venvs/$(VERSION)/bin/python ] || '$(WITH)' -m venv .venvs/$(VERSION)
	@.venvs/$(VERSION)/bin/python -m pip install $(PIP_FLAGS) $(CONSTRAINTS) -e '.[tests]'
	@.venvs/$(VERSION)/bin/python -m pytest $(WORKERS) $(FAST) -q $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## style and types, without tests
	@$(call say,Checking style and types)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

.PHONY: golden
golden: $(VENV)/.dev ## write the golden files of the code that is generated for folds
	@$(BIN)/python -m tests.support.golden

.PHONY: golden-state
golden-state: $(VENV)/.dev ## add an archive of state in the current format, if it is new
	@$(BIN)/python -m tests.support.golden_state

.PHONY: format
format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: reference
reference: $(VENV)/.dev ## write files that are generated from the code: pages of docs/, and the arguments of App
	@$(BIN)/python -m tidemill.engine.cli.reference .
	@$(BIN)/python -m tests.docs.api_pages

.PHONY: docs
docs: $(VENV)/.docs ## build the site of the documentation in site/, with search; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir '$(or $(SITE),site)'
	@$(call say,The site is in $(or $(SITE),site)/index.html)

# SEED=17 runs only the schedule of that seed and prints all its events; FIRST is the first of SEEDS.
SEEDS ?= 5000
FIRST ?= 0
SEED ?=
.PHONY: simulate
simulate: $(VENV)/.dev ## simulate processes, crashes and a broker in virtual time; SEEDS=5000 schedules, SEED=17 prints one
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

# SEED=17 runs only that seed and prints its programs, reduced if they fail. SEEDS=20000 takes hours.
.PHONY: fuzz
fuzz: $(VENV)/.dev ## check that results of random programs do not depend on how they run; SEEDS=5000 programs, SEED=17 prints one
	@$(BIN)/python -m tests.random_programs $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

.PHONY: bench
bench: $(VENV)/.bench ## run the benchmark; ARGS are arguments of `python -m bench` (ARGS=--help lists them)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## inject faults with three brokers and verify all results; DURATION=8h SEED=1, ARGS for `python -m tests.chaos`
	@$(BIN)/python -m tests.chaos --duration '$(DURATION)' $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: kafka
kafka: $(VENV)/.dev ## install the Kafka that the tests use, and print its version
	@$(BIN)/python -m tests.brokers

.PHONY: venv
venv: $(VENV)/.dev ## create the development environment in .venv

.PHONY: clean
clean: ## delete everything that make has created (except Kafka in the user's cache)
	@rm -rf .venv .venvs build dist site tidemill.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The empty environment. The link in src/ lets the type checker find this folder by the name of the package.
$(VENV)/.made:
	@[ -n '$(PYTHON)' ] || { echo 'Python 3.10 or newer was not found. Install it, or run make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(call say,Creating the virtual environment in $(VENV) with $$('$(PYTHON)' -V))
	@'$(PYTHON)' -m venv $(VENV)
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/tidemill
	@touch $@

$(VENV)/.dev $(VENV)/.demo $(VENV)/.bench $(VENV)/.docs: $(VENV)/.made pyproject.toml
	@$(call say,Installing Tidemill and the dependencies of '$(subst .,,$(@F))' (about a minute the first time))
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[$(subst .,,$(@F))]'
	@touch $@
