# What a developer does with Tidemill. `make` alone prints the list.
#
# One virtual environment (.venv) serves everything; each stamp in it says which dependencies are installed, and a target installs again only
# when pyproject.toml changed. A machine needs a Python from 3.10 upward and make; with Java and Maven the tests use the real Apache Kafka.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The Python that makes the environment: the one asked for by PYTHON=..., or the first that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3 python; do \
    if $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then echo $$p; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

# Colour only where a person reads it.
BOLD := $(shell [ -t 1 ] && printf '\033[1m')
DIM := $(shell [ -t 1 ] && printf '\033[2m')
PLAIN := $(shell [ -t 1 ] && printf '\033[0m')
say = printf '%s\n' '$(BOLD)$(1)$(PLAIN)'

.PHONY: venv
venv: $(VENV)/.dev ## make the development environment in .venv

# The empty environment. The link in src/ lets the type checker find this folder under the package's name.
$(VENV)/.made:
	@[ -n '$(PYTHON)' ] || { echo 'No Python from 3.10 upward was found. Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(call say,Making the virtual environment in $(VENV) with $(PYTHON) ($(shell $(PYTHON) -V 2>&1)))
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/tidemill
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@$(call say,Installing Tidemill and what its tests need (a minute or two the first time))
	@$(PIP) -e '.[dev]'
	@touch $@
