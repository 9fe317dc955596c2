# Everything runs in .venv, made from constraints.txt; only Python 3.11+ and a package index are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSPECT := .venv-inspect
# One thread per process: two threads on small shared cores are slower than one for small models.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup quickstart test lint types arrows bench study devices integrations integrations-inspect throughput clean help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## Create .venv with Holdfast, training and development extras

$(VENV)/.train: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-warn-script-location torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --no-warn-script-location -e '.[train]'
	@touch $@

$(VENV)/.installed: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --no-warn-script-location -e '.[train,dev]'
	@touch $@

quickstart: $(VENV)/.train ## The whole story on the embedded model; the report lands in runs/quickstart
	$(BIN)/holdfast quickstart --out runs/quickstart

test: setup ## All tests
	$(BIN)/python -m pytest -q

lint: setup ## Style
	$(BIN)/ruff check src tests docs bench
	$(BIN)/ruff format --check src tests docs bench

types: setup ## Strict types
	$(BIN)/mypy

arrows: setup ## Import directions
	$(BIN)/lint-imports

bench: setup ## Costs side by side: training step, generation, safety map; start-up and the gate without torch
	$(BIN)/python bench/costs.py
	$(BIN)/python bench/startup.py

study: setup ## Slow studies: harbor's sets over bases and seeds, ten quickstarts (resumable); the gate's false passes
	$(BIN)/python bench/harbor_study.py
	$(BIN)/python bench/quickstart_seeds.py
	$(BIN)/python bench/coverage.py

# Each framework pins packages that ours does not: one environment for each, exact pins, CPU only.
INTEGRATIONS := .venv/integrations
$(INTEGRATIONS)/%/.installed: bench/integrations/requirements/%.txt constraints.txt
	$(PYTHON) -m venv $(INTEGRATIONS)/$*
	PIP_CONSTRAINT= $(INTEGRATIONS)/$*/bin/python -m pip install --quiet --no-deps --no-compile -r $<
	PIP_CONSTRAINT= $(INTEGRATIONS)/$*/bin/python -m pip install --quiet --no-deps --no-compile -r bench/integrations/requirements/holdfast.txt
	PIP_CONSTRAINT= $(INTEGRATIONS)/$*/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@# Only CUDA builds of torchaudio are on the index; LLaMA-Factory imports its Python part alone.
	rm -f $(INTEGRATIONS)/$*/lib/python*/site-packages/torchaudio/lib/*.so
	@touch $@

integrations: setup $(foreach n,old llamafactory axolotl unsloth,$(INTEGRATIONS)/$(n)/.installed) ## TRL at both ends, DDP, LLaMA-Factory, Axolotl, Unsloth: the real packages on harbor
	$(BIN)/python bench/integrations/run.py
	$(INTEGRATIONS)/old/bin/python -m pytest -q tests/unit/tuning/test_callback.py tests/unit/tuning/test_replay.py tests/unit/tuning/test_protections.py

# DeepSpeed builds itself against the torch that it finds: torch first, then without isolation.
DEEPSPEED := $(INTEGRATIONS)/deepspeed
$(DEEPSPEED)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEEPSPEED)
	$(DEEPSPEED)/bin/python -m pip install --quiet setuptools wheel torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(DEEPSPEED)/bin/python -m pip install --quiet --no-build-isolation deepspeed
	$(DEEPSPEED)/bin/python -m pip install --quiet -e '.[train,qlora]'
	@touch $@

devices: $(DEEPSPEED)/.installed ## The subspace guard on one process, and under DDP, FSDP2, ZeRO-2 and ZeRO-3 on two
	$(DEEPSPEED)/bin/python bench/guard_leak.py
	set -e; for backend in ddp ddp-replay fsdp2 zero2 zero3; do \
		$(DEEPSPEED)/bin/python bench/guard_devices.py $$backend; done
	set -e; for backend in zero2 zero3; do \
		$(DEEPSPEED)/bin/python bench/guard_devices.py $$backend --processes 1; done

# Inspect pins packages that ours does not: it lives in an environment of its own.
$(INSPECT)/.installed: constraints.txt
	$(PYTHON) -m venv $(INSPECT)
	PIP_CONSTRAINT= $(INSPECT)/bin/python -m pip install --quiet torch==$$(sed -n 's/^torch==//p' constraints.txt) transformers==$$(sed -n 's/^transformers==//p' constraints.txt) accelerate inspect-ai==0.3.285
	PIP_CONSTRAINT= $(INSPECT)/bin/python -m pip install --quiet -e .
	@touch $@

integrations-inspect: setup $(INSPECT)/.installed ## Tests against the real Inspect, in its own environment
	HOLDFAST_INSPECT_PYTHON=$(INSPECT)/bin/python $(BIN)/python -m pytest -q tests/unit/evals/test_interchange_inspect.py

throughput: setup $(INSPECT)/.installed ## Generation beside Inspect's local provider
	$(BIN)/python bench/inspect_throughput.py --inspect-python $(INSPECT)/bin/python

clean: ## Remove the environment and the caches (runs/ stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
