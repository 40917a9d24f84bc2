PYTHON ?= python3
STUDY  ?= demo
STORE  ?= ./store
ARGS   ?=
CELL   ?= synthetic/cnn-25/1
GPUS   ?=
TORCH  ?= yes
IMAGE  ?= motifk8s
TAG    ?= $(VERSION)$(if $(COMMIT),-$(COMMIT))
BASE   ?= python:3.11-slim-bookworm
TEST_IMAGE ?= $(IMAGE):$(TAG)
WORKERS ?= auto

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMMIT = $(shell git describe --always --dirty=.dirty --abbrev=12 --exclude='*' 2>/dev/null)
# What follows the @ of BASE, or of the name by which Docker has pulled it; empty for a base made here.
BASE_DIGEST = $(firstword $(filter sha256:%,$(subst @, ,$(BASE) $(shell docker image inspect \
	--format '{{index .RepoDigests 0}}' $(BASE) 2>/dev/null))))
BUILD = docker build --file images/Dockerfile --build-arg PYTHON=$(BASE) \
	--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) \
	--label org.opencontainers.image.base.name=$(firstword $(subst @, ,$(BASE))) \
	$(addprefix --label org.opencontainers.image.base.digest=,$(BASE_DIGEST))
PARTS = dist/$(notdir $(IMAGE))-$(TAG).cdx.json
BIN := .venv/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --fork-strategy fewest \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help study install local image image-gpu sbom docker test test-cluster test-image lint lint-workflows format
.PHONY: bench pages docs dist requirements clean
# Two installations at the same time would break the environment.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## Show this help
	@echo "make TARGET [VARIABLE=value ...]"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  STUDY=$(STUDY)    a built-in study or a study file"
	@echo "  STORE=$(STORE)    a folder or s3://bucket/prefix"
	@echo "  PYTHON=$(PYTHON)    Python 3.11 to 3.13, to create .venv"
	@echo "  ARGS=$(ARGS)    arguments for motifk8s run (study), pytest (test), training.py (bench)"
	@echo "  CELL=$(CELL)    the cell to run, DATASET/MODEL/TRIAL (local)"
	@echo "  GPUS=$(GPUS)    all: use the GPUs of this machine; empty: use its CPUs (local)"
	@echo "  TORCH=$(TORCH)    yes: compare with PyTorch; empty: do not install it (bench)"
	@echo "  IMAGE=$(IMAGE)    name of the images, with registry and repository if needed"
	@echo "  TAG=$(TAG)    tag of the images; the image with CUDA has TAG-gpu"
	@echo "  BASE=$(BASE)    base of the images; NAME@sha256:... pins it (image)"
	@echo "  TEST_IMAGE=$(TEST_IMAGE)    an image in the cluster of KUBECONFIG (test-cluster)"
	@echo "  WORKERS=$(WORKERS)    parallel test processes; auto: one per core, at most 8 (test)"

study: .venv/run.stamp ## Run STUDY and write results to STORE; run again to resume
	@$(BIN)/motifk8s run "$(STUDY)" --store "$(STORE)" $(ARGS)

install: .venv/run.stamp ## Install the command motifk8s into .venv

local: $(if $(GPUS),image-gpu,image) ## Run one CELL of STUDY in Docker, as a pod does, into STORE
	@images/local.sh $(IMAGE):$(TAG)$(if $(GPUS),-gpu) "$(STUDY)" "$(CELL)" "$(STORE)" "$(GPUS)"

image: docker ## Build the image for CPUs, IMAGE:TAG
	$(BUILD) --target cpu --tag $(IMAGE):$(TAG) .

image-gpu: docker ## Build the image with CUDA, IMAGE:TAG-gpu (several GB)
	$(BUILD) --target gpu --tag $(IMAGE):$(TAG)-gpu .

sbom: docker ## List the parts of the image IMAGE:TAG in dist/, with versions and licences (CycloneDX)
	@mkdir -p dist
	@docker run --rm --interactive --network none --pull never --entrypoint python \
	  $(IMAGE):$(TAG) - $(IMAGE):$(TAG) --image <packaging/sbom.py >$(PARTS).part \
	  && mv $(PARTS).part $(PARTS) || { rm $(PARTS).part; exit 1; }
	@echo $(PARTS)

docker:
	@command -v docker >/dev/null || { \
	  echo "make: no docker here; install Docker Engine" >&2; exit 1; }
	@docker version >/dev/null 2>&1 || { \
	  echo "make: no Docker daemon answers; start it, and check that this user may use it" >&2; \
	  exit 1; }

test: .venv/dev.stamp ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

# Files run two at a time, the longest first, each in its own namespace: most of their time is
# waiting. Their cells share the cluster's GPUs.
FIRST := preemption smoke failures
ON_CLUSTER := $(FIRST:%=tests/system/test_%.py)
ON_CLUSTER += $(filter-out $(ON_CLUSTER),$(sort $(wildcard tests/system/test_*.py)))
test-cluster: .venv/dev.stamp ## Run the tests that need Docker and a cluster, with TEST_IMAGE
	@MOTIFK8S_REQUIRE_DOCKER=1 MOTIFK8S_REQUIRE_CLUSTER=1 MOTIFK8S_TEST_IMAGE=$(TEST_IMAGE) \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ON_CLUSTER) $(ARGS)

