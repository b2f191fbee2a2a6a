# Everything here sets itself up from Python 3.11+, make and git, into .venv in the checkout.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-fast test-faults lint types docs bench clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headrace needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@echo "Installing Headrace and its libraries into $(VENV) (about 6 GB with torch; once)"
	@if [ -t 2 ]; then quiet=; else quiet=--quiet; fi; \
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install $$quiet -c constraints.txt -e '.[all,dev]'
	@touch $@

setup: $(STAMP) ## Install everything into .venv

demo: $(STAMP) ## Broker, router, executors, real models, a few thousand queries
	@$(BIN)/headrace demo

test: $(STAMP) ## Tests, real Kafka and faults included; not the few that are marked slow
	@$(BIN)/python -m pytest -m "not slow"

test-all: $(STAMP) ## Every test
	@$(BIN)/python -m pytest

test-fast: $(STAMP) ## Only what needs no broker and no models
	@$(BIN)/python -m pytest -m "not kafka and not models and not faults"

test-faults: $(STAMP) ## Only the kill -9 half
	@$(BIN)/python -m pytest -m faults

lint: $(STAMP) ## ruff: style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

docs: $(STAMP) ## Regenerate the pages that come from tables in code
	@$(BIN)/headrace docs generate

clean: ## Remove .venv and build leftovers (downloaded broker jars stay in the user's cache)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist build *.egg-info
