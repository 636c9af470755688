# `make report` and `make test` install what they need into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

TESTS := test-compile test-process test-cluster test-fast

.PHONY: report test test-fast test-process test-compile test-cluster lint bench docs

report: .venv/installed  ## measure the quick grid; write CSV, figures and report
	run=quick-$$(date -u +%Y%m%d-%H%M%S) && \
	$(BIN)/convsweep run --grid quick --out results/$$run && \
	$(BIN)/convsweep report results/$$run --out reports/$$run

# pytest processes in parallel: engine threads never meet a fork; compiling and waiting overlap.
# The fast tests, in two processes, take what the others leave of the cores, and all at the end.
test: .venv/installed-dev  ## run all tests
	$(MAKE) --jobs=4 --output-sync=target $(TESTS)

test-fast: .venv/installed-dev  ## run the tests that start no process and compile nothing
	nice $(BIN)/pytest --numprocesses=2 --dist=loadfile tests/unit tests/test_architecture.py

test-process: .venv/installed-dev
	$(BIN)/pytest --numprocesses=2 --dist=loadfile tests/process

test-cluster: .venv/installed-dev
	$(BIN)/pytest tests/cluster tests/browser

test-compile: .venv/installed-dev
	$(BIN)/pytest tests/compile

lint: .venv/installed-dev  ## check format, lint and types; change nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed-dev  ## time the bench suites with pytest-benchmark
	$(BIN)/pytest --benchmark-only

docs: .venv/installed  ## generate docs/cli.md and docs/schema.md
	$(BIN)/python docs/generate.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
