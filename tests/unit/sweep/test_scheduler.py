"""Messages of the scheduler to fake worker processes: their order and what they contain."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.measure.messages import (
    Block,
    DataFile,
    Describe,
    Finish,
    Message,
    Reply,
    Setup,
    Validate,
    WarmUp,
)
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.sweep.first_pass import FirstPassData
from convsweep.sweep.worker_pool import WorkerDied, process_setup
from convsweep.system import process
from tests.support.fake_workers import BACKENDS, BATCH, CASES, FILE, OK, A, Scene, answer, failing


def test_every_case_is_admitted_warmed_up_timed_and_finished() -> None:
    scene = Scene()
    assert scene.measure() == dict.fromkeys(CASES, OK)
    for kind, times in ((Validate, 1), (WarmUp, 1), (Block, 3), (Finish, 1)):
        assert Counter(scene.steps(kind)) == Counter(dict.fromkeys(CASES, times))
    assert len(scene.started) == 1
    assert scene.closed == {0}


def test_blocks_take_turns() -> None:
    scene = Scene()
    scene.measure()
    blocks = scene.steps(Block)
    for turn in range(3):
        assert set(blocks[3 * turn : 3 * turn + 3]) == set(CASES)


def test_a_case_near_its_time_limit_has_fewer_blocks() -> None:
    def slow(request: Message, case: Case | None) -> Reply:
        if isinstance(request, Block) and case == A:
            time.sleep(0.02)
        return 100 if isinstance(request, WarmUp) else answer(request, case)

    scene = Scene(slow)
    assert scene.measure(settings=Settings(case_timeout_s=0.2)) == dict.fromkeys(CASES, OK)
    assert all(limit_s > 0 for limit_s in scene.limits_s)
    blocks = Counter(scene.steps(Block))
    assert 0 < blocks[A] < 10
    assert blocks[CASES[1]] == 100


def test_blocks_of_several_groups_take_turns_group_by_group() -> None:
    scene = Scene()
    assert scene.measure(BATCH) == dict.fromkeys(BATCH, OK)
    assert len(scene.started) == 1
    blocks, size = scene.steps(Block), len(BATCH)
    for turn in range(3):
        own = blocks[size * turn : size * (turn + 1)]
        assert set(own) == set(BATCH)
        groups = [{case.group for case in own[i : i + 3] if case} for i in range(0, size, 3)]
        assert all(len(group) == 1 for group in groups)


def test_blocks_of_one_problem_in_all_its_settings_follow_each_other() -> None:
    layers = GRIDS["smoke"].layers()[:3]
    settings = {"dtypes": ("float32", "bfloat16"), "threads": (1, 2), "caches": ("hot", "cold")}
    cases, scene = cross(layers, ("a", "b"), **settings), Scene()
    assert scene.measure(cases) == dict.fromkeys(cases, OK)
    assert [own.threads for own in scene.started] == [1, 2]
    blocks = [case for case in scene.steps(Block) if case]
    for start in range(0, len(blocks), 16):
        turn = blocks[start : start + 16]
        assert len({*turn}) == 16
        assert len({case.siblings for case in turn}) == 1
    in_first_turn = [case.group for case in blocks[:16:2]]
    assert in_first_turn != sorted(in_first_turn, key=lambda case: (case.dtype, case.threads))
    rests = {case.threads: request.yield_turn for _, request, case in scene.requests
             if case and isinstance(request, Block)}  # fmt: skip
    assert rests == {1: False, 2: True}


def test_asked_to_stop_a_batch_keeps_the_blocks_that_it_has() -> None:
    scene = Scene(should_stop=lambda: Block in {type(request) for _, request, _ in scene.requests})
    assert scene.measure(BATCH) == dict.fromkeys(BATCH, OK)
    assert Counter(scene.steps(Block)) == Counter(dict.fromkeys(BATCH, 2))
    assert_only_last_blocks_are_checked(scene)


def assert_only_last_blocks_are_checked(scene: Scene) -> None:
    blocks = [(case, request.is_last) for _, request, case in scene.requests
              if isinstance(request, Block)]  # fmt: skip
    cases = {case for case, _ in blocks}
    assert {case for case, is_last in blocks[-len(cases) :] if is_last} == cases
    assert not any(is_last for _, is_last in blocks[: -len(cases)])


def test_asked_to_stop_before_any_block_a_batch_ends_at_once() -> None:
    scene = Scene(should_stop=lambda: True)
    assert scene.measure(BATCH) == {}
    assert len(scene.steps(Setup)) == 1


def test_a_batch_leaves_time_for_the_last_blocks_and_the_checks_after_them() -> None:
    def slow_check(request: Message, case: Case | None) -> Reply:
        time.sleep(0.002 * isinstance(request, Validate))
        return answer(request, case)

    scene = Scene(slow_check)
    scene.budget_left_s = lambda: 0.01 if scene.steps(Block) else 60.0
    assert scene.measure(BATCH) == dict.fromkeys(BATCH, OK)
    assert Counter(scene.steps(Block)) == Counter(dict.fromkeys(BATCH, 2))


@pytest.mark.parametrize(
    ("pass_index", "left_s", "rounds"), [(2, 0.3, 11), (2, 60.0, 3), (0, 0.3, 3)]
)
def test_the_last_pass_of_a_budget_times_until_its_end(
    pass_index: int, left_s: float, rounds: int
) -> None:
    def slow_check(request: Message, case: Case | None) -> Reply:
        time.sleep(0.1 * isinstance(request, Validate))  # another pass takes 0.3 s
        return answer(request, case)

    scene = Scene(slow_check)
    scene.budget_left_s = lambda: left_s if len(scene.steps(Block)) < 10 * len(CASES) else 0.0
    settings = Settings(pass_index=pass_index)
    assert scene.measure(settings=settings) == dict.fromkeys(CASES, OK)
    assert Counter(scene.steps(Block)) == Counter(dict.fromkeys(CASES, rounds))
    assert_only_last_blocks_are_checked(scene)


def test_the_turns_are_those_of_the_seed() -> None:
    orders = set()
    for seed in range(20):
        scene = Scene()
        scene.measure(settings=Settings(seed=seed))
        orders.add(tuple(scene.steps(Block)[:3]))
    assert len(orders) > 3


def test_the_gate_alone_times_nothing() -> None:
    scene = Scene()
    assert scene.measure(settings=Settings(effort=None)) == dict.fromkeys(CASES, OK)
    assert not scene.steps(WarmUp)
    assert not scene.steps(Block)


def test_later_passes_get_the_data_and_the_outputs_of_the_first() -> None:
    scene = Scene()
    scene.measure()
    scene.measure()
    files = [request.file for _, request, _ in scene.requests if isinstance(request, Setup)]
    assert files == [None, FILE]
    outputs = [
        request.accepted for _, request, _ in scene.requests if isinstance(request, Validate)
    ]
    assert outputs == [b""] * 3 + [OK.accepted] * 3


def test_data_that_do_not_fit_are_deleted(tmp_path: Path) -> None:
    first, path = FirstPassData(), tmp_path / "data.pt"
    path.touch()
    first.keep(A, DataFile(str(path), 2**40))
    assert first.file(A) is None
    assert not path.exists()
    first.keep(A, FILE)
    assert first.file(A) is FILE
    assert first.file(replace(A, direction="training")) is None


def test_an_engine_with_threads_of_its_own_takes_turns_from_its_own_process() -> None:
    scene = Scene()
    engine = BACKENDS | {"b": replace(BACKENDS["b"], own_threads=True)}
    assert scene.measure(backends=engine) == dict.fromkeys(CASES, OK)
    keys = {case.backend: number for number, _, case in scene.requests if case}
    assert keys["a"] == keys["c"] != keys["b"]
    assert len(scene.started) == 2
    blocks = scene.steps(Block)
    assert all(set(blocks[3 * turn : 3 * turn + 3]) == set(CASES) for turn in range(3))


@pytest.mark.parametrize(("threads", "own_threads"), [(1, True), (2, False), (2, True)])
def test_processes_that_take_turns_rest_in_between_where_threads_may_spin(
    threads: int, own_threads: bool
) -> None:
    scene = Scene()
    engine = BACKENDS | {"b": replace(BACKENDS["b"], own_threads=own_threads)}
    scene.measure([replace(case, threads=threads) for case in CASES], engine)
    steps = [request for _, request, _ in scene.requests if isinstance(request, WarmUp | Block)]
    assert {step.yield_turn for step in steps} == {threads > 1 and own_threads}


def test_a_rest_ends_when_nothing_is_busy_and_at_last_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(process, "sleep", slept.append)
    monkeypatch.setattr(process, "perf_counter", lambda: sum(slept))
    monkeypatch.setattr(process, "process_time", lambda: min(sum(slept), 0.05))
    process.wait_until_idle()
    assert 0.05 < sum(slept) < 0.06
    slept.clear()
    monkeypatch.setattr(process, "process_time", lambda: sum(slept))
    process.wait_until_idle()
    assert sum(slept) == pytest.approx(0.2, abs=0.01)


def test_the_gates_own_calls_are_told_as_warm_up() -> None:
    scene = Scene()
    scene.measure()
    assert scene.spent_s["warm_up_s"] == pytest.approx(0.75, abs=0.2)
    assert {"start_s", "reference_s", "gate_s", "timing_s"} <= set(scene.spent_s)


def test_traces_are_a_phase_of_their_own() -> None:
    def traced(request: Message, case: Case | None) -> Reply:
        reply = answer(request, case)
        return replace(reply, trace_s=5.0) if isinstance(request, Finish) else reply

    scene = Scene(traced)
    scene.measure()
    assert scene.spent_s["trace_s"] == 5.0 * len(CASES)
    assert scene.spent_s["gate_s"] < 0  # the fake ones take no time


def test_the_process_setup_comes_from_a_process_that_is_ended() -> None:
    scene = Scene()
    assert process_setup(Settings(), scene.launch) == {"cores": [1]}
    assert scene.closed == {0}
    with pytest.raises(ValueError, match="gone"):
        process_setup(Settings(), Scene(failing(Describe, None, WorkerDied("gone"))).launch)
