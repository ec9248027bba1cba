# Two commands on a fresh machine: `make demo` and `make test`. Each makes the environment it needs.

VENV ?= .venv
PYTHON ?= python3
RADLITE = $(VENV)/bin/radlite
OUT ?= demo
READY = $(VENV)/.ready
ifeq ($(shell uname -m),x86_64)
# llama.cpp's AMX kernels crash when weights are repacked (llama-cpp-python 0.3.36; docs/performance.md says why).
CMAKE_ARGS ?= -DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8
endif

.PHONY: demo demo-fast native ray test test-slow test-qlora check demonstration clean help

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(READY) ## The whole path on the tiny bases: corpus, training, evaluation, export, a table
	$(RADLITE) demo --out $(OUT)

demo-fast: $(READY) ## The same with little data: shows that everything works, not how well (under 4 minutes)
	$(RADLITE) demo --fast --out $(OUT)-fast

native: $(READY) ## The fast engine, compiled for this machine's CPU (once; some five minutes, needs a C++ compiler)
	@command -v c++ >/dev/null || { echo "A C++ compiler is missing; on Debian and Ubuntu: apt-get install g++"; exit 2; }
	CMAKE_ARGS="$(CMAKE_ARGS)" $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[native]'

ray: $(READY) ## What batches on a Ray cluster need
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'

test: $(READY) ## The default tests, in as many processes as there are cores, four at most
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(READY) ## The tests that take minutes
	$(VENV)/bin/python -m pytest -m slow

test-qlora: $(READY) ## The tests of QLoRA, with bitsandbytes in a folder of its own, since PEFT loads it wherever it is installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade --target $(VENV)/qlora bitsandbytes
	PYTHONPATH=$(VENV)/qlora $(VENV)/bin/python -m pytest tests/runtime/test_rounding.py tests/training/test_rounded.py

check: $(READY) ## Format, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "RadLite needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@echo "Installing RadLite and what it needs into $(VENV) (once; a few minutes) ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demonstration: demo ## Renew the model that `radlite read` uses when none is named
	cp $(OUT)/models/tiny-qwen3-Q4_K_M.gguf src/radlite/models/demonstration.gguf

clean: ## Remove the environment and the demo's output
	rm -rf $(VENV) $(OUT) $(OUT)-fast
