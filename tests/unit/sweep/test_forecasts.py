"""Predicted calls, the time left, and the forecast of a whole run."""

from dataclasses import replace

import pytest

from convsweep import Backend
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.problems.workloads import Layer
from convsweep.sweep.forecast import (
    PASS_START_S,
    START_S,
    Countdown,
    Predictor,
    compiling_s,
    forecast_s,
    references_s,
)
from tests.support.fake_sweep import BACKENDS, CASES, swept


def called(call_s: float) -> Outcome:
    return Outcome("ok", median_s=call_s)


def test_a_case_that_cannot_end_in_time_is_predicted_from_smaller_ones() -> None:
    def slow(case: Case) -> Outcome:
        slow_s = 1e-3 + case.problem.macs * 1e-6
        return Outcome("ok", median_s=slow_s if case.backend == "a" else 1e-5)

    found = swept(slow, settings=Settings(case_timeout_s=10.0))
    slow_ones = {case for _, case, outcome in found.rows if outcome.status == "timeout"}
    assert slow_ones == {c for c in CASES if c.backend == "a" and 4 * c.problem.macs * 1e-6 > 10}
    assert slow_ones
    assert not slow_ones.intersection(case for _, case in found.fakes.measured)
    assert all(
        "predicted from n1_" in o.reason for _, c, o in found.rows if c in slow_ones and o.reason
    )


@pytest.mark.parametrize(("threads", "fixed_s"), [(1, 1e-3), (2, 0.1)])
def test_the_fixed_time_of_a_call_predicts_nothing(threads: int, fixed_s: float) -> None:
    predictor = Predictor()
    small, large = (replace(case, threads=threads) for case in (CASES[0], CASES[-2]))
    predictor.observe(small, called(fixed_s))
    assert predictor.min_call_s(large) is None
    predictor.observe(small, called(fixed_s + 2.0))
    assert predictor.min_call_s(small) == (pytest.approx(2.0), small)


def test_a_prediction_takes_the_best_rate_of_the_same_kernel_size() -> None:
    cases = cross(GRIDS["channels"].layers(), ("a",))
    threes = [case for case in cases if case.problem.kernel_size == (3, 3)]
    predictor = Predictor()
    predictor.observe(threes[2], called(0.301))
    predictor.observe(threes[3], called(0.401))
    expected = 0.4 * threes[5].problem.macs / threes[3].problem.macs
    assert predictor.min_call_s(threes[5]) == (pytest.approx(expected), threes[3])
    assert predictor.min_call_s(threes[1]) is None
    assert predictor.min_call_s(cases[-2]) is None


def test_progress_counts_to_the_end() -> None:
    progress = swept().progress
    assert [now.done for now in progress] == list(range(1, 3 * len(CASES) + 1))
    assert {now.total for now in progress} == {3 * len(CASES)}
    assert progress[-1].remaining_s == pytest.approx(0.0, abs=1e-9)


LEFT_S = {CASES[0]: 1.0, CASES[1]: 3.0}


def test_the_time_left_scales_what_was_spent() -> None:
    now_s = iter([0.0, 10.0, 40.0])
    countdown = Countdown(LEFT_S, dict.fromkeys(LEFT_S, 1), now_s=lambda: next(now_s))
    countdown.tick(CASES[0])
    assert countdown.left_s == pytest.approx(30.0)
    countdown.tick(CASES[1])
    assert countdown.left_s == 0.0


def test_what_only_the_first_pass_does_does_not_stretch_the_others() -> None:
    now_s = iter([0.0, 10.0, 20.0, 22.0])
    cases = [*LEFT_S]
    countdown = Countdown(
        dict.fromkeys(cases, 1.0),
        dict.fromkeys(cases, 10),
        dict.fromkeys(cases, 4.0),
        now_s=lambda: next(now_s),
    )
    countdown.tick(cases[0])
    countdown.tick(cases[1])
    assert countdown.left_s == pytest.approx(2.0 * 18)  # as forecast: ten seconds each, for five
    countdown.tick(cases[0])
    assert 17 <= countdown.left_s <= 2.0 * 17
    assert (countdown.done, countdown.total) == (3, 20)


