# The two commands of the README, and what the developers of this repository use beside them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# The Python to build the environment with; empty: the first of python3, python3.14, …, python3.11 that will do.
PYTHON ?=
CORES ?= 2
PROFILE ?= laptop

PROFILES := $(basename $(notdir $(shell grep -l '^profile:' config/*.yaml)))
ENVIRONMENT := .venv/ready
SNAKEMAKE := .venv/bin/snakemake --cores $(CORES) --configfile config/$(PROFILE).yaml

.PHONY: help environment reproduce test bench publish lint docs lock clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 16

environment: $(ENVIRONMENT) ## Build the environment in .venv from requirements.lock.

$(ENVIRONMENT): requirements.lock pyproject.toml
	@bash workflow/envs/build.sh $(PYTHON)
	@touch $@

reproduce: $(ENVIRONMENT) ## Compute everything and render the report (PROFILE=laptop, CORES=2).
	@test -f config/$(PROFILE).yaml || \
	  { echo "error: no config/$(PROFILE).yaml. Profiles: $(PROFILES)" >&2; exit 1; }
	@$(SNAKEMAKE)
	@printf '\n%s\n%s\n%s\n' "The report:   reports/$(PROFILE)/index.html" \
	  "Its tables:   reports/$(PROFILE)/tables/   (CSV, Markdown, LaTeX)" \
	  "Its figures:  reports/$(PROFILE)/figures/  (SVG, PNG)"

test: $(ENVIRONMENT) ## Run the whole test suite.
	@.venv/bin/python -m pytest

bench: $(ENVIRONMENT) ## Measure the engine beside the other ways, with their packages → reports/benchmark.
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements-bench.lock
	.venv/bin/python -m orthograd bench --out reports/benchmark
	@echo "The page:     reports/benchmark/index.html   (to keep it: make publish PROFILE=benchmark)"

publish: ## Copy the report, with its commit, config and machine, to reports/published.
	@test -f reports/$(PROFILE)/index.html || \
	  { echo "error: no reports/$(PROFILE)/index.html. Run: $(if $(filter benchmark,$(PROFILE)),make bench,make reproduce PROFILE=$(PROFILE))" >&2; exit 1; }
	@mkdir -p reports/published
	@rm -rf reports/published/$(PROFILE)
	@cp -r reports/$(PROFILE) reports/published/$(PROFILE)
	@echo "reports/published/$(PROFILE): commit it; conditions.json says how it was made"

lint: $(ENVIRONMENT) ## Check format, style, types and the workflow.
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint

docs: $(ENVIRONMENT) ## Write the list of the methods, docs/methods.md.
	.venv/bin/python -m orthograd methods --spaces config/spaces.yaml --profile config/laptop.yaml > docs/methods.md

lock: ## Resolve pyproject.toml anew into the two locks and the conda environments.
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --upgrade --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra dev --extra bench --constraint requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet \
	  -o requirements-bench.lock
	.venv/bin/python workflow/envs/generate.py

clean: ## Remove what was computed (results and unpublished reports); keep the environment.
	rm -rf results .snakemake
	find reports -mindepth 1 -maxdepth 1 ! -name published -exec rm -rf {} +
