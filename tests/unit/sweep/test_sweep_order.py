"""The order of a sweep, and its faults, with worker processes that measure nothing."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from convsweep import Backend, ConvProblem
from convsweep.measure.outcome import Outcome, RunInfo
from convsweep.measure.settings import Settings
from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.problems.workloads import Layer
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.sweep.auxiliary_cases import separable_part_cases
from convsweep.sweep.environment import Environment
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.network_runs import Network, NetworkRunner
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.sharding import batches, group_cases, group_siblings
from convsweep.sweep.stopping import Budget
from convsweep.sweep.work_queue import GroupQueue
from convsweep.sweep.worker_pool import add_seconds
from tests.support.fake_sweep import BACKENDS, CASES, Fakes, OpenMonitor, ok, request_for, swept


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
    attempts = 1 + (status == "timeout")
    assert len(found.fakes.started) == found.fakes.closed == 3 + attempts


@pytest.mark.parametrize("status", ["mismatch", "error", "out_of_memory", "crash"])
def test_what_failed_is_not_tried_again_but_told_in_every_pass(status: str) -> None:
    bad = CASES[3]
    failed = Outcome(status, "as it happens")
    found = swept(lambda case: failed if case == bad else ok(case))
    failures = [outcome for _, case, outcome in found.rows if case == bad]
    assert [outcome.status for outcome in failures] == [status] * 3
    assert len(set(failures)) == 1
    assert sum(case == bad for _, case in found.fakes.measured) == 1


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
    stops = iter([False] * 5 + [True] * 100)  # before a group
    rows = swept(passes=2, stop=lambda: next(stops)).rows
    assert len(rows) == 5 * len(BACKENDS)
    assert len({case.group for _, case, _ in rows}) == 5


def test_only_cases_that_are_still_open_get_another_pass() -> None:
    active = {0: None, 1: CASES[:4], 2: ()}
    rows = swept(passes=100, active=active.__getitem__).rows
    assert Counter(p for p, _, _ in rows) == Counter({0: len(CASES), 1: 4})


@pytest.mark.parametrize(("left_s", "passes"), [(1.9, 2), (2.1, 3)])
def test_no_pass_begins_that_the_budget_has_no_time_for(left_s: float, passes: int) -> None:
    """A pass takes 1 s and two blocks of 1 s."""
    request = replace(request_for(CASES[:2], BACKENDS, 100), budget_s=10.0)
    monitor, now_s = OpenMonitor(request), 0.0
    monitor.budget = Budget(10.0, 0.0, now_s=lambda: now_s)
    ends_s = monitor.budget.left_s
    queue = GroupQueue(Environment(request, {}), Settings(), monitor, lambda *row: None)
    begun = set()
    while task := queue.next():
        begun.add(task.pass_index)
        queue.phases_s = add_seconds(queue.phases_s, {"gate_s": 1.0, "timing_s": 2.0})
        now_s = [1.0, ends_s - left_s, ends_s][task.pass_index]
    assert begun == set(range(passes))
    assert monitor.end_reason == "budget"


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
