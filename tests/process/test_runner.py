"""The sweep's order, predictions and faults, with a measurer that measures nothing."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest

from convsweep import Backend
from convsweep.measure.outcome import Outcome
from convsweep.measure.worker import (
    Block,
    Describe,
    Finish,
    Message,
    Reply,
    Settings,
    Setup,
    SetupDone,
    Validate,
    WarmUp,
)
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
    truths_s,
)
from convsweep.sweep.runner import Progress, StopHooks, sweep
from convsweep.sweep.worker_process import WorkerDied, WorkerTimeout

Behaviour = Callable[[Case], Outcome]


def ok(case: Case) -> Outcome:
    return Outcome("ok", median_s=1e-4, first_call_s=1e-4)


@dataclass
class Fakes:
    """Fake measuring processes, and what they were asked."""

    behave: Behaviour = ok
    started: list[Settings] = field(default_factory=list)
    late: Collection[Case] = ()
    """Cases whose first calls take long."""
    closed: int = 0
    measured: list[tuple[int, Case]] = field(default_factory=list)

    def launch(self, settings: Settings) -> "FakeProcess":
        self.started.append(settings)
        return FakeProcess(self, len(self.started) - 1)


@dataclass
class FakeProcess:
    fakes: Fakes
    number: int
    cases: Sequence[Case] = ()

    def ask(
        self, request: Message, limit_s: float, late: Callable[[], None] | None = None
    ) -> Reply:
        match request:
            case Describe():
                return {}
            case Setup(cases, _):
                self.cases = cases
                return SetupDone(None)
            case WarmUp():
                return 2
            case Block():
                return None
            case Finish(index):
                return self.fakes.behave(self.cases[index])
            case Validate(index):
                if late and self.cases[index] in self.fakes.late:
                    late()
                return self.admitted(self.cases[index])

    def admitted(self, case: Case) -> Outcome:
        self.fakes.measured.append((self.number, case))
        outcome = self.fakes.behave(case)
        if outcome.status == "crash":
            raise WorkerDied(str(outcome.reason))
        if outcome.status == "timeout":
            raise WorkerTimeout
        return outcome

    def close(self) -> None:
        self.fakes.closed += 1


BACKENDS = {name: Backend(name, lambda problem, weights: None) for name in ("a", "b")}
CASES = cross(GRIDS["quick"].layers(), tuple(BACKENDS))


@dataclass
class Swept:
    fakes: Fakes
    rows: list[tuple[int, Case, Outcome]]
    progress: list[Progress]


def swept(
    behave: Behaviour = ok,
    *,
    cases: Sequence[Case] = CASES,
    passes: int = 3,
    settings: Settings | None = None,
) -> Swept:
    fakes, rows, progress = Fakes(behave), [], []
    sweep(
        cases,
        BACKENDS,
        settings or Settings(),
        passes=passes,
        record=lambda *row: rows.append(row),
        observe=progress.append,
        launch=fakes.launch,
    )
    return Swept(fakes, rows, progress)


def test_every_case_has_one_row_a_pass() -> None:
    found = Counter((pass_index, case) for pass_index, case, _ in swept().rows)
    assert found == Counter((p, case) for p in range(3) for case in CASES)


def test_every_pass_is_a_fresh_process_that_is_ended() -> None:
    fakes = swept().fakes
    assert len(fakes.started) == fakes.closed == 3
    assert len({settings.seed for settings in fakes.started}) == 3


def test_thread_counts_never_share_a_process() -> None:
    cases = cross(GRIDS["smoke"].layers(), tuple(BACKENDS), threads=(1, 2))
    fakes = swept(cases=cases, passes=2).fakes
    assert [settings.threads for settings in fakes.started] == [1, 2, 1, 2]
    for number, case in fakes.measured:
        assert fakes.started[number].threads == case.threads


def test_backends_of_one_problem_are_measured_together() -> None:
    measured = [case.group for _, case in swept(passes=2).fakes.measured]
    runs = [
        group for before, group in zip([None, *measured], measured, strict=False) if group != before
    ]
    assert len(runs) == 2 * len(set(measured))


def test_the_first_pass_grows_and_later_ones_are_shuffled() -> None:
    rows = swept().rows
    orders = [[case.problem.macs for p, case, _ in rows if p == n] for n in range(3)]
    assert orders[0] == sorted(orders[0])
    assert orders[1] != orders[0]
    assert orders[1] != orders[2]


def test_what_does_not_apply_is_skipped_without_a_process() -> None:
    shy = {"a": Backend("a", lambda p, w: None, unsupported=lambda problem: "too shy")}
    fakes, rows = Fakes(), []
    cases = cross(GRIDS["smoke"].layers(), ("a",))
    sweep(
        cases,
        shy,
        Settings(),
        passes=2,
        record=lambda *row: rows.append(row),
        launch=fakes.launch,
    )
    assert not fakes.started
    assert [outcome for _, _, outcome in rows] == [Outcome("skipped", "too shy")] * 2 * len(cases)


@pytest.mark.parametrize("status", ["crash", "timeout"])
def test_a_case_that_ends_its_process_costs_no_other_case(status: str) -> None:
    bad = CASES[7]

    def behave(case: Case) -> Outcome:
        return Outcome(status, "as it happens") if case == bad else ok(case)

    found = swept(behave)
    assert {case for _, case, outcome in found.rows if outcome.status != "ok"} == {bad}
    assert Counter(p for p, _, _ in found.rows) == Counter({0: 64, 1: 64, 2: 64})
    assert len(found.fakes.started) == found.fakes.closed == 4


@pytest.mark.parametrize("status", ["mismatch", "error", "out_of_memory", "crash", "timeout"])
def test_what_failed_is_not_tried_again_but_told_in_every_pass(status: str) -> None:
    bad = CASES[3]
    failed = Outcome(status, "as it happens")
    found = swept(lambda case: failed if case == bad else ok(case))
    told = [outcome for _, case, outcome in found.rows if case == bad]
    assert [outcome.status for outcome in told] == [status] * 3
    assert len(set(told)) == 1
    assert sum(case == bad for _, case in found.fakes.measured) == 1


def test_a_case_that_cannot_end_in_time_is_predicted_from_smaller_ones() -> None:
    def slow(case: Case) -> Outcome:
        return Outcome("ok", median_s=case.problem.macs * 1e-6 if case.backend == "a" else 1e-5)

    found = swept(slow, settings=Settings(case_timeout_s=10.0))
    late = {case for _, case, outcome in found.rows if outcome.status == "timeout"}
    assert late == {c for c in CASES if c.backend == "a" and 4 * c.problem.macs * 1e-6 > 10}
    assert late
    assert not late.intersection(case for _, case in found.fakes.measured)
    assert all("predicted from n1_" in o.reason for _, c, o in found.rows if c in late and o.reason)


def test_calls_that_are_mostly_overhead_predict_nothing() -> None:
    predictor = Predictor()
    small, large = CASES[0], CASES[-2]
    predictor.learn(small, 5e-4)
    assert predictor.at_least_s(large) is None


def test_a_prediction_takes_the_best_rate_of_the_same_kernel_size() -> None:
    cases = cross(GRIDS["channels"].layers(), ("a",))
    threes = [case for case in cases if case.problem.kernel_size == (3, 3)]
    predictor = Predictor()
    predictor.learn(threes[2], 0.3)
    predictor.learn(threes[3], 0.4)
    expected = 0.4 * threes[5].problem.macs / threes[3].problem.macs
    assert predictor.at_least_s(threes[5]) == (pytest.approx(expected), threes[3])
    assert predictor.at_least_s(threes[1]) is None
    assert predictor.at_least_s(cases[-2]) is None


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
    late = [case for case in CASES if case.backend == "a" and case.problem.kernel_size == (3, 3)]
    capped = forecast_s(late, slow, settings, passes=1)
    assert capped == pytest.approx(
        START_S + PASS_START_S + truths_s(late) + settings.case_timeout_s
    )


def test_compiling_is_forecast_once_for_all_or_for_each_problem() -> None:
    once = {"a": replace(BACKENDS["a"], compile_s=40.0)}
    each = {"a": replace(once["a"], compiles_per_problem=True)}
    cases = [case for case in CASES if case.backend == "a"]
    assert compiling_s(cases, once) == 40.0
    assert compiling_s(cases, each) == compiling_s(cases, {"a": BACKENDS["a"]}) == 0.0
    plain, first, all_ = (
        forecast_s(cases, backends, Settings(), 1)
        for backends in ({"a": BACKENDS["a"]}, once, each)
    )
    assert plain == first < all_ - len(cases)


def test_a_first_call_that_compiles_predicts_nothing_of_larger_problems() -> None:
    compiles = BACKENDS | {"a": replace(BACKENDS["a"], compile_s=40.0)}
    told = Outcome("ok", first_call_s=30.0)
    fakes = Fakes(lambda case: told)
    rows: list[Outcome] = []
    sweep(
        [case for case in CASES if case.backend == "a"],
        compiles,
        Settings(effort=None),
        passes=1,
        record=lambda _, case, outcome: rows.append(outcome),
        launch=fakes.launch,
    )
    assert {outcome.status for outcome in rows} == {"ok"}


def test_a_first_call_that_takes_long_is_told_of_while_it_does() -> None:
    backends = {"a": replace(BACKENDS["a"], compile_s=40.0)}
    cases = [case for case in CASES if case.backend == "a"][:2]
    progress: list[Progress] = []
    sweep(
        cases,
        backends,
        Settings(),
        passes=1,
        record=lambda *row: None,
        observe=progress.append,
        launch=Fakes(late={cases[1]}).launch,
    )
    told = [(now.done, now.case, now.first_call) for now in progress]
    assert told == [(1, cases[0], None), (1, cases[1], backends["a"]), (2, cases[1], None)]


def test_a_depthwise_problem_predicts_no_dense_one() -> None:
    axes = ["in_channels=512", "size=56", "groups=depthwise,1"]
    depthwise, dense = cross([Layer(p) for p in span(map(parse_axis, axes))], ("a",))
    predictor = Predictor()
    predictor.learn(depthwise, 0.5)
    assert predictor.at_least_s(dense) is None
    assert predictor.at_least_s(depthwise) == (pytest.approx(0.5), depthwise)


@pytest.mark.parametrize("status", ["error", "out_of_memory"])
def test_after_an_error_a_new_process_goes_on_since_the_device_may_be_broken(status: str) -> None:
    bad = CASES[3]
    found = swept(lambda case: Outcome(status, "no") if case == bad else ok(case))
    assert len(found.fakes.started) == 4
    numbers = {case: number for number, case in found.fakes.measured}
    assert {case for _, case, outcome in found.rows if outcome.status == "ok"} == {*CASES} - {bad}
    assert numbers[bad] == 0


def test_what_is_known_is_not_visited_again_and_predicts() -> None:
    known = {(0, case): ok(case) for case in CASES} | {(1, CASES[0]): ok(CASES[0])}
    bad = CASES[5]
    known[0, bad] = Outcome("mismatch", "wrong")
    fakes, rows = Fakes(), []
    sweep(
        CASES,
        BACKENDS,
        Settings(),
        passes=2,
        record=lambda *row: rows.append(row),
        known=known,
        launch=fakes.launch,
    )
    assert {(p, case) for p, case, _ in rows} == {(1, case) for case in CASES[1:]}
    assert bad not in {case for _, case in fakes.measured}
    assert [outcome for _, case, outcome in rows if case == bad] == [known[0, bad]]


def test_a_sweep_stops_between_groups_when_asked() -> None:
    asked = iter([False] * 5 + [True] * 100)
    rows: list[tuple[int, Case, Outcome]] = []
    sweep(
        CASES,
        BACKENDS,
        Settings(),
        passes=2,
        record=lambda *row: rows.append(row),
        stops=StopHooks(now=lambda: next(asked)),
        launch=Fakes().launch,
    )
    assert len(rows) == 5 * len(BACKENDS)
    assert len({case.group for _, case, _ in rows}) == 5


def test_only_cases_that_are_still_open_get_another_pass() -> None:
    rows: list[tuple[int, Case, Outcome]] = []
    open_ = {0: None, 1: CASES[:4], 2: ()}
    sweep(
        CASES,
        BACKENDS,
        Settings(),
        passes=100,
        record=lambda *row: rows.append(row),
        stops=StopHooks(active_cases=lambda pass_index: open_[pass_index]),
        launch=Fakes().launch,
    )
    assert Counter(p for p, _, _ in rows) == Counter({0: len(CASES), 1: 4})


def test_a_backend_with_threads_of_its_own_has_a_process_of_its_own() -> None:
    backends = {"a": BACKENDS["a"], "b": replace(BACKENDS["b"], own_threads=True)}
    fakes, rows = Fakes(), []
    cases = cross(GRIDS["smoke"].layers(), tuple(backends))
    sweep(
        cases,
        backends,
        Settings(),
        passes=2,
        record=lambda *row: rows.append(row),
        launch=fakes.launch,
    )
    assert len(rows) == 2 * len(cases)
    homes = {(number, case.backend) for number, case in fakes.measured}
    assert len(fakes.started) == fakes.closed == len(homes) == 4
