"""The bench suites' cases, each held to the truth before it is timed, and their rows in results/.

One pytest process is one pass: its rows have medians, but no interval. `convsweep run` has both.
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
    skipped_outcome,
    validate,
)
from convsweep.measure.outcome import Outcome, RunInfo, make_row, utc_now
from convsweep.measure.sampling import quantiles
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.sweep import session
from convsweep.sweep.forecast import Predictor
from convsweep.sweep.request import DEFAULT_GRID, Options, Request, read_request
from convsweep.sweep.run_writer import RunWriter, precision_settings
from convsweep.sweep.state import predicted_timeout
from convsweep.system.devices import use_full_precision
from convsweep.system.environment import describe
from convsweep.system.process import fix_threads, retain_memory

SETTINGS = Settings(case_timeout_s=1.0)


class BenchRun:
    """The run that this pytest process adds to results/, opened with its first row."""

    def __init__(self, request: Request) -> None:
        self.backends = request.backends
        self._request = request
        self._predictor = Predictor()
        self.out: Path | None = None

    @cached_property
    def _opened(self) -> tuple[RunWriter, RunInfo]:
        run_id = session.new_run_id("pytest-benchmark")
        self.out = session.RESULTS / run_id
        devices = dict(self._request.device_descriptions)
        machine = describe(devices)
        told = {
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
        return RunWriter(self.out, told), run

    def unfit(self, case: Case) -> Outcome | None:
        """Why the case can't be timed, or not in time."""
        skipped = skipped_outcome(case, self.backends[case.backend])
        return skipped or predicted_timeout(case, self._predictor, SETTINGS)

    def add(self, case: Case, outcome: Outcome) -> None:
        """Put the case's row on the disk."""
        if outcome.first_call_s is not None:
            self._predictor.observe(case, outcome.median_s or outcome.first_call_s)
        recording, run = self._opened
        row = make_row(run, case, self.backends[case.backend], 0, outcome)
        recording.add(row, outcome.blocks)

    def close(self) -> None:
        """Write the summary, if there is anything to sum up."""
        if self.out:
            self._opened[0].close()


_RUN = pytest.StashKey[BenchRun]()


def read_options(config: pytest.Config, grid: str) -> Request:
    """The sweep of `grid` that the options ask for."""
    options = Options(
        grid=grid,
        backends=config.getoption("--backend"),
        devices=config.getoption("--device"),
        dtypes=config.getoption("--dtype"),
    )
    return read_request(options)


def pytest_configure(config: pytest.Config) -> None:
    """Set this process up as `convsweep run` sets up its measuring processes."""
    retain_memory()
    use_full_precision()
    fix_threads(SETTINGS.threads)
    config.stash[_RUN] = BenchRun(read_options(config, config.getoption("--grid") or DEFAULT_GRID))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Small problems first, so that what can't end in time is predicted from them.

    A module's GRID is what it times; `--grid` takes the place of the default one, alone.
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
def _contest(group: Case) -> BenchmarkGroup:
    return setup_group([group], case_timeout_s=SETTINGS.case_timeout_s, effort=SETTINGS.effort)


@pytest.fixture
def admitted(case: Case, pytestconfig: pytest.Config) -> ValidatedCase:
    """The case, held to the truth; one that can't be timed is skipped, a wrong one fails."""
    run = pytestconfig.stash[_RUN]
    found = run.unfit(case) or validate(replace(_contest(case.group), cases=[case]), 0)
    if isinstance(found, ValidatedCase):
        return found
    run.add(case, found)
    if found.status in ("skipped", "timeout"):
        pytest.skip(f"{case.backend}: {found.reason}")
    pytest.fail(f"{case.backend} on {case.problem.label}: {found.status}: {found.reason}")


@pytest.fixture
def measure(
    case: Case, admitted: ValidatedCase, benchmark: BenchmarkFixture, pytestconfig: pytest.Config
) -> Callable[[], None]:
    """Time the admitted case, its device synchronised after every call, and write its row."""
    device = _contest(case.group).device

    def call() -> None:
        admitted.call()
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
            admitted.outcome,
            samples=benchmark.stats.stats.rounds,
            iterations=benchmark.stats.iterations,
            **asdict(taken),
        )
        pytestconfig.stash[_RUN].add(case, outcome)

    return timed


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Sum the rows up."""
    session.config.stash[_RUN].close()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say where the rows are."""
    if out := config.stash[_RUN].out:
        terminalreporter.write_line(f"Results: {out}")
