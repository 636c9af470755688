"""The sweep's order, predictions and faults, with a measurer that measures nothing."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from convsweep import Backend, ConvProblem
from convsweep.measure.messages import (
    Describe,
    Finish,
    Message,
    NetworkTimes,
    Reply,
    Setup,
    SetupDone,
    TimeNetwork,
    Validate,
    WarmUp,
)
from convsweep.measure.outcome import Outcome, RunInfo
from convsweep.measure.settings import Settings
from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.problems.workloads import Layer
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.sweep.auxiliary_cases import separable_part_cases
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.forecast import (
    PASS_START_S,
    START_S,
    Countdown,
    Predictor,
    compiling_s,
    forecast_s,
    references_s,
)
from convsweep.sweep.network_runs import Network, NetworkRunner
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.sharding import batches, group_cases, group_siblings
from convsweep.sweep.stopping import PassResults, SweepMonitor
from convsweep.sweep.work_queue import Environment, GroupQueue, Progress
from convsweep.sweep.worker_pool import WorkerDied, WorkerTimeout

Behaviour = Callable[[Case], Outcome]


def ok(case: Case) -> Outcome:
    return Outcome("ok", median_s=1e-4, first_call_s=1e-4)


@dataclass
class Fakes:
    """Fake worker processes, and their requests."""

    behave: Behaviour = ok
    started: list[Settings] = field(default_factory=list)
    slow: Collection[Case] = ()
    """Cases with slow first calls."""
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
        self, request: Message, limit_s: float, on_slow_call: Callable[[], None] | None = None
    ) -> Reply:
        match request:
            case Describe():
                return {}
            case TimeNetwork():
                return NetworkTimes(0.02, 0.021, 3, ())
            case Setup(cases, _, first):
                self.cases = [*cases] if first else [*self.cases, *cases]
                return SetupDone(None)
            case WarmUp():
                return 2
            case Finish(index):
                return self.fakes.behave(self.cases[index])
            case Validate(index):
                if on_slow_call and self.cases[index] in self.fakes.slow:
                    on_slow_call()
                return self.admitted(self.cases[index])
        return None  # a block

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


class OpenMonitor(SweepMonitor):
    """Stops and drops cases as a test wants."""

    stop: Callable[[], bool] = staticmethod(lambda: False)
    active: Callable[[int], Collection[Case] | None] = staticmethod(lambda pass_index: None)

    def should_stop(self) -> bool:
        return self.stop()

    def active_cases(self, pass_index: int, *, auxiliary: bool = True) -> Collection[Case] | None:
        return self.active(pass_index)


def request_for(cases: Sequence[Case], backends: Mapping[str, Backend], passes: int) -> Request:
    plain = read_request(Options(grid="smoke", backends=("loop",), passes=passes, ceilings=False))
    return replace(plain, cases=cases, backends=backends, separable_parts=())


@dataclass
class Swept:
    fakes: Fakes
    rows: list[tuple[int, Case, Outcome]] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)


def swept(
    behave: Behaviour = ok,
    *,
    cases: Sequence[Case] = CASES,
    backends: Mapping[str, Backend] = BACKENDS,
    passes: int = 3,
    settings: Settings | None = None,
    slow: Collection[Case] = (),
    known: PassResults | None = None,
    **monitored: Any,
) -> Swept:
    """A sweep of fake worker processes; `monitored` are `stop` and `active` of `OpenMonitor`."""
    found = Swept(Fakes(behave, slow=slow))
    request = request_for(cases, backends, passes)
    monitor = OpenMonitor(request)
    vars(monitor).update(monitored)
    queue = GroupQueue(
        Environment(request, {}),
        settings or Settings(),
        monitor,
        lambda *row: found.rows.append(row[:3]),
        known=known,
    )
    LocalExecutor(request, found.fakes.launch).run([queue], found.progress.append)
    return found


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


def test_all_settings_of_one_problem_are_neighbours_and_from_the_second_pass_its_batches() -> None:
    layers = [Layer(p) for p in span(map(parse_axis, ["in_channels=4,8", "batch_size=1,4"]))]
    settings = {"dtypes": ("float32", "bfloat16"), "threads": (1, 2)}
    rows = swept(cases=cross(layers, tuple(BACKENDS), **settings)).rows
    for number, runs in ((0, 4), (1, 2), (2, 2)):
        keys = [case.siblings if number else case.problem for p, case, _ in rows if p == number]
        assert 1 + sum(one != other for one, other in pairwise(keys)) == runs


@pytest.mark.parametrize(("size", "sizes"), [(8, [16]), (512, [2, 2, 2, 2, 4, 4])])
def test_a_batch_has_all_siblings_that_fit_into_memory(size: int, sizes: list[int]) -> None:
    layer = Layer(ConvProblem(32, 32, (size, size), 1))
    cases = cross([layer], ("a", "b"), dtypes=("float32", "bfloat16"), threads=(1, 2),
                  caches=("hot", "cold"))  # fmt: skip
    for alone in (True, False):
        found = list(batches(group_siblings(group_cases(cases)), alone=alone))
        assert [case for batch in found for case in batch] == cases
        assert [len(batch) for batch in found] == sizes


def test_the_first_pass_grows_and_later_ones_are_shuffled() -> None:
    rows = swept().rows
    orders = [[case.problem.macs for p, case, _ in rows if p == n] for n in range(3)]
    assert orders[0] == sorted(orders[0])
    assert orders[1] != orders[0]
    assert orders[1] != orders[2]


def test_with_a_budget_the_cases_come_first_and_what_is_not_measured_is_known() -> None:
    backends = ["torch_conv", "separable"]
    request = read_request(Options(grid="smoke", backends=backends, budget="600s", passes=1))
    request = replace(request, separable_parts=separable_part_cases(request.cases))
    assert request.separable_parts
    measured: list[Case] = []
    monitor = OpenMonitor(request)
    vars(monitor).update(stop=lambda: len(measured) == len(request.every_case) - 1)
    queue = GroupQueue(
        Environment(request, {}),
        Settings(),
        monitor,
        lambda pass_index, case, *others: measured.append(case),
    )
    LocalExecutor(request, Fakes().launch).run([queue], lambda progress: None)
    assert {*measured[: len(request.cases)]} == {*request.cases}
    assert {*queue.unmeasured} == {*request.every_case} - {*measured}
    assert len(queue.unmeasured) == 1


def test_what_does_not_apply_is_skipped_without_a_process() -> None:
    shy = {"a": Backend("a", lambda p, w: None, unsupported=lambda problem: "too shy")}
    cases = cross(GRIDS["smoke"].layers(), ("a",))
    found = swept(cases=cases, backends=shy, passes=2)
    assert not found.fakes.started
    assert [outcome for _, _, outcome in found.rows] == [Outcome("skipped", "too shy")] * 2 * len(
        cases
    )


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
    failures = [outcome for _, case, outcome in found.rows if case == bad]
    assert [outcome.status for outcome in failures] == [status] * 3
    assert len(set(failures)) == 1
    assert sum(case == bad for _, case in found.fakes.measured) == 1


def test_a_case_that_cannot_end_in_time_is_predicted_from_smaller_ones() -> None:
    def slow(case: Case) -> Outcome:
        return Outcome("ok", median_s=case.problem.macs * 1e-6 if case.backend == "a" else 1e-5)

    found = swept(slow, settings=Settings(case_timeout_s=10.0))
    slow_ones = {case for _, case, outcome in found.rows if outcome.status == "timeout"}
    assert slow_ones == {c for c in CASES if c.backend == "a" and 4 * c.problem.macs * 1e-6 > 10}
    assert slow_ones
    assert not slow_ones.intersection(case for _, case in found.fakes.measured)
    assert all(
        "predicted from n1_" in o.reason for _, c, o in found.rows if c in slow_ones and o.reason
    )


def test_calls_that_are_mostly_overhead_predict_nothing() -> None:
    predictor = Predictor()
    small, large = CASES[0], CASES[-2]
    predictor.observe(small, 5e-4)
    assert predictor.min_call_s(large) is None


def test_a_prediction_takes_the_best_rate_of_the_same_kernel_size() -> None:
    cases = cross(GRIDS["channels"].layers(), ("a",))
    threes = [case for case in cases if case.problem.kernel_size == (3, 3)]
    predictor = Predictor()
    predictor.observe(threes[2], 0.3)
    predictor.observe(threes[3], 0.4)
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
    predictor.observe(depthwise, 0.5)
    assert predictor.min_call_s(dense) is None
    assert predictor.min_call_s(depthwise) == (pytest.approx(0.5), depthwise)


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
    found = swept(passes=2, known=known)
    assert {(p, case) for p, case, _ in found.rows} == {(1, case) for case in CASES[1:]}
    assert bad not in {case for _, case in found.fakes.measured}
    assert [outcome for _, case, outcome in found.rows if case == bad] == [known[0, bad]]


def test_a_sweep_stops_between_groups_when_asked() -> None:
    stops = iter([False, False] * 5 + [True] * 100)  # before a group, and after its first round
    rows = swept(passes=2, stop=lambda: next(stops)).rows
    assert len(rows) == 5 * len(BACKENDS)
    assert len({case.group for _, case, _ in rows}) == 5


def test_only_cases_that_are_still_open_get_another_pass() -> None:
    active = {0: None, 1: CASES[:4], 2: ()}
    rows = swept(passes=100, active=active.__getitem__).rows
    assert Counter(p for p, _, _ in rows) == Counter({0: len(CASES), 1: 4})


def test_a_backend_with_threads_of_its_own_has_a_process_of_its_own() -> None:
    backends = {"a": BACKENDS["a"], "b": replace(BACKENDS["b"], own_threads=True)}
    cases = cross(GRIDS["smoke"].layers(), tuple(backends))
    found = swept(cases=cases, backends=backends, passes=2)
    assert len(found.rows) == 2 * len(cases)
    keys = {(number, case.backend) for number, case in found.fakes.measured}
    assert len(found.fakes.started) == found.fakes.closed == len(keys) == 4


def test_networks_are_timed_before_each_pass_in_processes_of_their_own(tmp_path: Path) -> None:
    file = NETWORKS_TABLE.open(tmp_path)
    shapes = ((1, 3, 224, 224),)
    network = Network("resnet18", "resnet18", shapes, "cpu", "float32", "contiguous", 2)
    networks = NetworkRunner(file, (), [network], CASES, RunInfo("run", "e0", {}))
    fakes, request = Fakes(), request_for(CASES, BACKENDS, 2)
    rows: list[tuple[int, Case]] = []
    queue = GroupQueue(
        Environment(request, {}),
        Settings(),
        OpenMonitor(request),
        lambda pass_index, case, outcome, node: rows.append((pass_index, case)),
        networks,
    )
    LocalExecutor(request, fakes.launch).run([queue], lambda progress: None)
    file.close()
    assert len(rows) == 2 * len(CASES)
    passes = [(own.pass_index, own.threads) for own in fakes.started]
    assert passes == [(0, 2), (0, 1), (1, 2), (1, 1)]
    assert fakes.closed == 4
    assert NETWORKS_TABLE.load(tmp_path)["pass_index"].unique().tolist() == [0, 1]
