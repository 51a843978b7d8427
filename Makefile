# make demo    set up, train on the built-in avatars, write pictures and say where they are
# make test    set up, check everything that takes minutes at most
# make parity  compare scores and networks with the reference implementations, in an environment of its own, with torch
# make docs    build the documentation into build/docs
# make test-all, make lint, make setup
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO := runs/demo
PARITY := $(wildcard experiments/*_parity/requirements.txt) experiments/open_weights/requirements.txt

.PHONY: setup demo test test-all parity lint docs clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m imggen_jax.main --config configs/demo.py --workdir $(DEMO)
	$(BIN)/python -m imggen_jax.main generate --workdir $(DEMO) --num 64 --out $(DEMO)/faces
	@echo
	@echo 'New faces:  $(DEMO)/faces/grid.png'
	@echo 'The report: $(DEMO)/report.html'

test: $(STAMP)
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -q -n auto --dist worksteal

test-all: $(STAMP)
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -q -n auto --dist worksteal -m ''

parity: .venv-parity/installed
	.venv-parity/bin/python experiments/metrics_parity/check.py
	.venv-parity/bin/python experiments/weights_parity/check.py
	.venv-parity/bin/python experiments/open_weights/check.py

.venv-parity/installed: pyproject.toml $(PARITY)
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/python -m pip install --quiet --disable-pip-version-check --editable . $(addprefix -r ,$(PARITY))
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'The documentation: build/docs/index.html'

$(VENV)/docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) .venv-parity build *.egg-info
