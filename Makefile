# The two commands of the README, and what the developers of this repository use beside them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:

PYTHON ?= python3
CORES ?= 2
PROFILE ?= laptop

ENVIRONMENT := .venv/ready
SNAKEMAKE := .venv/bin/snakemake --cores $(CORES) --configfile config/$(PROFILE).yaml

.PHONY: help environment reproduce test bench publish lint lock clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 16

environment: $(ENVIRONMENT) ## Build the environment in .venv from requirements.lock.

$(ENVIRONMENT): requirements.lock pyproject.toml
	@bash workflow/envs/build.sh "$(PYTHON)"
	touch $@

reproduce: $(ENVIRONMENT) ## Compute everything and render the report (PROFILE=laptop, CORES=2).
	@$(SNAKEMAKE)
	echo
	echo "The report:   reports/$(PROFILE)/index.html"
	echo "Its tables:   reports/$(PROFILE)/tables/   (CSV, Markdown, LaTeX)"
	echo "Its figures:  reports/$(PROFILE)/figures/  (SVG, PNG)"

test: $(ENVIRONMENT) ## Run the whole test suite.
	@.venv/bin/python -m pytest

bench: $(ENVIRONMENT) ## Measure the engine beside the other ways, with their packages → reports/benchmark.
	@uv pip install --python .venv/bin/python --require-hashes --quiet -r requirements-bench.lock
	.venv/bin/python -m orthograd bench --out reports/benchmark
	echo "The page:     reports/benchmark/index.html   (publish it: make publish PROFILE=benchmark)"

publish: ## Copy the report, with its commit, config and machine, to reports/published.
	@if [ ! -f reports/$(PROFILE)/index.html ]; then
	  echo "error: there is no reports/$(PROFILE)/index.html. Run: make reproduce PROFILE=$(PROFILE)" >&2
	  exit 1
	fi
	mkdir -p reports/published
	rm -rf reports/published/$(PROFILE)
	cp -r reports/$(PROFILE) reports/published/$(PROFILE)
	echo "reports/published/$(PROFILE): commit it; conditions.json says how it was made"

lint: $(ENVIRONMENT) ## Check format, style, types and the workflow.
	@.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint

lock: ## Resolve pyproject.toml anew into the two locks and the conda environments.
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --upgrade --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra dev --extra bench --constraint requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet \
	  -o requirements-bench.lock
	.venv/bin/python workflow/envs/generate.py

clean: ## Remove what was computed (results and unpublished reports); keep the environment.
	@rm -rf results .snakemake
	find reports -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} +
