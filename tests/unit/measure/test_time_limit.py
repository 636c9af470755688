"""Time limit of a case in the gate: from calls that show how long a call takes."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from convsweep.measure.gate import TimeLimitExceeded, _TimedConv
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings


def call(seconds: list[float], limit_s: float = 1.0, compile_s: float = 0.0) -> _TimedConv:
    """Make calls that take these seconds."""
    left = iter(seconds)

    def clock(work: Callable[[], object]) -> float:
        work()
        return next(left)

    settings = Settings(case_timeout_s=limit_s, effort=MeasurementConfig())
    group: Any = SimpleNamespace(device=SimpleNamespace(clock=clock), settings=settings)
    timed = _TimedConv(lambda x: x, group, compile_s)
    x: Tensor = torch.zeros(1)
    for _ in seconds:
        timed(x)
    return timed


def test_a_slow_first_call_within_the_limit_is_not_taken_for_the_time_of_a_call() -> None:
    assert call([0.4, 0.01, 0.01]).call_s == 0.01


@pytest.mark.parametrize("seconds", [[0.6], [0.3, 0.3], [0.1, 0.4, 0.5]])
def test_a_case_ends_once_its_calls_show_that_it_cannot_end_in_time(seconds: list[float]) -> None:
    call(seconds[:-1])
    with pytest.raises(TimeLimitExceeded):
        call(seconds)


def test_larger_cases_are_not_predicted_from_what_only_a_first_call_takes() -> None:
    with pytest.raises(TimeLimitExceeded) as first:
        call([0.6])
    assert first.value.call_s < 0
    with pytest.raises(TimeLimitExceeded) as second:
        call([0.3, 0.35])
    assert second.value.call_s == pytest.approx(0.3)