test-image: docker ## Run the tests in the image, as any user and with a read-only root
	$(BUILD) --target test --tag $(IMAGE):$(TAG)-test .
	docker run --rm --init --read-only --tmpfs /tmp:exec --user 12345:6789 $(IMAGE):$(TAG)-test \
	  -m "not slow" $(ARGS)

lint: .venv/dev.stamp ## Check style, types, and imports between packages
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@output=$$($(BIN)/lint-imports --no-cache --no-logo) || { echo "$$output" >&2; exit 1; }

lint-workflows: ## Check .github/workflows with actionlint, which needs Go
	@command -v go >/dev/null || { echo "make: no go here; install Go" >&2; exit 1; }
	@go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

format: .venv/dev.stamp ## Format the code as lint requires
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

bench: $(if $(TORCH),.venv/bench.stamp,.venv/run.stamp) ## Compare training with Keras and PyTorch, and measure all other stages (hours)
	@$(BIN)/python bench/training.py $(ARGS)
	@$(BIN)/python bench/stages.py

pages: .venv/dev.stamp ## Write docs/cli.md and the chart's table of values from the code
	@$(BIN)/python docs/generate.py

docs: .venv/dev.stamp ## Build the site of docs/ into site/; a dead link is an error
	@mkdir -p build; $(BIN)/motifk8s run smoke --store build/smoke >build/smoke.log 2>&1 \
	  || { cat build/smoke.log; exit 1; }
	@$(BIN)/python docs/site.py build/smoke/smoke/report.html
	@$(BIN)/zensical build --strict --clean --config-file build/docs/zensical.toml
	@$(BIN)/python docs/links.py build/docs/site
	@rm -rf site && mv build/docs/site site
	@echo "site/index.html; to search, serve it: $(BIN)/python -m http.server -d site"

dist: .venv/dev.stamp ## Build package and chart into dist/, try the wheel, and list its parts
	@$(BIN)/python packaging/build.py
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@packaging/check.sh $(BIN)/uv dist/*.whl "$(VERSION)" requirements/cpu.txt
	@if command -v helm >/dev/null; then helm package helm/motifk8s --destination dist; \
	  else echo "no helm here: dist/ has no chart"; fi

requirements: .venv/dev.stamp ## Compile requirements/*.txt from pyproject.toml (UPGRADE=--upgrade: newest)
	@$(COMPILE) $(UPGRADE) --extra cpu -o requirements/cpu.txt
	@$(COMPILE) $(UPGRADE) --extra gpu -c requirements/cpu.txt -o requirements/gpu.txt
	@$(COMPILE) $(UPGRADE) --extra cpu --extra dev -c requirements/cpu.txt -o requirements/dev.txt
	@$(COMPILE) $(UPGRADE) --extra cpu --extra bench -c requirements/cpu.txt -c requirements/dev.txt \
	  -o requirements/bench.txt
	@! grep -n '://' requirements/*.txt || { echo "make: host names in requirements" >&2; exit 1; }

clean: ## Delete .venv and the caches of tools; keep the results in STORE
	rm -rf .venv build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache python/*.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# The steps to create .venv. dev.txt and bench.txt include all of cpu.txt in the same versions, so
# they can be installed in any order.
.venv/run.stamp: requirements/cpu.txt pyproject.toml | .venv/pip.stamp
	@echo "installing the packages for studies into .venv (once; a few minutes)"
	@packaging/install.sh requirements/cpu.txt
	@touch $@

.venv/dev.stamp: requirements/dev.txt pyproject.toml | .venv/pip.stamp
	@echo "installing the packages for tests into .venv (once; a few minutes)"
	@packaging/install.sh requirements/dev.txt
	@touch .venv/run.stamp $@

.venv/bench.stamp: requirements/bench.txt pyproject.toml | .venv/pip.stamp
	@echo "installing PyTorch into .venv (once; about 3 GB on Linux, where it includes CUDA;" \
	  "make bench TORCH= does not need it)"
	@packaging/install.sh requirements/bench.txt
	@touch .venv/run.stamp $@

# An existing environment that works is kept.
.venv/pip.stamp:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "make: no $(PYTHON) here; install Python 3.11 to 3.13, or give its name: make PYTHON=..." >&2; \
	  exit 1; }
	@"$(PYTHON)" -c '$(SUPPORTED)' || { \
	  echo "make: $(PYTHON) is $$("$(PYTHON)" --version 2>&1), but motifk8s needs 3.11 to 3.13;" \
	    "install one of these, or give its name: make PYTHON=python3.12" >&2; exit 1; }
	@{ $(BIN)/python -c '$(SUPPORTED)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1 \
	  || "$(PYTHON)" -m venv --clear .venv || { rm -rf .venv; \
	  echo "make: $(PYTHON) could not create .venv; see the error above. On Debian and Ubuntu," \
	    "install python3-venv; elsewhere, check that this folder is writable" >&2; exit 1; }
	@touch $@
