"""The scheduler and failing worker processes: limits, and who is blamed."""

from dataclasses import replace

import pytest

from convsweep.measure.messages import (
    Block,
    Describe,
    Finish,
    Message,
    Reply,
    Setup,
    Validate,
    WarmUp,
)
from convsweep.measure.outcome import Outcome
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.sweep.first_pass import FirstPassData
from convsweep.sweep.scheduler import Scheduler
from convsweep.sweep.worker_pool import WorkerDied, WorkerPool, WorkerTimeout
from tests.support.fake_workers import BACKENDS, BATCH, CASES, OK, A, B, C, Scene, answer, failing


@pytest.mark.parametrize("step", [Setup, Validate, WarmUp, Block, Finish])
def test_a_budget_that_ends_within_a_step_leaves_out_the_rest(step: type[Message]) -> None:
    at = None if step is Setup else A
    scene = Scene(failing(step, at, WorkerTimeout()))
    pool = WorkerPool(Settings(), {}, scene.launch)
    scheduler = Scheduler(pool, BACKENDS, FirstPassData())
    measured = dict(scheduler.measure(CASES, lambda: 0.25))
    assert set(measured) <= {*CASES} - {A}
    assert set(measured.values()) <= {OK}
    assert scene.closed == {0}
    steps = zip(scene.requests, scene.limits_s, strict=True)
    assert all(
        limit <= 0.25 for (_, request, _), limit in steps if not isinstance(request, Describe)
    )


@pytest.mark.parametrize("step", [Setup, Validate, Block, Finish])
@pytest.mark.parametrize(
    "how", [WorkerTimeout(), WorkerDied("no"), Outcome("out_of_memory", "too much together")]
)
def test_what_fails_in_a_batch_is_measured_alone(
    step: type[Message], how: Exception | Outcome
) -> None:
    once = iter([how])

    def fails_once(request: Message, case: Case | None) -> Reply:
        if isinstance(request, step) and (failure := next(once, None)):
            if isinstance(failure, Exception):
                raise failure
            return failure
        return answer(request, case)

    scene = Scene(fails_once)
    assert scene.measure(BATCH) == dict.fromkeys(BATCH, OK)
    assert len(scene.started) == 2


@pytest.mark.parametrize("step", [Validate, WarmUp, Block, Finish])
@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        (WorkerTimeout(), "timeout", "cut off at the limit of 10 s"),
        (WorkerDied("killed by SIGSEGV"), "crash", "killed by SIGSEGV"),
        (Outcome("error", "RuntimeError: no"), "error", "RuntimeError: no"),
        (Outcome("out_of_memory", "too much"), "out_of_memory", "too much"),
    ],
)
def test_whoever_fails_is_blamed_alone_and_a_new_process_goes_on(
    step: type[Message], how: Exception | Outcome, status: str, reason: str
) -> None:
    scene = Scene(failing(step, B, how))
    outcomes = scene.measure()
    assert (outcomes[B].status, outcomes[B].reason) == (status, reason)
    assert outcomes[A] == outcomes[C] == OK
    first = [n for n, _, case in scene.requests if case == B]
    assert set(first) == {0}
    assert scene.closed == set(range(len(scene.started)))


@pytest.mark.parametrize(("effort", "admitting_s"), [(MeasurementConfig(), 70.0), (None, 130.0)])
def test_only_the_first_calls_have_time_to_compile(
    effort: MeasurementConfig | None, admitting_s: float
) -> None:
    scene = Scene()
    compiles = BACKENDS | {"b": replace(BACKENDS["b"], compile_s=60.0)}
    scene.measure(backends=compiles, settings=Settings(effort=effort))
    limits_s = {
        (type(request), case): limit_s
        for (_, request, case), limit_s in zip(scene.requests, scene.limits_s, strict=True)
    }
    assert limits_s[Validate, A] == pytest.approx(10.0, abs=1.0)
    assert limits_s[Validate, B] == pytest.approx(admitting_s, abs=1.0)
    assert {round(limit_s) for (step, _), limit_s in limits_s.items() if step is Block} <= {10}


def test_who_compiles_for_too_long_is_told_so() -> None:
    scene = Scene(failing(Validate, B, WorkerTimeout()))
    compiles = BACKENDS | {"b": replace(BACKENDS["b"], compile_s=60.0)}
    outcomes = scene.measure(backends=compiles)
    assert outcomes[B] == Outcome("timeout", "cut off at the limit of 10 s, and 60 s to compile")


def test_a_mismatch_leaves_the_process_as_it_is() -> None:
    scene = Scene(failing(Validate, B, Outcome("mismatch", "wrong")))
    assert scene.measure()[B].status == "mismatch"
    assert len(scene.started) == 1


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (WorkerTimeout(), "error"),
        (WorkerDied("exit code 1"), "crash"),
        (Outcome("out_of_memory", "not enough"), "out_of_memory"),
    ],
)
def test_inputs_that_can_not_be_had_are_every_cases_failure(
    how: Exception | Outcome, status: str
) -> None:
    outcomes = Scene(failing(Setup, None, how)).measure()
    assert {case: outcome.status for case, outcome in outcomes.items()} == dict.fromkeys(
        CASES, status
    )
