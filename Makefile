PYTHON ?= python3
STUDY  ?= demo
STORE  ?= ./store
ARGS   ?=
CELL   ?= synthetic/cnn-25/1
GPUS   ?=
TORCH  ?= yes
IMAGE  ?= motifk8s
TAG    ?= $(VERSION)$(if $(COMMIT),-$(COMMIT))
TEST_IMAGE ?= $(IMAGE):$(TAG)
WORKERS ?= auto

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT = $(shell git describe --always --dirty=.dirty --abbrev=12 --exclude='*' 2>/dev/null)
BUILD = docker build --file images/Dockerfile --build-arg VERSION=$(VERSION) \
	--build-arg COMMIT=$(COMMIT)
BIN := .venv/bin
# Every file is pinned and hashed, so pip resolves nothing; it installs exactly what is listed.
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --no-deps
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --fork-strategy fewest \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help study install local image image-gpu docker test test-cluster test-image lint format
.PHONY: bench pages requirements clean
# One after the other: two installations into one environment would spoil it.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## Show this
	@echo "make TARGET [VARIABLE=value ...]"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  STUDY=$(STUDY)    a built-in study or a study file"
	@echo "  STORE=$(STORE)    a folder or s3://bucket/prefix"
	@echo "  PYTHON=$(PYTHON)    3.11 to 3.13; used once, to create .venv"
	@echo "  ARGS=$(ARGS)    more for motifk8s run (study), pytest (test) or training.py (bench)"
	@echo "  CELL=$(CELL)    DATASET/MODEL/TRIAL (local)"
	@echo "  GPUS=$(GPUS)    all: on the GPUs of this machine, else on its CPUs (local)"
	@echo "  TORCH=$(TORCH)    empty: without PyTorch (bench)"
	@echo "  IMAGE=$(IMAGE)    name of the images, with registry and repository if they have one"
	@echo "  TAG=$(TAG)    their tag; -gpu is put after it for the one with CUDA"
	@echo "  TEST_IMAGE=$(TEST_IMAGE)    one that the cluster of KUBECONFIG has (test-cluster)"
	@echo "  WORKERS=$(WORKERS)    processes that test side by side; auto: one a core, at most 8 (test)"

study: .venv/run.stamp ## Run STUDY into STORE; the same command goes on where it was
	@$(BIN)/motifk8s run "$(STUDY)" --store "$(STORE)" $(ARGS)

install: .venv/run.stamp ## Install the command motifk8s into .venv

local: $(if $(GPUS),image-gpu,image) ## Run one CELL of STUDY in Docker, as in a pod, into STORE
	@images/local.sh $(IMAGE):$(TAG)$(if $(GPUS),-gpu) "$(STUDY)" "$(CELL)" "$(STORE)" "$(GPUS)"

image: docker ## Build the image for CPUs, IMAGE:TAG
	$(BUILD) --target cpu --tag $(IMAGE):$(TAG) .

image-gpu: docker ## Build the image with CUDA, IMAGE:TAG-gpu (several GB)
	$(BUILD) --target gpu --tag $(IMAGE):$(TAG)-gpu .

docker:
	@command -v docker >/dev/null || { \
	  echo "make: no docker here; install Docker Engine" >&2; exit 1; }
	@docker version >/dev/null 2>&1 || { \
	  echo "make: no Docker daemon answers; start it, and see that this user may use it" >&2; \
	  exit 1; }

test: .venv/dev.stamp ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

# Workflows mostly wait, so there are more processes than cores; a file has its own namespace.
test-cluster: .venv/dev.stamp ## Run the tests of Docker and of a cluster that holds TEST_IMAGE
	@MOTIFK8S_REQUIRE_DOCKER=1 MOTIFK8S_REQUIRE_CLUSTER=1 MOTIFK8S_TEST_IMAGE=$(TEST_IMAGE) \
	  $(BIN)/python -m pytest tests/system -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

test-image: docker ## Run the tests in the image, as any user and with a read-only root
	$(BUILD) --target test --tag $(IMAGE):$(TAG)-test .
	docker run --rm --init --read-only --tmpfs /tmp:exec --user 12345:6789 $(IMAGE):$(TAG)-test \
	  -m "not slow" $(ARGS)

lint: .venv/dev.stamp ## Check style, types, and which package imports which
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@said=$$($(BIN)/lint-imports --no-cache --no-logo) || { echo "$$said" >&2; exit 1; }

format: .venv/dev.stamp ## Put the code in the style that lint wants
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

bench: $(if $(TORCH),.venv/bench.stamp,.venv/run.stamp) ## Measure training beside stock Keras and PyTorch, and all around it (hours)
	@$(BIN)/python bench/training.py $(ARGS)
	@$(BIN)/python bench/stages.py

pages: .venv/dev.stamp ## Write the pages that are made from the code: commands, values of the chart
	@$(BIN)/python docs/generate.py

requirements: .venv/dev.stamp ## Compile requirements/*.txt from pyproject.toml (UPGRADE=--upgrade for newest)
	@$(COMPILE) $(UPGRADE) --extra cpu -o requirements/cpu.txt
	@$(COMPILE) $(UPGRADE) --extra gpu -c requirements/cpu.txt -o requirements/gpu.txt
	@$(COMPILE) $(UPGRADE) --extra cpu --extra dev -c requirements/cpu.txt -o requirements/dev.txt
	@$(COMPILE) $(UPGRADE) --extra cpu --extra bench -c requirements/cpu.txt -c requirements/dev.txt \
	  -o requirements/bench.txt
	@! grep -n '://' requirements/*.txt || { echo "make: host names in requirements" >&2; exit 1; }

clean: ## Remove the environment and the tools' caches; results in STORE stay
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache python/*.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# .venv, step by step. What dev.txt and bench.txt install includes all of cpu.txt in the same
# versions, so any may come first and none takes away what another brought.
.venv/run.stamp: requirements/cpu.txt pyproject.toml | .venv/pip.stamp
	@echo "installing what a study needs into .venv (once; a few minutes)"
	@$(INSTALL) --require-hashes -r requirements/cpu.txt
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.txt pyproject.toml | .venv/pip.stamp
	@echo "installing what the tests need into .venv (once; a few minutes)"
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(INSTALL) --no-build-isolation --editable .
	@touch .venv/run.stamp $@

.venv/bench.stamp: requirements/bench.txt pyproject.toml | .venv/pip.stamp
	@echo "installing PyTorch into .venv (once; about 3 GB on Linux, where its wheels bring CUDA;" \
	  "make bench TORCH= does without)"
	@$(INSTALL) --require-hashes -r requirements/bench.txt
	@$(INSTALL) --no-build-isolation --editable .
	@touch .venv/run.stamp $@

# Keeps an environment that works, whoever made it.
.venv/pip.stamp:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "make: no $(PYTHON) here; install Python 3.11 to 3.13, or name it: make PYTHON=..." >&2; \
	  exit 1; }
	@"$(PYTHON)" -c '$(SUPPORTED)' || { \
	  echo "make: $(PYTHON) is $$("$(PYTHON)" --version 2>&1), but motifk8s needs 3.11 to 3.13;" \
	    "install one, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@{ $(BIN)/python -c '$(SUPPORTED)' && $(PIP) --version; } >/dev/null 2>&1 \
	  || "$(PYTHON)" -m venv --clear .venv || { rm -rf .venv; \
	  echo "make: $(PYTHON) could not create .venv, for the reason above; on Debian and Ubuntu" \
	    "install python3-venv, elsewhere see whether this folder is writable" >&2; exit 1; }
	@touch $@
