# Everything runs in an environment of its own, .venv, made on first use. Works from any folder:
# make -C /path/to/pilarnet-clr demo
ROOT := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
VENV ?= $(ROOT)/.venv
BIN := $(VENV)/bin
DEMO := $(ROOT)/build/demo
INSTALLED := $(VENV)/.installed
EXTRAS := train,plot,view,eval,dev

.PHONY: help demo test lint env minkowski test-minkowski test-gpu test-slow bench clean

help:  ## say what can be made
	@grep -E '^[a-z-]+:.*##' $(ROOT)/Makefile | sed -E 's/:.*## /\t/' | expand -t 18

env: $(INSTALLED)  ## make the environment

$(INSTALLED): $(ROOT)/setup.cfg $(ROOT)/pyproject.toml $(ROOT)/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(ROOT)/constraints.txt -e '$(ROOT)[$(EXTRAS)]'
	@touch $@

demo: $(INSTALLED)  ## convert the bundled sample and print its table
	$(BIN)/pilarnet-convert --input $(ROOT)/data/sample/dlprod_192px_00.root --out $(DEMO)/shards --overwrite
	$(BIN)/pilarnet-stats $(DEMO)/shards --verify

lint: $(INSTALLED)
	cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test: lint  ## check style and types, run the tests
	cd $(ROOT) && $(BIN)/pytest

clean:  ## remove what was made here
	rm -rf $(ROOT)/build $(VENV)
