# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
#
# Every command of the project. `make` alone prints them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The distribution's Python, whatever version manager stands first on PATH.
PYTHON ?= /usr/bin/python3

# What is slow to make and never changes lives outside the tree, named by the hash of what it is made from.
HERALD_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/herald
export HERALD_CACHE

VENV_ID := $(shell { $(PYTHON) -VV; cat requirements/dev.txt; } 2>/dev/null | sha256sum | cut -c1-16)
VENV := $(HERALD_CACHE)/venv-$(VENV_ID)
COLLECTIONS := build/collections
COLLECTION := $(COLLECTIONS)/ansible_collections/baremetal/herald
JUNIT := build/junit

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(COLLECTIONS)
# A copy of the collection in the home folder would be taken for the one that is here.
export ANSIBLE_HOME := $(CURDIR)/build/ansible

# Everything that is, or is about to be, in the repository; scripts are known by their first line.
FILES = git ls-files --cached --others --exclude-standard
SCRIPTS = $$($(FILES) -z | xargs -0 awk 'FNR == 1 { if (/^\#!.*[\/ ]$(1)([ 0-9.]|$$)/) print FILENAME; nextfile }' 2>/dev/null)
SHELL_SCRIPTS = $(call SCRIPTS,(ba)?sh)
PYTHON_SCRIPTS = $(call SCRIPTS,python)
C_FILES = $$($(FILES) 'bpf/*.c' 'bpf/*.h')

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z][a-z0-9-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## See it run (as root; everything stays in network namespaces of the lab's own)

.PHONY: demo lab-up lab-down
demo: prepare build ## A cluster of three nodes, Herald by its playbook, and a failover under the outage meter
	tests/lab/demo

lab-up: prepare ## Bring up the lab alone: control plane, three bare nodes, a client
	tests/lab/lab up

lab-down: venv ## Remove the lab and all it made
	tests/lab/lab down

## Check (fast, needs no root)

SHFMT := --indent 2 --binary-next-line --case-indent

LINTS := lint-python lint-types lint-layers lint-yaml lint-ansible lint-docs lint-shell lint-c lint-changes

.PHONY: check fmt unit $(LINTS)
check: venv ## Formatters, linters, types, layers and unit tests
	@$(MAKE) --jobs=2 --output-sync=target --keep-going $(LINTS) unit
	@echo "make check: all passed"

fmt: venv ## Format everything
	@ruff check --quiet --fix-only . $(PYTHON_SCRIPTS)
	@ruff format --quiet . $(PYTHON_SCRIPTS)
	@shfmt $(SHFMT) --write $(SHELL_SCRIPTS)
	@clang-format -i $(C_FILES)
	@scripts/role-readmes

lint-python: venv
	@ruff format --check --output-format concise . $(PYTHON_SCRIPTS) || { echo "run: make fmt"; exit 1; }
	@ruff check --quiet --output-format concise . $(PYTHON_SCRIPTS)

lint-types: venv
	@mypy --no-error-summary

lint-layers: venv
	@cd agent/src && said=$$(lint-imports --config ../../pyproject.toml --no-logo \
	  --cache-dir ../../build/cache/import-linter 2>&1) || { echo "$$said"; exit 1; }

lint-yaml: venv
	@yamllint --strict .

lint-ansible: venv
	@ansible-lint --offline --nocolor -q

lint-docs: venv
	@scripts/role-readmes --check
	@antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self .

lint-shell: venv
	@shfmt $(SHFMT) --diff $(SHELL_SCRIPTS) || { echo "run: make fmt"; exit 1; }
	@shellcheck $(SHELL_SCRIPTS)

lint-c: venv
	@clang-format --dry-run --Werror $(C_FILES) || { echo "run: make fmt"; exit 1; }

lint-changes: venv
	@antsibull-changelog lint

unit: venv
	@mkdir -p $(JUNIT)
	@pytest -q --timeout 20 --junit-xml=$(JUNIT)/unit.xml tests/unit

## Test (as root)

STAGES ?= check sanity bpf sim model e2e molecule

.PHONY: test sanity bpf bpf-frames sim sim-mutants model model-full e2e faults molecule bench interruptions
test: ## Everything: check, BPF, simulation, model, e2e in the lab, molecule; JUnit files in build/junit/
	@scripts/run-tests $(STAGES)

sanity: build ## The built collection, installed: ansible-test sanity and units
	@mkdir -p $(JUNIT)
	@pytest -q --junit-xml=$(JUNIT)/sanity.xml tests/collection

bpf: packages venv ## The responder against golden frames, in the kernel
	@mkdir -p $(JUNIT)
	@pytest -q -n 2 --junit-xml=$(JUNIT)/bpf.xml tests/bpf

bpf-frames: packages venv ## A million random frames against a reference in Python, in some minutes (FRAMES=, SEED=)
	@HERALD_FRAMES=$(or $(FRAMES),1000000) $(if $(SEED),HERALD_SEED=$(SEED) )pytest -q -s tests/bpf/test_random.py

sim: venv ## The whole cluster simulated (SEEDS=10000: so many schedules; SEED=17, MUTANT=no-margin: that one)
	@mkdir -p $(JUNIT)
ifneq ($(MUTANT),)
	@HERALD_MUTANT=$(MUTANT) pytest -q -s tests/sim/test_mutants.py -k caught
else ifneq ($(SEED),)
	@# What hypothesis draws hangs on which modules are there, too: all of the folder's are collected.
	@HERALD_SEED=$(SEED) pytest -q tests/sim -k invariants_hold
else
	@$(if $(SEEDS),HERALD_SEEDS=$(SEEDS) )pytest -q -n auto --junit-xml=$(JUNIT)/sim.xml tests/sim
endif

sim-mutants: venv ## The rules that the simulation breaks on purpose, one at a time
	@PYTHONPATH=.:agent/src .venv/bin/python -m tests.sim.mutants

model: packages venv ## The election's protocol, checked exhaustively by spin, and refuted without each rule
	@mkdir -p $(JUNIT)
	@pytest -q -n 2 --junit-xml=$(JUNIT)/model.xml tests/model

model-full: packages venv ## The same within larger bounds, which take longer and up to 7 GB each
	@HERALD_MODEL=deep pytest -v tests/model

e2e: prepare build ## Real nodes, real playbooks, real faults, in the lab
	@mkdir -p $(JUNIT)
	@pytest --junit-xml=$(JUNIT)/e2e.xml tests/e2e

faults: prepare build ## All of the fault table, on 1 and on 50 addresses, over an hour; the table goes to build/faults/table.md
	@mkdir -p $(JUNIT) && rm -rf build/faults
	@result=0; HERALD_FAULTS=all pytest --junit-xml=$(JUNIT)/faults.xml tests/e2e/test_faults.py || result=$$?; \
	  python tests/e2e/fault_table.py | tee build/faults/table.md; exit $$result

molecule: prepare build ## The roles' scenarios on the lab's nodes, two at a time
	@mkdir -p $(JUNIT)
	@pytest -n 2 --junit-xml=$(JUNIT)/molecule.xml tests/molecule

interruptions: prepare build ## site.yml and uninstall.yml killed at every task in turn, and made good (as root; a sample is in make e2e)
	@HERALD_INTERRUPT=all pytest tests/e2e/test_uninstall.py -k killed

bench: prepare build ## What things cost here, in time and memory (as root; NAMES="failover": only these)
	@scripts/run-benchmarks $(NAMES)

.PHONY: bench-datapath
bench-datapath: packages venv ## What an answer costs beside the kernel's own and userland's; exit 1 where a bound is missed
	@scripts/run-benchmarks datapath

## Build

.PHONY: build docs wheelhouse lock clean
build: venv ## The agent's wheel into roles/agent/files/, then the collection; same tree, same bytes
	@scripts/build

docs: venv ## The reference documentation, from the sources to build/docs/html
	@scripts/make-docs build/docs

wheelhouse: venv ## The agent's locked dependencies as wheels, for nodes without a way out
	@scripts/make-wheelhouse

lock: venv ## Lock agent/requirements.txt and requirements/dev.txt anew (UPGRADE=1: newest versions)
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean: ## Remove what was built in the tree (the caches outside stay)
	rm -rf build .venv .hypothesis .ruff_cache .ansible
	rm -f roles/agent/files/herald_agent-*.whl roles/agent/files/requirements.txt

## Prepare

.PHONY: packages prepare venv
packages: ## Install what Debian must have, if it is missing (as root)
	@scripts/install-packages

prepare: packages venv wheelhouse ## All that demo and lab need: packages, tools, wheels, and the lab's own parts
	@tests/lab/prepare

venv: $(VENV)/.complete ## The locked tools in .venv, and build/collections for Ansible
	@[[ $$(readlink .venv) == $(VENV) ]] || ln -sfn $(VENV) .venv
	@[[ -L $(COLLECTION) ]] || { mkdir -p $(dir $(COLLECTION)); ln -sfn ../../../.. $(COLLECTION); }

$(VENV)/.complete: requirements/dev.txt
	@mkdir -p $(HERALD_CACHE)
	@flock $(HERALD_CACHE)/venv.lock scripts/make-venv $(PYTHON) $(VENV) requirements/dev.txt
