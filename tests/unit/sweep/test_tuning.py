"""Blocks per pass that a run with a budget chooses for itself."""

from collections.abc import Sequence

import numpy as np
import pytest

from convsweep import ConvProblem
from convsweep.problems.case import Case, cross
from convsweep.problems.workloads import Layer
from convsweep.sweep.tuning import TUNED_AFTER, Tuning

CASES = cross([Layer(ConvProblem(c, c, (8, 8), 3)) for c in range(1, 41)], ("torch_conv", "other"))


def tuning(
    within: float,
    between: float,
    blocks: int = 2,
    passes: int = TUNED_AFTER[0],
    cases: Sequence[Case] = CASES,
    known: Tuning | None = None,
) -> Tuning:
    """Passes of the cases, with standard deviations of the logarithms of times."""
    rng, found = np.random.default_rng(5), known or Tuning()
    for case in cases:
        for _ in range(passes):
            level = rng.normal(0, between)
            found.add(case, [[1e-3 * np.exp(level + rng.normal(0, within))] for _ in range(blocks)])
    return found


def chosen(found: Tuning, fixed_s: float = 1.0, left_s: float = 60.0) -> int | None:
    return found.blocks("torch_conv", fixed_s, timing_s=1.0, left_s=left_s)


def test_noise_within_a_pass_takes_more_blocks_than_noise_between_passes() -> None:
    noisy, varied = chosen(tuning(0.1, 0.0)), chosen(tuning(0.01, 0.1))
    assert noisy is not None
    assert varied is not None
    assert noisy > varied


def test_the_more_a_pass_costs_the_more_it_measures() -> None:
    found = tuning(0.05, 0.03)
    costs = [chosen(found, fixed_s) or 0 for fixed_s in (0.0, 1.0, 10.0)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_a_pass_without_a_block_tells_nothing() -> None:
    assert tuning(0.1, 0.0).blocks("torch_conv", fixed_s=0.0, timing_s=0.0, left_s=1.0) is None


def test_a_short_budget_keeps_enough_passes() -> None:
    found = tuning(0.1, 0.01)
    assert (chosen(found, left_s=5.0) or 0) < (chosen(found, left_s=600.0) or 0)


def test_an_interval_narrower_than_the_drift_between_runs_takes_more_blocks() -> None:
    narrow, wide = (chosen(tuning(0.1 * s, 0.05 * s), left_s=600.0) or 0 for s in (0.1, 1.0))
    assert narrow > wide


def test_cases_that_have_ended_do_not_count() -> None:
    half = len(CASES) // 2
    found = chosen(tuning(0.02, 0.01, passes=8, cases=CASES[:half]))
    ended = tuning(0.5, 0.5, blocks=4, cases=CASES[half:])
    assert chosen(tuning(0.02, 0.01, passes=8, cases=CASES[:half], known=ended)) == found


def test_more_passes_show_that_passes_differ_less() -> None:
    few, many = (chosen(tuning(0.1, 0.0, blocks=4, passes=n)) or 0 for n in (2, 8))
    assert many > few


def test_single_blocks_take_the_more_blocks_the_more_a_pass_costs() -> None:
    found = tuning(0.05, 0.03, blocks=1)
    assert (chosen(found, 0.1) or 0) < (chosen(found, 10.0) or 0)


@pytest.mark.parametrize("found", [Tuning(), tuning(0.1, 0.1, passes=1)])
def test_too_few_samples_choose_nothing(found: Tuning) -> None:
    assert chosen(found) is None
