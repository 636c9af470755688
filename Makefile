# Two commands do all the set-up: `make report` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: report test test-starting test-strategies test-others lint bench

report: .venv/installed  ## sweep the quick grid; write CSV, figures and report
	run=quick-$$(date -u +%Y%m%d-%H%M%S) && \
	$(BIN)/convsweep run --grid quick --out results/$$run && \
	$(BIN)/convsweep report results/$$run --out reports/$$run

# Tests that start processes, and tests of strategies, each in a process of their own beside all others:
# no engine's threads come to meet a fork, and nobody waits for compilers.
STARTING := $(wildcard $(patsubst %,tests/test_%*.py,accuracy advise bench cli conductor coverage \
	crash_safety faults full_disk harness lock networks resume runner sharded stopping store two_devices))
STRATEGIES := $(wildcard $(patsubst %,tests/test_%*.py,algorithms backends engines kernels optimize triton))

test: .venv/installed  ## pass the tests, in three processes; time nothing
	$(MAKE) --jobs=3 --output-sync=target test-starting test-strategies test-others

test-starting: .venv/installed
	$(BIN)/pytest $(STARTING)

test-strategies: .venv/installed
	$(BIN)/pytest $(STRATEGIES)

test-others: .venv/installed
	$(BIN)/pytest $(addprefix --ignore=,$(STARTING) $(STRATEGIES))

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
