"""Passes and blocks that a run with a budget chooses for itself."""

from dataclasses import replace

import pytest

from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.sweep.tuning import plan_passes, tuned, until_the_end

SETTINGS = Settings(effort=MeasurementConfig(blocks=2, case_s=0.1), case_timeout_s=1.0)


@pytest.mark.parametrize("left_s", [0.1, 1.0, 5.0, 20.0, 60.0])
@pytest.mark.parametrize("done", [1, 2, 3, 5])
def test_passes_and_blocks_fill_the_time_left(left_s: float, done: int) -> None:
    passes, blocks = plan_passes(done, fixed_s=0.5, block_s=0.2, left_s=left_s)
    if passes and blocks > 1:
        assert passes * (0.5 + blocks * 0.2) <= left_s < passes * (0.5 + (blocks + 1) * 0.2)
    assert passes == 0 or done + passes >= 3
    assert (passes == 0) == (done > 1 and left_s < 0.5)


def test_most_of_a_long_run_is_timing() -> None:
    passes, blocks = plan_passes(3, fixed_s=0.5, block_s=0.2, left_s=300.0)
    assert 0.8 < passes * blocks * 0.2 / 300.0 < 0.9


def test_a_short_run_has_four_passes_or_three_of_two_blocks() -> None:
    assert [plan_passes(1, 0.5, 0.2, left_s)[0] for left_s in (4.0, 2.0)] == [3, 2]


def test_phases_of_the_first_pass_are_not_expected_in_later_ones() -> None:
    last_s = {"timing_s": 1.0, "reference_s": 50.0, "gate_s": 0.5}
    assert tuned(SETTINGS, 1, last_s, 60.0) == tuned(SETTINGS, 1, last_s | {"trace_s": 9.0}, 60.0)
    first, later = (tuned(SETTINGS, done, last_s, 60.0)[0] for done in (1, 2))
    assert first is not None
    assert later is not None
    assert first > later


def test_more_blocks_may_take_longer_up_to_half_of_the_time_limit() -> None:
    _, settings = tuned(SETTINGS, 2, {"timing_s": 1.0, "gate_s": 4.0}, 60.0)
    assert settings.effort is not None
    assert settings.effort.blocks > 2
    assert settings.effort.case_s == 0.5
    endless = until_the_end(settings)
    assert endless is not None
    assert endless.blocks > settings.effort.blocks


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, effort=None)])
def test_a_pass_without_a_block_chooses_nothing(settings: Settings) -> None:
    assert tuned(settings, 1, {"gate_s": 1.0}, 60.0) == (None, settings)
