# Each target works from nothing but a clone and Python 3.10 or newer: it makes .venv, installs, and runs.
# A second run skips the installation. PYTHON=python3.12 chooses another interpreter, VENV=dir another environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export TF_CPP_MIN_LOG_LEVEL ?= 3
export MPLBACKEND ?= Agg

.PHONY: help demo test slow page lint format labeling notebooks bench docs house ops clean

help:
	@echo "make demo       find nuclei with the shipped model, fine-tune on nuts, export; writes demo_out/"
	@echo "make test       the tests that take seconds each"
	@echo "make slow       the tests that take minutes, training included"
	@echo "make lint       ruff, formatting, import layers, types"
	@echo "make format     let ruff mend what it can"
	@echo "make page       the tests of the page of mrcnn app, in Chromium; installs gradio and playwright"
	@echo "make labeling   the tests of mrcnn serve-labels with a real Label Studio, and of CVAT's function; installs both"
	@echo "make notebooks  run the notebooks and keep their output"
	@echo "make bench      benchmarks; writes bench_out/*.json"
	@echo "make docs       build the documentation site into site/"
	@echo "make house      draw docs/images/house.svg, the layers and what imports what"
	@echo "make ops        build the RoIAlign op (optional, needs a C++ compiler) into the user's cache"
	@echo "make clean      remove what these targets wrote, the environment included"

demo: $(VENV)/.installed
	$(BIN)/python samples/demo.py

# Two processes, each with whole files: most of the time goes into tracing graphs, which keeps one core busy. Among the
# slow tests the large networks have processes of their own, as oneDNN keeps the memory they once needed: in one pair of
# processes they would come to 13 GB each.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile
LARGE := tests/matterport tests/modeling tests/weights

test: $(VENV)/.installed-dev
	$(PYTEST)

slow: $(VENV)/.installed-dev
	$(PYTEST) -m "slow or overfit" tests/golden
	$(PYTEST) -m "slow or overfit" $(LARGE)
	$(PYTEST) -m "slow or overfit" $(LARGE:%=--ignore=%) --ignore=tests/golden

# Not among `dev`: gradio takes Pillow below 13 only.
page: $(VENV)/.installed-dev
	$(PIP) --editable ".[app]" playwright
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/app

# Label Studio's dependencies fit few others, so it has an environment of its own.
labeling: $(VENV)/.installed-dev
	$(PYTHON) -m venv $(VENV)/label-studio
	$(VENV)/label-studio/bin/python -m pip install --quiet --disable-pip-version-check label-studio
	$(PIP) --editable ".[cvat]"
	LABEL_STUDIO=$(VENV)/label-studio/bin/label-studio $(BIN)/python -m pytest -q -m "slow or not slow" tests/labeling

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/.installed-dev
	$(BIN)/python notebooks/run.py

bench: $(VENV)/.installed-dev
	@for script in $$(grep -l "harness.run(BENCHMARK)" benchmarks/*.py); do \
		echo "== $$script"; \
		$(BIN)/python "$$script" --json "bench_out/$$(basename "$$script" .py).json" || exit 1; \
	done

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "the site begins at site/index.html; with its search: python -m http.server -d site"

house: $(VENV)/.installed-dev
	$(BIN)/python docs/house.py

ops: $(VENV)/.installed
	$(BIN)/python -m mrcnn.native.build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed; choose one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo_out bench_out site build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .mypy_cache
