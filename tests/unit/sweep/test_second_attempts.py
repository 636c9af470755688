"""Second attempts after timeouts that the machine has caused, with fake worker processes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from convsweep.cluster.executor import RayExecutor
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.axes import parse_axis, span
from convsweep.problems.case import Case, cross
from convsweep.problems.workloads import Layer
from convsweep.results.store import load
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.session import run_sweep
from tests.support.fake_ray import FakePool, node_group
from tests.support.fake_sweep import BACKENDS, CASES, ok, swept

BAD = CASES[0]
TIMEOUT = Outcome("timeout", "cut off at the limit of 10 s")


def stalling(case: Case, *attempts: bool) -> Callable[[Case], Outcome]:
    """Return the behaviour of a case whose attempts end in time or do not; all later ones do."""
    in_time = iter([*attempts, *repeat(True, 100)])
    return lambda one: TIMEOUT if one == case and not next(in_time) else ok(one)


@pytest.mark.parametrize("passes", [1, 3])
def test_a_stall_costs_neither_a_case_nor_a_pass(passes: int) -> None:
    found = swept(stalling(BAD, False), passes=passes)
    assert Counter((p, case) for p, case, _ in found.rows) == Counter(
        (p, case) for p in range(passes) for case in CASES
    )
    assert {outcome.status for *_, outcome in found.rows} == {"ok"}
    marked = [(p, case) for p, case, outcome in found.rows if outcome.sample_flags == "retried"]
    assert marked == [(0, BAD)]
    assert found.progress[-1].done == found.progress[-1].total == len(found.rows)


def test_a_stall_in_any_pass_is_followed_by_another_attempt_in_it() -> None:
    layer = [case for case in CASES if case.siblings == BAD.siblings]  # one group has no batch
    finishes = [True, True, False]  # `ok` is also asked for at the end of a case that is in time
    found = swept(stalling(BAD, *finishes, True, True, False), cases=layer)
    assert [(p, case) for p, case, outcome in found.rows if outcome.sample_flags] == [
        (1, BAD),
        (2, BAD),
    ]
    assert {outcome.status for *_, outcome in found.rows} == {"ok"}


def test_a_second_timeout_settles_the_case() -> None:
    found = swept(stalling(BAD, False, False))
    outcomes = [outcome for _, case, outcome in found.rows if case == BAD]
    assert outcomes == [replace(TIMEOUT, reason=f"{TIMEOUT.reason}, in both attempts")] * 3
    assert [case for _, case in found.fakes.measured].count(BAD) == 2


def test_a_backend_that_always_times_out_ends_after_one_more_attempt_per_family() -> None:
    cases = cross([Layer(p) for p in span([parse_axis("in_channels=4,8,16")])], ("a", "b"))
    found = swept(lambda case: TIMEOUT if case.backend == "a" else ok(case), cases=cases, passes=2)
    attempts = [case for _, case in found.fakes.measured if case.backend == "a"]
    assert [attempts.count(case) for case in cases if case.backend == "a"] == [2, 1, 1]


@pytest.mark.parametrize(
    "changed",
    [
        {"nominal_macs_per_s": 1e3},
        {"compile_s": 60.0},
        {"compile_s": 60.0, "compiles_per_problem": True},
    ],
)
def test_a_timeout_that_the_backend_explains_settles_the_case(changed: dict[str, float]) -> None:
    backends = BACKENDS | {"a": replace(BACKENDS["a"], **changed)}  # type: ignore[arg-type]
    found = swept(stalling(BAD, False), backends=backends)
    assert [case for _, case in found.fakes.measured].count(BAD) == 1


def test_a_slow_smaller_problem_explains_a_timeout() -> None:
    cases = cross([Layer(p) for p in span([parse_axis("in_channels=4,8")])], ("a",))

    def behave(case: Case) -> Outcome:
        return TIMEOUT if case == cases[1] else Outcome("ok", median_s=0.2)

    found = swept(behave, cases=cases, settings=Settings(case_timeout_s=10.0))
    assert [case for _, case in found.fakes.measured].count(cases[1]) == 1


def test_a_stalled_call_predicts_no_timeout_of_larger_problems() -> None:
    cases = cross([Layer(p) for p in span([parse_axis("in_channels=4,64")])], ("a",))
    stalled = iter([Outcome("timeout", "a call takes 6 s", call_s=6.0)])
    found = swept(lambda case: next(stalled, ok(case)), cases=cases, passes=1)
    assert [outcome.status for *_, outcome in found.rows] == ["ok", "ok"]


def test_an_end_before_the_second_attempt_leaves_the_case_unmeasured() -> None:
    measured: list[Case] = []

    def behave(case: Case) -> Outcome:
        measured.append(case)
        return TIMEOUT

    found = swept(behave, cases=[BAD], passes=1, stop=lambda: bool(measured))
    assert measured == [BAD]
    assert found.rows == []


def test_a_stall_of_a_node_costs_no_case(tmp_path: Path) -> None:
    plain = Options(grid="smoke", ceilings=False, passes=2, backends=("torch_conv", "im2col"))
    request = read_request(plain)
    behave = stalling(request.cases[0], False)
    pool = FakePool(("a", "b"), lambda case, node_id: behave(case))
    executor = RayExecutor([node_group(request, ["a", "b"])], pool)
    run_sweep(executor, tmp_path / "run", "run", "convsweep run", lambda progress: None)
    rows = load(tmp_path / "run")
    assert (len(rows), {*rows["status"]}) == (2 * len(request.cases), {"ok"})
    assert rows["sample_flags"].eq("retried").sum() == 1
