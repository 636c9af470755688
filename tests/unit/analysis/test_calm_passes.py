"""Passes that are kept of a long run on a shared machine."""

import numpy as np
import pytest

from convsweep.analysis.calm_passes import only_calm

PROBLEMS = np.repeat(np.arange(6), 2)


def times(passes: int, deviation: float = 0.01) -> np.ndarray:
    """Logarithms of times of two backends on each problem."""
    rng = np.random.default_rng(3)
    return rng.normal(np.arange(len(PROBLEMS))[:, np.newaxis], deviation, (len(PROBLEMS), passes))


def test_passes_that_slow_everything_down_are_left_out() -> None:
    log_s = times(30)
    log_s[:, 4:16] += np.linspace(0.3, 0.6, len(PROBLEMS))[:, np.newaxis]  # some suffer more
    kept = ~np.isnan(only_calm(log_s, PROBLEMS))
    assert not kept[:, 4:16].any()
    assert kept.sum() == 18 * len(PROBLEMS)


def test_ten_passes_are_kept_of_a_machine_that_is_never_calm() -> None:
    log_s = times(30) + np.arange(30) / 10
    kept = ~np.isnan(only_calm(log_s, PROBLEMS))
    assert kept[:, :10].all()
    assert not kept[:, 10:].any()


def test_all_passes_of_a_calm_machine_are_kept() -> None:
    assert np.array_equal(only_calm(times(30), PROBLEMS), times(30))


def test_a_problems_own_times_do_not_decide() -> None:
    log_s = times(30)
    log_s[:, ::3] += 0.2
    before = np.isnan(only_calm(log_s, PROBLEMS))[:2]
    assert before.any()
    log_s[:2] += np.random.default_rng(4).normal(0, 1, (2, 30))
    assert np.array_equal(np.isnan(only_calm(log_s, PROBLEMS))[:2], before)


@pytest.mark.parametrize("log_s", [times(10), times(30)[:2], times(30)[:0]])
def test_few_passes_or_a_single_problem_are_kept(log_s: np.ndarray) -> None:
    assert np.array_equal(only_calm(log_s, PROBLEMS[: len(log_s)]), log_s)


def test_passes_without_other_problems_are_kept() -> None:
    log_s = times(40)
    log_s[2:, 20:] = np.nan
    kept = ~np.isnan(only_calm(log_s, PROBLEMS))
    assert kept[:2, 20:].all()
    assert kept[2:, :20].all()
