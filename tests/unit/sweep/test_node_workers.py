"""A node's measuring processes: the same ones for all of a pass, fresh ones for the next."""

from dataclasses import replace

from convsweep.backends.registry import list_backends
from convsweep.measure.settings import Settings
from convsweep.problems.case import cross
from convsweep.problems.grids import GRIDS
from convsweep.sweep.executor import NodeWorkers
from convsweep.sweep.sharding import group_cases
from tests.support.fake_sweep import Fakes

CASES = cross(GRIDS["smoke"].layers(), ["torch_conv", "im2col"])


def test_a_pass_has_one_process_and_the_next_one_another() -> None:
    fakes = Fakes()
    workers = NodeWorkers(fakes.launch)
    for pass_index in (0, 1, 1, 0):
        for number, group in enumerate(group_cases(CASES)):
            own = Settings(seed=number, pass_index=pass_index, memory_limit_bytes=number)
            outcomes = dict(workers.scheduler(own, list_backends()).measure(group))
            assert set(outcomes) == set(group)
    assert [settings.pass_index for settings in fakes.started] == [0, 1, 0]
    assert fakes.closed == 2
    assert {*fakes.warmed_up_among} == {1}
    workers.close()
    workers.close()
    assert fakes.closed == 3


def test_threads_are_of_processes_of_their_own() -> None:
    fakes = Fakes()
    workers = NodeWorkers(fakes.launch)
    for threads in (1, 2, 2):
        own = [replace(case, threads=threads) for case in CASES[:2]]
        list(workers.scheduler(Settings(), list_backends()).measure(own))
    assert [settings.threads for settings in fakes.started] == [1, 2]


def test_a_group_is_told_its_own_time_alone() -> None:
    workers = NodeWorkers(Fakes().launch)
    list(workers.scheduler(Settings(), list_backends()).measure(CASES[:2]))
    first = workers.take_phases_s()
    assert "timing_s" in first
    assert "start_s" in first
    assert workers.take_phases_s() == {}
    list(workers.scheduler(Settings(), list_backends()).measure(CASES[:2]))
    assert "start_s" not in workers.take_phases_s()
