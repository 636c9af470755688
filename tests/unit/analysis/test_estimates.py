"""Estimates of a case over its passes: trimmed means, intervals, differences."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from convsweep.analysis.estimates import (
    CONFIDENCE,
    bounds,
    difference,
    estimate,
    interval,
    weighted_mean,
)
from tests.support.intervals import geometric_interval

seconds = st.floats(1e-7, 1e3)


@given(st.lists(seconds, min_size=2, max_size=12))
def test_the_interval_is_that_of_the_trimmed_mean_of_the_logarithms(values: list[float]) -> None:
    logs, passes = np.log(values), len(values)
    outside = (passes - 1) // 4  # at either end
    kept, share = passes - 2 * outside, outside / passes + 1e-9
    spread = np.asarray(stats.mstats.winsorize(logs, (share, share))).std(ddof=1)
    error = spread * math.sqrt((passes - 1) / (kept * (kept - 1)))
    middle = stats.trim_mean(logs, share)
    low, high = stats.t.interval(CONFIDENCE, kept - 1, loc=middle, scale=max(error, 1e-300))
    found = geometric_interval(np.array(values))
    assert found == pytest.approx(tuple(np.exp([middle, low, high])))


@given(st.lists(seconds, min_size=5, max_size=12), st.floats(1.5, 100))
def test_one_disturbed_pass_hardly_matters(values: list[float], slower: float) -> None:
    found, disturbed = sorted(values), sorted(values)
    disturbed[-1] *= slower
    assert geometric_interval(np.array(disturbed)) == pytest.approx(
        geometric_interval(np.array(found))
    )


@given(st.lists(seconds, min_size=2, max_size=8))
def test_swapping_who_is_divided_by_whom_turns_the_interval_over(values: list[float]) -> None:
    there, back = geometric_interval(np.array(values)), geometric_interval(1 / np.array(values))
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx(there)


@given(seconds)
def test_one_value_gives_no_interval(value: float) -> None:
    found = geometric_interval(np.array([value]))
    assert found.value == pytest.approx(value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_no_value_gives_nothing_at_all() -> None:
    assert all(math.isnan(part) for part in geometric_interval(np.array([])))


@pytest.mark.parametrize("passes", [2, 5, 10])
def test_nineteen_of_twenty_intervals_hold_the_truth(passes: int) -> None:
    generator = np.random.default_rng(passes)
    runs = 2e-3 * np.exp(generator.normal(0, 0.03, size=(4000, passes)))
    _, low, high = bounds(estimate(np.log(runs)))
    held = np.mean((low <= 2e-3) & (high >= 2e-3))
    assert 0.93 < held < 0.97


@given(st.lists(seconds, min_size=2, max_size=8), st.lists(seconds, min_size=2, max_size=8))
def test_runs_that_share_no_pass_are_compared_by_welch(old: list[float], new: list[float]) -> None:
    logs = np.log(old), np.log(new)
    assume(all(estimate(each).standard_error > 1e-6 for each in logs))
    # Yuen 1974; a fifth of up to eight values is as many as we leave out.
    expected = stats.ttest_ind(*logs, equal_var=False, trim=0.2)
    found = difference(*map(estimate, logs))
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.degrees == pytest.approx(expected.df)


@given(st.integers(1, 6), st.integers(2, 4), st.integers(0, 99))
def test_a_mean_over_cases_that_have_all_passes_is_students(
    cases: int, passes: int, seed: int
) -> None:
    logs = np.random.default_rng(seed).normal(0, 0.1, size=(cases, passes))
    found = weighted_mean(logs, np.full(cases, 1 / cases))
    assert interval(found) == pytest.approx(geometric_interval(np.exp(logs.mean(axis=0))))


@given(st.lists(seconds, min_size=2, max_size=12))
def test_a_mean_over_one_case_is_the_case(values: list[float]) -> None:
    logs = np.log([values])
    assume(np.ptp(logs) > 1e-9)
    assert interval(weighted_mean(logs, np.ones(1))) == pytest.approx(
        geometric_interval(np.array(values))
    )


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0], ids=lambda part: f"{part} shared")
def test_a_mean_over_cases_that_stopped_early_and_late_holds_the_truth(shared: float) -> None:
    """Twelve cases of four passes and eight of twelve; errors are the case's own, or the pass'."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        own, common = generator.normal(size=(20, 12)), generator.normal(size=12)
        logs = 0.03 * (math.sqrt(1 - shared) * own + math.sqrt(shared) * common)
        logs[:12, 4:] = np.nan
        found = interval(weighted_mean(logs, np.full(20, 1 / 20)))
        held += found.low <= 1 <= found.high
    assert 0.92 < held / 600 < 0.99


def test_a_case_with_one_pass_leaves_the_mean_without_an_interval() -> None:
    found = interval(weighted_mean(np.log([[2.0, 2.0], [2.0, math.nan]]), np.array([0.5, 0.5])))
    assert found.value == pytest.approx(2.0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
