# What people and CI run. Set PYTHON to choose the interpreter (3.11 or newer).
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := /bin/sh
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := .venv
TORCH_VENV := .venv-torch
BIN := $(VENV)/bin
READY := $(VENV)/ready
TORCH_READY := $(TORCH_VENV)/ready
TORCH := torch==2.13.0
NODE := build/node
AZURITE_READY := $(NODE)/ready
QUICK := -m "not torch and not packaging and not rig"
PYTEST_OPTIONS ?=

DEMO := build/demo
# A home of its own: the demo leaves your jobs alone.
demo: export LLMCLOUD_HOME := $(CURDIR)/build/home

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

.PHONY: demo
demo: $(READY)  ## train a small language model on this machine through llmcloud submit
	@rm -rf $(DEMO) build/home
	$(BIN)/llmcloud init tiny-gpt $(DEMO)
	$(BIN)/llmcloud submit $(DEMO)/job.yaml
	$(BIN)/llmcloud list
	$(BIN)/llmcloud checkpoints pull tiny-gpt --to $(DEMO)/pulled
	@echo "The trained model lies in $(DEMO)/pulled, all else of the job in build/home."

.PHONY: test
test: $(READY) $(AZURITE_READY)  ## run the tests but for the long ones, and those that need torch or the package index
	$(BIN)/pytest -q -n 6 --dist worksteal $(QUICK) $(PYTEST_OPTIONS)

.PHONY: test-rig
test-rig: $(READY)  ## run the tests of the miniature AWS and the long jobs in it (root, or namespaces)
	$(BIN)/pytest -q -n 2 -m rig $(PYTEST_OPTIONS)

.PHONY: test-torch
test-torch: $(TORCH_READY)  ## run the tests that train with torch, in an environment of their own
	OMP_NUM_THREADS=1 $(TORCH_VENV)/bin/pytest -q -m torch $(PYTEST_OPTIONS)

.PHONY: packaging
packaging: $(READY)  ## build, install in a clean environment and try what users get
	$(BIN)/pytest -q -m packaging $(PYTEST_OPTIONS)

.PHONY: lint
lint: $(READY)  ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(READY)  ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: coverage
coverage: $(READY) $(AZURITE_READY)  ## run the tests and say which lines none of them reached
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q -n 2 $(QUICK) $(PYTEST_OPTIONS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered --show-missing

.PHONY: bench
bench: $(READY)  ## measure what the README and benchmarks/README.md claim
	$(BIN)/python -m benchmarks

.PHONY: docs
docs: $(READY)  ## write the generated files again
	$(BIN)/python -m llmcloud.core.spec.reference > docs/spec.md

.PHONY: pictures
pictures: $(READY)  ## record a training again, as the README's pictures
	$(BIN)/python docs/record.py

.PHONY: lock
lock: $(READY)  ## choose the newest versions that pyproject.toml allows, for development
	$(BIN)/python .ci/lock.py --group dev > build/requirements-dev.lock
	$(BIN)/python .ci/lock.py --group dev --group torch \
		--constraint build/requirements-dev.lock $(TORCH) > build/requirements-torch.lock
	mv build/requirements-dev.lock build/requirements-torch.lock .

.PHONY: clean
clean:  ## remove what was built, the environments and the caches
	rm -rf build dist $(VENV) $(TORCH_VENV) src/*.egg-info .coverage .coverage.*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): requirements-dev.lock pyproject.toml .ci/venv
	@echo "Setting up $(VENV)…"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || .ci/venv $(VENV)
	@$(BIN)/python -m pip install -q -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@mkdir -p build
	@touch $@

$(TORCH_READY): requirements-torch.lock pyproject.toml .ci/venv
	@echo "Setting up $(TORCH_VENV)…"
	@$(TORCH_VENV)/bin/python -m pip --version >/dev/null 2>&1 || .ci/venv $(TORCH_VENV)
	@$(TORCH_VENV)/bin/python -m pip install -q $(TORCH)
	@$(TORCH_VENV)/bin/python -m pip install -q -r requirements-torch.lock
	@$(TORCH_VENV)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(AZURITE_READY): tests/rig/azurite/package.json tests/rig/azurite/package-lock.json
	@command -v node >/dev/null && command -v npm >/dev/null || { \
		echo "The tests of Azure Blob run Azurite: Node.js (18 or newer) and npm are needed." >&2; \
		echo "On Debian or Ubuntu: sudo apt-get install nodejs npm" >&2; exit 1; }
	@echo "Setting up $(NODE)…"
	@mkdir -p $(NODE)
	@cp tests/rig/azurite/package.json tests/rig/azurite/package-lock.json $(NODE)
	@npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
