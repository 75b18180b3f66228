# Everything runs in a virtual environment of the project's own, .venv, which the first target to need it installs.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# A Python that esp-ppq supports; the first one that starts. `make PYTHON=/path/to/python3.12 ...` chooses another.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.10,$(shell $(p) -c 'print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
INSTALLED := .venv/installed
RECIPES := .venv/recipes
BUNDLE := runs/demo
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e
# Whole files in parallel, since a file shares its exports; one thread each, since more would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile
CPP := $(wildcard idf_project/*/*.cpp idf_project/*/*.hpp) \
	$(shell find idf_project/boards idf_project/components tests/cpp \( -name '*.cpp' -o -name '*.hpp' \) -not -name 'model_config.hpp' 2>/dev/null)

# The firmware with all its sources at once, against the stand-ins of ESP-IDF and ESP-DL that the host tests use.
TIDY := $(wildcard idf_project/components/*/src/*.cpp idf_project/components/lesp_model/*.cpp idf_project/main/*.cpp \
	idf_project/boards/codec/*.cpp idf_project/boards/pins/lesp_board/*.cpp)
TIDY_FLAGS := -std=c++20 -fno-exceptions -fno-rtti -isystem tests/cpp/fake \
	-DCONFIG_STREAMING_SOURCE_WAV=1 -DCONFIG_STREAMING_SOURCE_MICROPHONE=1 -DEMBEDDED_RECORDING=1 \
	-DCONFIG_STREAMING_MODEL_PARTITION=1 -DCONFIG_STREAMING_MODEL_SDCARD=1 \
	-Iidf_project/components/lesp_streaming/include -Iidf_project/components/lesp_audio/include \
	-Iidf_project/components/lesp_listener/include -Iidf_project/components/lesp_model/esp32s3 -Iidf_project/main
TIDY_FLAGS += -Iidf_project/components/lesp_model_update/include -Iidf_project/components/lesp_detector_settings/include \
	-DCONFIG_STREAMING_MODEL_UPDATE=1 -DCONFIG_STREAMING_CONSOLE=1

.PHONY: help install demo test test-full check docs format bench constraints clean

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

install: $(INSTALLED) ## Make .venv, once; again when pyproject.toml or constraints.txt has changed.

# Training and export need no compilers, linters and test runners; the first bundle comes sooner without them.
$(RECIPES): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "Install Python 3.11 (3.10 to 3.12 work)." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) '.[recipes,report,wakeword]'
	@touch $@

$(INSTALLED): $(RECIPES)
	$(PIP) '.[dev,docs,prune,recipes,report,search,wakeword]'
	@touch $@

demo: $(RECIPES) ## Train on the tiny set, quantize, verify, and write an ESP-IDF project.
	$(BIN)/python recipes/kws_tcn.py fit --export.output_dir $(BUNDLE)
	@test -f $(BUNDLE)/manifest.json
	@echo "The verified ESP-IDF project lies in $(BUNDLE)."

test: $(INSTALLED) ## Run the tests.
	@$(PYTEST)

test-full: $(INSTALLED) ## Run the tests with everything random at full size.
	@$(PYTEST) -m ""

check: $(INSTALLED) ## Lint, check the format and the types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(if $(CPP),$(BIN)/clang-format --dry-run --Werror $(CPP))
	@# On stderr it counts what it finds in system headers, which nobody asked for.
	@echo "$(BIN)/clang-tidy idf_project"
	@printf '%s\n' $(TIDY) | xargs -P "$$(getconf _NPROCESSORS_ONLN)" -I FILE $(BIN)/clang-tidy --quiet FILE -- $(TIDY_FLAGS) 2> >(grep -v 'warnings* generated' >&2)

docs: $(INSTALLED) ## Build the site of docs/ into build/site; a warning is an error.
	@# The variable silences news of the theme's makers, which are no warning of this site.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(INSTALLED) ## Format everything, and fix what the linter can.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(if $(CPP),$(BIN)/clang-format -i $(CPP))

bench: $(INSTALLED) ## Run the benchmarks.
	$(PIP) '.[benchmarks]'
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

constraints: $(INSTALLED) ## Pin what is installed in .venv.
	$(BIN)/python .ci/freeze.py > constraints.txt

clean: ## Remove caches, build outputs and the demo's bundle; .venv and trained models stay.
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis $(BUNDLE)
	find lightning_esp recipes benchmarks datasets tests -name __pycache__ -prune -exec rm -rf {} +
