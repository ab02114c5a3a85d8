# SPDX-License-Identifier: Apache-2.0
# ARGS are handed on: make run ARGS="--rounds=20 --name=first", make test ARGS="-k cohort -x".

PYTHON := .venv/bin/python
ARGS ?=
BENCHMARKS = $(filter-out benchmarks/_% $(NO_RAY),$(wildcard benchmarks/*.py))
# That of a cluster is left out where Ray is not installed.
NO_RAY = $(if $(wildcard .venv/lib/python*/site-packages/ray),,benchmarks/cluster.py)

# Another environment of the caller's must not lend its packages to ours.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help setup run test lint format docs bench doctor gpu ray lock clean

help: ## this list
	@awk -F ': .*## ' '/^[a-z]+: .*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv, or bring it up to date with the locks; the targets that need it do so by themselves
	@bash scripts/setup.sh

run: setup ## FedProx on MNIST with half of the clients straggling; without MNIST or a network, on scikit-learn's digits
	$(PYTHON) -m fedprox_tff.run --mu=1 --stragglers=0.5 --fallback_dataset=digits $(ARGS)

test: setup ## the tests
	$(PYTHON) -m pytest $(ARGS)

lint: setup ## what the linter and the formatter would change
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: setup ## change it
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs: setup ## the documentation as a site, in site/; renews the pages that are made from the code, and checks all links
	$(PYTHON) -m scripts.reference
	$(PYTHON) -m mkdocs build --strict --quiet $(ARGS)
	@echo "open site/index.html"

bench: setup ## the benchmarks, one after another
	@set -e; for module in $(BENCHMARKS:benchmarks/%.py=benchmarks.%); do \
	  echo "$(PYTHON) -m $$module $(ARGS)"; $(PYTHON) -m $$module $(ARGS); \
	done

doctor: setup ## is this machine fit? what is wrong, and the cure
	$(PYTHON) -m fedprox_tff.doctor $(ARGS)

gpu: setup ## CUDA's libraries into .venv, for a machine with an NVIDIA driver (1.9 GB to fetch)
	@bash scripts/setup.sh gpu

ray: setup ## Ray into .venv, for runs and sweeps on more than one machine (70 MB to fetch)
	@bash scripts/setup.sh ray

lock: ## write requirements*.txt anew from requirements*.in; ARGS=--upgrade lifts the pins
	bash scripts/lock.sh $(ARGS)

clean: ## remove .venv and the caches; results stay
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
