# Developer commands. Users need none of them: see README.md.
VENV ?= .venv-test
BIN := $(VENV)/bin

.PHONY: dev lint test unit protos wheel wheelhouse bundle bench fuzz machines

dev:            ## environment with everything, editable
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[test]'

protos:         ## stubs, Structs and the index of kinds from protos/*.proto
	PATH="$(CURDIR)/$(BIN):$(PATH)" $(BIN)/python -m protos.codegen

wheel:          ## dist/wherry-VERSION-py3-none-any.whl: all of Wherry, its units too
	rm -rf build/lib
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

wheelhouse:     ## the wheel and all that it needs, for deploy/install --wheelhouse dist/wheelhouse
	rm -rf build/lib dist/wheelhouse
	$(BIN)/pip wheel --quiet --wheel-dir dist/wheelhouse .

bundle:         ## dist/wherry-VERSION-PROCESSOR.tar.gz: what machines need that reach no index
	$(BIN)/python -m deploy.bundle $(RELEASES)

lint:           ## style, types, import contracts, playbooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$(PATH)" ansible-lint -q --offline deploy/ansible

unit:           ## pure tests, a few seconds
	tests/run unit

test:           ## the CI set
	tests/run

fuzz:           ## random and hostile input, for long; FUZZ="--seed 7 rest" and the like choose; FUZZ=--help
	$(BIN)/pip install --quiet -e '.[test,fuzz]'
	$(BIN)/python -m tests.fuzz --inputs 200000 --requests 1000000 --examples 50 $(FUZZ)

machines:       ## real systemd machines to try installs on, as root; tests/machines/vm help
	tests/machines/vm up

bench:          ## the performance report, with the targets beside
	$(BIN)/python -m tests.bench
