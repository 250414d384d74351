# Splatsweep: `make` lists the targets. Variables may be given on the command line: make sweep TRIALS=20 NAME=mine
STUDY  ?= search_spaces/multiview_contrast_quick.yaml
DATA   ?=
MESHES ?=
NAME   ?=
TRIALS ?=
PACK   ?=
MODEL  ?= multiview-contrast-points@champion
TO     ?= pulled
PORT   ?= 5000
FILE   ?=
FORCE  ?=
FOR    ?=
PYTHON ?= python3

# what is set on the command line or in the environment reaches the program; the program itself reads a file .env

# a variable as one word of the shell, whatever is in it
q = '$(subst ','\'',$(value $(1)))'

BIN   := .venv/bin
READY := .venv/.ready
RUN   := $(BIN)/splatsweep

.DEFAULT_GOAL := help
.PHONY: help setup sweep submit up up-local down backup restore secrets ui status report models pull test test-slow fuzz check format bench bench-data bench-engine lock clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables: STUDY=space.yaml  DATA=folder with points/ [images/]  MESHES=folder of .off [SURFACE=1]  NAME=study  TRIALS=n"
	@echo "             MODEL=name@alias TO=folder (pull)  PORT=5000 (ui)  PACK=address (submit)  GPU=1 (up)"
	@echo "             SPLATSWEEP_HOME=runs  RAY_ADDRESS  RAY_API_SERVER_ADDRESS  MLFLOW_TRACKING_URI  (see .env.example)"

setup: $(READY) ## build .venv from requirements.lock

# uv from the machine where it has one, else into .tools; the lock decides every version. Compiled once here: a study
# starts many processes, and each would compile the libraries again where Python may not keep what it compiled
$(READY): requirements.lock pyproject.toml
	@test -w . || { echo "error: $$PWD cannot be written, and its .venv is missing or older than requirements.lock; run make setup as somebody who may"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; set PYTHON=python3.12 or newer"; exit 2; }
	@command -v uv >/dev/null || test -x .tools/bin/uv || { echo "setting up uv in .tools"; $(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check uv; } || { rm -rf .tools; echo "error: cannot set up uv; install it, or the venv module of $(PYTHON)"; exit 2; }
	@echo "building .venv from requirements.lock (about 6 GB the first time)"
	@PATH="$$PATH:$(CURDIR)/.tools/bin"; \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q ssl_core registry search_spaces study
	@touch $@

sweep: $(READY) ## the whole journey: data, pack, study, registry, champion (on RAY_ADDRESS if set)
	@$(RUN) sweep $(call q,STUDY) $(if $(DATA),--data $(call q,DATA)) $(if $(MESHES),--meshes $(call q,MESHES)) $(if $(SURFACE),--surface) $(if $(NAME),--name $(call q,NAME)) $(if $(TRIALS),--trials $(call q,TRIALS))

submit: $(READY) ## a study as a job of a Ray cluster (PACK=folder of the nodes or s3://..., RAY_API_SERVER_ADDRESS)
	@test -n $(call q,PACK) || { echo "error: say PACK=s3://bucket/pack, or a folder that all nodes see"; exit 2; }
	@$(RUN) submit $(call q,STUDY) --pack $(call q,PACK) $(if $(NAME),--name $(call q,NAME)) $(if $(TRIALS),--trials $(call q,TRIALS))

COMPOSE := docker compose --env-file .env --file deploy/compose.yaml $(if $(GPU),--file deploy/compose.gpu.yaml)

up: ## Postgres, object store, MLflow and Ray in containers on this machine (GPU=1: with its GPUs)
	@test -f .env || { echo "error: no .env; make secrets writes one"; exit 2; }
	@docker compose version >/dev/null 2>&1 || { echo "error: this needs Docker with Compose 2.23 or newer"; exit 2; }
	@SPLATSWEEP_REVISION="$$(git rev-parse HEAD 2>/dev/null)" $(COMPOSE) up --build --detach --wait

up-local: $(READY) ## the same registry without containers, as processes on loopback; Ctrl-C stops it
	@$(RUN) serve --port $(call q,PORT)

backup: $(READY) ## the whole registry into one file (FILE=...)
	@test -n $(call q,FILE) || { echo "error: say FILE=registry.tar"; exit 2; }
	@$(RUN) backup $(call q,FILE)

restore: $(READY) ## the registry from such a file (FILE=... FORCE=1 replaces what is there)
	@test -n $(call q,FILE) || { echo "error: say FILE=registry.tar"; exit 2; }
	@$(RUN) restore $(call q,FILE) $(if $(FORCE),--force)

down: ## stop them; their data stays (docker compose down --volumes removes it)
	@$(COMPOSE) down

secrets: ## fresh passwords and tokens for `make up`, into .env; what is there stays
	@$(PYTHON) deploy/make_secrets.py .env

status: $(READY) ## trials of a study (NAME=...)
	@$(RUN) status $(if $(NAME),$(call q,NAME))

report: $(READY) ## one offline HTML page about a study (NAME=...)
	@$(RUN) report $(if $(NAME),$(call q,NAME))

models: $(READY) ## registered encoders, their aliases and accuracies
	@$(RUN) models

pull: $(READY) ## fetch a registered encoder (MODEL=name@alias TO=folder)
	@$(RUN) pull $(call q,MODEL) --to $(call q,TO)

ui: $(READY) ## MLflow on loopback; prints the address
	@$(RUN) ui --port $(call q,PORT)

# a file's tests share fixtures, so a file goes to one process; more processes than two make Ray's own start late
test: $(READY) ## the tests, under ten minutes on two cores (FOR=study/engine: those of a room)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu" $(if $(FOR),tests/$(FOR))

test-slow: $(READY) ## the slow tests
	@$(BIN)/python -m pytest -m "slow and not gpu" --timeout 1800

fuzz: $(READY) ## 20,000 mutated inputs over every reader (INPUTS=n); what goes wrong lies in .hypothesis/fuzz
	@$(BIN)/python tests/fuzz/fuzz_engine.py $(if $(INPUTS),--inputs $(INPUTS))

check: $(READY) ## ruff, mypy --strict, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_layers.py tests/test_house.py

format: $(READY) ## rewrite the code in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## measure, and write docs/BENCHMARKS.md
	@$(BIN)/python -m benchmarks

bench-data: $(READY) ## the same for data alone: batches, features, packs, backbones
	@$(BIN)/python -m benchmarks --only input --only extraction --only packing --only backbones

bench-engine: $(READY) ## the same for the engine: trials, reports, suggestions, tracking, plans, search on recorded curves
	@$(BIN)/python -m benchmarks --only trials --only engine --only tracking --only suggestions --only planning --only search

lock: $(READY) ## renew requirements.lock (no index addresses in it)
	@PATH="$$PATH:$(CURDIR)/.tools/bin"; uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --all-extras pyproject.toml --output-file requirements.lock

clean: ## remove the environment and caches; runs stay
	@rm -rf .venv .tools build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
