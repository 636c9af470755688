# Two commands do all the set-up: `make report` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: report test test-fast test-process test-compile lint bench

report: .venv/installed  ## sweep the quick grid; write CSV, figures and report
	run=quick-$$(date -u +%Y%m%d-%H%M%S) && \
	$(BIN)/convsweep run --grid quick --out results/$$run && \
	$(BIN)/convsweep report results/$$run --out reports/$$run

# Three processes beside each other: no engine's threads meet a fork, and nobody waits for compilers.
test: .venv/installed  ## pass all tests; time nothing
	$(MAKE) --jobs=3 --output-sync=target test-fast test-process test-compile

test-fast: .venv/installed  ## pass the tests that start no process and compile nothing
	$(BIN)/pytest -m "not (process or compile or ray or browser)"

test-process: .venv/installed
	$(BIN)/pytest -m "process or ray or browser"

test-compile: .venv/installed
	$(BIN)/pytest -m compile

lint: .venv/installed  ## format, lint and types, without changing a file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/installed  ## time the bench suites with pytest-benchmark
	$(BIN)/pytest --benchmark-only

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
