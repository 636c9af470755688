"""Who goes on to another pass, and what a run with a budget leaves open."""

from collections.abc import Sequence

import numpy as np
import pytest

from convsweep import ConvProblem
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case, cross
from convsweep.problems.workloads import Layer
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.stopping import (
    FIRST_LOOK,
    Budget,
    OpenComparisons,
    RunningResults,
    SweepMonitor,
    active_cases,
    open_comparisons,
)

LAYERS = [Layer(ConvProblem(channels, channels, (8, 8), 3)) for channels in (1, 2, 3)]
CASES = cross(LAYERS, ("torch_conv", "other"))


def tally(speedups: Sequence[float], passes: int = 6, spread: float = 0.003) -> RunningResults:
    """A problem for each speedup of `other` over the baseline."""
    rng, kept = np.random.default_rng(3), RunningResults("torch_conv")
    for case, speedup in zip(CASES[1::2], speedups, strict=False):
        for pass_index in range(passes):
            base, own = 1e-3 * np.exp(rng.normal(0, spread, 2))
            kept.add(pass_index, case.on("torch_conv"), Outcome("ok", time_s=base))
            kept.add(pass_index, case, Outcome("ok", time_s=own / speedup))
    return kept


def open_problems(
    kept: RunningResults, pass_index: int, precision: float | None = None
) -> list[Case]:
    found = active_cases(kept, pass_index, precision)
    assert found is not None
    return sorted({case.on("") for case in found}, key=lambda case: case.problem.in_channels)


def test_all_go_on_until_passes_can_be_compared() -> None:
    kept = tally([2.0], passes=1)
    assert [active_cases(kept, p, None) for p in range(FIRST_LOOK)] == [None] * FIRST_LOOK


def test_a_settled_problem_drops_out_with_its_baseline() -> None:
    assert open_problems(tally([2.0, 1.02, 0.5]), 6) == [CASES[2].group]


def test_a_precision_asks_for_narrow_intervals_whatever_the_verdict() -> None:
    kept = tally([2.0, 1.0], spread=0.003)
    assert open_problems(kept, 8, precision=0.02) == []
    assert open_problems(kept, 8, precision=1e-4) == [CASES[0].group, CASES[2].group]


def test_a_case_that_is_compared_with_nothing_needs_its_time() -> None:
    kept = RunningResults("torch_conv")
    for pass_index, seconds in enumerate((1.0, 1.2, 0.8, 1.1)):
        kept.add(pass_index, CASES[1], Outcome("ok", time_s=seconds))
        kept.add(pass_index, CASES[3], Outcome("ok", time_s=1.0 + 1e-4 * pass_index))
    assert open_problems(kept, 4) == [CASES[1].group]


def test_what_failed_is_never_open() -> None:
    kept = tally([2.0])
    kept.add(0, CASES[2], Outcome("ok", time_s=1.0))
    kept.add(1, CASES[2], Outcome("timeout"))  # after a time
    kept.add(0, CASES[3], Outcome("crash", "killed"))
    assert active_cases(kept, 6, None) == set()
    assert open_comparisons(kept, case_s=1.0) == OpenComparisons(0, 0, 0, 0.0)


def test_speedups_are_paired_by_pass() -> None:
    kept = RunningResults("torch_conv")
    for pass_index, seconds in ((0, 1.0), (1, 2.0), (2, 4.0)):
        kept.add(pass_index, CASES[0], Outcome("ok", time_s=seconds))
    for pass_index, seconds in ((2, 2.0), (1, 1.0), (7, 9.0)):
        kept.add(pass_index, CASES[1], Outcome("ok", time_s=seconds))
    assert list(kept.log_speedups()) == [CASES[1]]
    assert kept.log_speedups()[CASES[1]] == pytest.approx([np.log(2), np.log(2)])


def test_a_run_does_not_go_on_for_separable_parts_without_time_for_them() -> None:
    request = read_request(Options(axes=("in_channels=8", "size=14"), budget="20s"))
    monitor = SweepMonitor(request)
    [part, *_] = request.separable_parts
    for pass_index, median_s in enumerate([1.0, 2.0, 4.0, 1.0]):
        monitor.results.add(pass_index, part, Outcome("ok", time_s=median_s))
    assert monitor.active_cases(4) == {part}
    assert monitor.end_reason == "all_passes"
    assert monitor.active_cases(4, auxiliary=False) == set()
    assert monitor.end_reason == "converged"


def test_a_budget_runs_out_before_the_end_of_the_command() -> None:
    now_s = iter([103.0, 112.0])
    budget = Budget(10.0, started_s=100.0, now_s=lambda: next(now_s))
    assert 0 < budget.left_s < 7.0  # the rest is for the results
    assert budget.left_s < -2.0
    assert Budget(None, started_s=100.0).left_s == float("inf")
    fewer, more = (Budget(100.0, 0.0, cases, now_s=lambda: 0.0).left_s for cases in (10, 10_000))
    assert fewer > more > 90.0


def test_what_is_left_open_says_how_much_longer() -> None:
    left = open_comparisons(tally([2.0, 1.03], spread=0.05), case_s=0.5)
    assert (left.cases, left.early, left.on_the_margin) == (1, 0, 0)
    assert left.more_s >= 1.0
    longer = open_comparisons(tally([2.0, 1.03], spread=0.05), case_s=1.0)
    decided = open_comparisons(tally([2.0, 0.5]), case_s=1.0)
    assert left is not None
    assert longer is not None
    assert longer.more_s == 2 * left.more_s
    assert decided == OpenComparisons(0, 0, 0, 0.0)
    assert open_comparisons(RunningResults("torch_conv"), case_s=1.0) is None


def test_one_pass_does_not_tell_how_much_longer() -> None:
    assert open_comparisons(tally([2.0, 1.0], passes=1), case_s=1.0) == OpenComparisons(
        2, 2, 0, 0.0
    )
