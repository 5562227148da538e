# Copyright: (c) 2026, Herald contributors
# SPDX-License-Identifier: Apache-2.0
#
# Every command of the project. `make` alone prints them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The distribution's Python, whatever version manager stands first on PATH.
PYTHON ?= /usr/bin/python3

# What is slow to make and never changes lives outside the tree, named by the hash of what it is made from.
HERALD_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/herald
export HERALD_CACHE

VENV_ID := $(shell { $(PYTHON) -VV; cat requirements/dev.txt; } 2>/dev/null | sha256sum | cut -c1-16)
VENV := $(HERALD_CACHE)/venv-$(VENV_ID)
COLLECTION := build/collections/ansible_collections/baremetal/herald

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Tools

.PHONY: venv
venv: $(VENV)/.complete ## Make the locked tools: .venv, and build/collections for Ansible
	@[[ $$(readlink .venv) == $(VENV) ]] || ln -sfn $(VENV) .venv
	@[[ -L $(COLLECTION) ]] || { mkdir -p $(dir $(COLLECTION)); ln -sfn ../../../.. $(COLLECTION); }

$(VENV)/.complete: requirements/dev.txt
	@mkdir -p $(HERALD_CACHE)
	@flock $(HERALD_CACHE)/venv.lock scripts/make-venv $(PYTHON) $(VENV) requirements/dev.txt
