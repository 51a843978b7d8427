# make demo    set up, make and edit faces from sentences, train a small model, and say where the pictures are
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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,browser]'
	touch $@

demo: $(STAMP)
	$(BIN)/imggen generate --model avatars --prompt 'a {smiling, sad} person with {blue, ginger} hair and round glasses' \
	    --num 6 --out $(DEMO)/faces
	$(BIN)/imggen edit --model avatars --image $(DEMO)/faces/000_000000.png --swap smiling=angry --out $(DEMO)/edited
	$(BIN)/imggen interpolate --model avatars --seed 3 --frames 12 --out $(DEMO)/way \
	    --prompts 'a smiling person with long pink hair' 'a sad person with a bald head and a beard'
	$(BIN)/imggen train --config demo --workdir $(DEMO)/training
	@echo
	@echo 'Faces from sentences: $(DEMO)/faces/grid.png'
	@echo 'A word changed:       $(DEMO)/edited/sheet.png'
	@echo 'A way of sentences:   $(DEMO)/way/sheet.png'
	@echo 'A model in training:  $(DEMO)/training/report.html'

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
