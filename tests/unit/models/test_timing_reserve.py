"""Seconds of a budget that `optimize` keeps for timing the whole model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep.models.optimize.speedup import LAYERS_SHARE, least_s, reserve_s

TIMES = st.floats(0.0, 1e3)


@given(TIMES, st.integers(1, 2), TIMES, TIMES)
def test_no_more_than_the_shares_of_the_budget_is_kept(
    call_s: float, copies: int, timing_s: float, longest_s: float
) -> None:
    most_s = max(timing_s, longest_s) + copies * LAYERS_SHARE * timing_s
    kept_s = reserve_s(call_s, copies, timing_s, longest_s)
    assert kept_s <= most_s
    if timing_s and least_s(call_s, 1 + copies) <= longest_s:
        assert kept_s >= least_s(call_s, 1 + copies)


@pytest.mark.parametrize("timing_s", [10.0, 100.0])
def test_a_quick_model_keeps_time_by_its_calls(timing_s: float) -> None:
    quick_s = reserve_s(0.01, 2, timing_s, 18.0)
    assert quick_s == pytest.approx(10 * reserve_s(0.001, 2, timing_s, 18.0))
    assert quick_s < timing_s


@pytest.mark.parametrize(("call_s", "timing_s"), [(10.0, 10.0), (0.001, 0.0)])
def test_nothing_is_kept_for_a_model_that_is_not_timed(call_s: float, timing_s: float) -> None:
    assert reserve_s(call_s, 2, timing_s, 18.0) == 0
