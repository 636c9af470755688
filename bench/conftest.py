"""Cases of the bench suites: checked, timed by pytest-benchmark, and written to results/.

One pytest process is one pass: its rows have medians but no interval. `convsweep run` has both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from convsweep.measure.gate import (
    BenchmarkGroup,
    ValidatedCase,
    setup_group,
    validate,
)
from convsweep.measure.outcome import Outcome, RunInfo, make_row, skipped_outcome, utc_now
from convsweep.measure.sampling import quantiles
from convsweep.measure.settings import Settings
from convsweep.measure.timing import add_implementation
from convsweep.problems.case import Case
from convsweep.results import store
from convsweep.sweep.chosen_layers import DEFAULT_GRID
from convsweep.sweep.forecast import Predictor
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.run_writer import RunWriter, precision_settings
from convsweep.system.devices import use_full_precision
from convsweep.system.environment import describe
from convsweep.system.process import fix_threads, retain_memory

SETTINGS = Settings(case_timeout_s=1.0)


class BenchRun:
    """Run folder of this pytest process, made with its first row."""

    def __init__(self, request: Request) -> None:
        self.backends = request.backends
        self._request = request
        self._predictor = Predictor()
        self.out: Path | None = None

    @cached_property
    def _writer_and_run(self) -> tuple[RunWriter, RunInfo]:
        run_id = store.new_run_id("pytest-benchmark")
        self.out = store.RESULTS / run_id
        devices = dict(self._request.device_descriptions)
        machine = describe(devices)
        metadata = {
            "run_id": run_id,
            "command": "pytest --benchmark-only",
            "started_at": utc_now(),
            "baseline": self._request.baseline,
            **machine,
            "settings": {
                "case_timeout_s": SETTINGS.case_timeout_s,
                "allocator": retain_memory(),
                **precision_settings(),
            },
        }
        run = RunInfo(run_id, machine["environment_id"], devices, "pytest-benchmark")
        return RunWriter(self.out, metadata), run

    def skip_outcome(self, case: Case) -> Outcome | None:
        """Return the outcome of a case that cannot run, or not in time; None if it can."""
        skipped = skipped_outcome(case, self.backends[case.backend])
        return skipped or self._predictor.timeout(case, SETTINGS)

    def add(self, case: Case, outcome: Outcome) -> None:
        """Write the case's row."""
        self._predictor.observe(case, outcome)
        writer, run = self._writer_and_run
        row = make_row(run, case, self.backends[case.backend], 0, outcome)
        writer.add(row, outcome.blocks)

    def close(self) -> None:
        """Write the summary if there is a row."""
        if self.out:
            self._writer_and_run[0].close()


_RUN = pytest.StashKey[BenchRun]()


def read_options(config: pytest.Config, grid: str) -> Request:
    """Return the request of a grid and the pytest options."""
    options = Options(
        grid=grid,
        backends=config.getoption("--backend"),
        devices=config.getoption("--device"),
        dtypes=config.getoption("--dtype"),
    )
    return read_request(options)


def pytest_configure(config: pytest.Config) -> None:
    """Set up this process like a worker of `convsweep run`."""
    retain_memory()
    use_full_precision()
    fix_threads(SETTINGS.threads)
    config.stash[_RUN] = BenchRun(read_options(config, config.getoption("--grid") or DEFAULT_GRID))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Sort cases by MACs, so that timeouts of large problems are predicted from small ones.

    Each module times its GRID; `--grid` replaces the default one only.
    """
    chosen, own = metafunc.config.getoption("--grid"), metafunc.module.GRID
    if chosen and own != DEFAULT_GRID:
        cases: list[Case] = []
    else:
        request = read_options(metafunc.config, chosen or own)
        cases = sorted(request.cases, key=lambda case: case.problem.macs)
    names = [f"{case.backend}-{case.problem.label}-{case.device}-{case.dtype}" for case in cases]
    metafunc.parametrize("case", cases, ids=names)


@lru_cache(maxsize=1)
def _group(group: Case) -> BenchmarkGroup:
    return setup_group([group], SETTINGS)


@pytest.fixture
def validated(case: Case, pytestconfig: pytest.Config) -> ValidatedCase:
    """Validate the case; skip it if it cannot run in time, fail if it is wrong."""
    run = pytestconfig.stash[_RUN]
    found = run.skip_outcome(case) or validate(replace(_group(case.group), cases=[case]), 0)
    if isinstance(found, ValidatedCase):
        return found
    run.add(case, found)
    if found.status in ("skipped", "timeout"):
        pytest.skip(f"{case.backend}: {found.reason}")
    pytest.fail(f"{case.backend} on {case.problem.label}: {found.status}: {found.reason}")


@pytest.fixture
def measure(
    case: Case, validated: ValidatedCase, benchmark: BenchmarkFixture, pytestconfig: pytest.Config
) -> Callable[[], None]:
    """Return a function that times the validated case and writes its row."""
    group = _group(case.group)
    device = group.device

    def call() -> None:
        validated.call()
        device.synchronize()

    def timed() -> None:
        problem = case.problem
        benchmark.group = f"{problem.label} {case.device} {case.dtype}"
        with torch.no_grad():
            benchmark(call)
        taken = quantiles(benchmark.stats.stats.data)
        benchmark.extra_info |= {
            "label": problem.label,
            "backend": case.backend,
            "flops_per_s": problem.flops / taken.median_s,
        }
        outcome = replace(
            validated.outcome,
            samples=benchmark.stats.stats.rounds,
            iterations=benchmark.stats.iterations,
            **asdict(taken),
        )
        with torch.no_grad():
            outcome = add_implementation(outcome, validated, group)
        pytestconfig.stash[_RUN].add(case, outcome)

    return timed


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the summary."""
    session.config.stash[_RUN].close()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print where the rows are."""
    if out := config.stash[_RUN].out:
        terminalreporter.write_line(f"Results: {out}")
