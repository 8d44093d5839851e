# Everything runs in an environment of its own, .venv, made on first use. Works from any folder:
# make -C /path/to/pilarnet-clr demo
ROOT := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
VENV ?= $(ROOT)/.venv
LARCV3_VENV := $(ROOT)/.venv-larcv3
BIN := $(VENV)/bin
DEMO := $(ROOT)/build/demo
SAMPLE := $(ROOT)/data/sample/g4_192px_sample.root
INSTALLED := $(VENV)/.installed
EXTRAS := formats,train,plot,view,eval,remote,download,docs,dev

.PHONY: help env demo lint test docs minkowski test-minkowski larcv3 test-larcv3 test-gpu test-slow test-cluster fuzz chaos clean

help:  ## say what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(ROOT)/Makefile | sed -E 's/:.*## /\t/' | expand -t 18

env: $(INSTALLED)  ## make the environment

$(INSTALLED): $(ROOT)/setup.cfg $(ROOT)/pyproject.toml $(ROOT)/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(ROOT)/constraints.txt -e '$(ROOT)[$(EXTRAS)]'
	@touch $@

demo: $(INSTALLED)  ## convert the bundled sample, print its table, train a minute or two on it
	$(BIN)/pilarnet-convert --input $(SAMPLE) --out $(DEMO)/shards --overwrite
	$(BIN)/pilarnet-stats $(DEMO)/shards --verify
	$(BIN)/pilarnet-view $(SAMPLE) --entry 79 --out $(DEMO)/event.html --png $(DEMO)/event.png
	$(BIN)/clr-train --shards $(DEMO)/shards --out $(DEMO)/run --overwrite --batch-size 64 --epochs 8
	@echo
	@echo "How to read the table: 'trained' learned without labels, in about a minute, from 2,465 particles; it should lie far above"
	@echo "'untrained', and near or above the handcrafted features. docs/study.md shows what it is worth on another detector."
	@echo "Look at $(DEMO)/event.png, and open $(DEMO)/event.html in a browser."

lint: $(INSTALLED)  ## check style and types
	cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test: lint  ## check style and types, run the tests
	cd $(ROOT) && OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# Not --quiet: it hides the warnings that strict mode counts, and a broken link would pass.
docs: $(INSTALLED)  ## build the documentation into build/site; a broken link is an error
	cd $(ROOT) && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

minkowski: $(INSTALLED)  ## build MinkowskiEngine (10 minutes, once) and install it beside
	$(ROOT)/tools/build_minkowski.sh $(VENV)

test-minkowski: $(INSTALLED)  ## compare the engines (after make minkowski)
	cd $(ROOT) && $(BIN)/pytest -m minkowski tests/clr_train

larcv3:  ## build larcv (12 minutes, once) in .venv-larcv3, an environment of its own
	PYTHON=$(PYTHON) $(ROOT)/tools/build_larcv.sh $(LARCV3_VENV)

test-larcv3: $(INSTALLED)  ## read what larcv itself writes (after make larcv3)
	cd $(ROOT) && $(BIN)/pytest -m larcv3 tests/pilarnet_convert

test-gpu: $(INSTALLED)  ## the tests that need a CUDA device
	cd $(ROOT) && $(BIN)/pytest -m gpu

test-slow: $(INSTALLED)  ## the tests that take minutes
	cd $(ROOT) && $(BIN)/pytest -m slow

test-cluster: $(INSTALLED)  ## the tests that start Dask clusters
	cd $(ROOT) && $(BIN)/pytest -m cluster

fuzz: $(INSTALLED)  ## read mutated files, shards and checkpoints, 1,000 each; print a table
	cd $(ROOT) && OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.fuzzing --inputs 1000

chaos: $(INSTALLED)  ## kill conversions, trainings and evaluations, 30 times each; print a table
	cd $(ROOT) && OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.chaos --kills 30

clean:  ## remove all that was made here: build/, the environments and the caches
	rm -rf $(ROOT)/build $(VENV) $(LARCV3_VENV) $(ROOT)/*.egg-info
	rm -rf $(addprefix $(ROOT)/,.pytest_cache .mypy_cache .ruff_cache .hypothesis)
	find $(ROOT) -name __pycache__ -prune -exec rm -rf {} +