def test_a_first_small_case_that_took_long_does_not_make_the_rest_endless() -> None:
    now_s = iter([0.0, 5.0])
    left_s = {CASES[0]: 0.01, CASES[1]: 99.99}
    countdown = Countdown(left_s, dict.fromkeys(left_s, 1), now_s=lambda: next(now_s))
    countdown.tick(CASES[0])
    assert 100.0 < countdown.left_s < 300.0


def test_what_is_compiled_once_does_not_stretch_the_time_left() -> None:
    now_s = iter([0.0, 50.0])
    countdown = Countdown(LEFT_S, dict.fromkeys(LEFT_S, 1), now_s=lambda: next(now_s))
    countdown.tick(CASES[0], once_s=40.0)
    assert countdown.left_s == pytest.approx(30.0)


def test_a_forecast_grows_with_cases_passes_and_work_and_stops_at_the_limit() -> None:
    backends, settings = BACKENDS, Settings()
    one, two, three = (forecast_s(CASES, backends, settings, passes) for passes in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert one > two - one > 0
    assert forecast_s(CASES[:10], backends, settings, passes=1) < one
    slow = {"a": Backend("a", lambda p, w: None, nominal_macs_per_s=1.0)}
    slow_ones = [
        case for case in CASES if case.backend == "a" and case.problem.kernel_size == (3, 3)
    ]
    capped = forecast_s(slow_ones, slow, settings, passes=1)
    assert capped == pytest.approx(
        START_S + PASS_START_S + references_s(slow_ones) + settings.case_timeout_s
    )


def test_compiling_is_forecast_once_for_all_or_for_each_problem() -> None:
    once = {"a": replace(BACKENDS["a"], compile_s=40.0)}
    each = {"a": replace(once["a"], compiles_per_problem=True)}
    cases = [case for case in CASES if case.backend == "a"]
    assert compiling_s(cases, once) == 40.0
    assert compiling_s(cases, each) == compiling_s(cases, {"a": BACKENDS["a"]}) == 0.0
    plain, first, all_, more = (
        forecast_s(cases, backends, Settings(), passes)
        for backends, passes in (({"a": BACKENDS["a"]}, 1), (once, 1), (each, 1), (each, 2))
    )
    assert plain == first < all_ - 0.1 * len(cases)
    assert more - all_ < 0.9 * (all_ - START_S)  # later passes have the compiled code


def test_a_first_call_that_compiles_predicts_nothing_of_larger_problems() -> None:
    compiles = BACKENDS | {"a": replace(BACKENDS["a"], compile_s=40.0)}
    cases = [case for case in CASES if case.backend == "a"]
    found = swept(
        lambda case: Outcome("ok", first_call_s=30.0),
        cases=cases,
        backends=compiles,
        settings=Settings(effort=None),
        passes=1,
    )
    assert {outcome.status for _, _, outcome in found.rows} == {"ok"}


def test_a_first_call_that_takes_long_is_told_of_while_it_does() -> None:
    backends = {"a": replace(BACKENDS["a"], compile_s=40.0)}
    cases = [case for case in CASES if case.backend == "a"][:2]
    progress = swept(cases=cases, backends=backends, passes=1, slow={cases[1]}).progress
    assert [(now.done, now.case, now.first_call) for now in progress[:3]] == [
        (1, cases[0], None),
        (1, cases[1], backends["a"]),
        (2, cases[1], None),
    ]


def test_a_depthwise_problem_predicts_no_dense_one() -> None:
    axes = ["in_channels=512", "size=56", "groups=depthwise,1"]
    depthwise, dense = cross([Layer(p) for p in span(map(parse_axis, axes))], ("a",))
    predictor = Predictor()
    predictor.observe(depthwise, called(0.501))
    assert predictor.min_call_s(dense) is None
    assert predictor.min_call_s(depthwise) == (pytest.approx(0.5), depthwise)
