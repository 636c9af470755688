"""Speedup of the whole model: original and optimized timed in turns, in this process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from time import perf_counter, thread_time
from typing import NamedTuple

import numpy as np
from torch import nn

from convsweep.analysis.estimates import Estimate, Interval, estimate, interval
from convsweep.analysis.verdicts import verdicts
from convsweep.models.optimize.layer_inventory import ModelInputs, call
from convsweep.problems.user_code import UserCodeError, user_code
from convsweep.results.schema import MARGIN
from convsweep.system.devices import Device

MIN_PASSES, MAX_PASSES = 5, 20
LEAST_CORE_SHARE = 0.8
"""Of the time; with less of a core, times are those of the other processes."""
_CALLS = 3  # of each model per pass


class ModelSpeedup(NamedTuple):
    """Seconds of one call of the original and of the optimized model, and their ratio."""

    ratio: Interval
    original_s: Interval
    optimized_s: Interval
    verdict: str
    """faster, slower, same or undecided."""
    passes: int
    core_share: float
    """Share of the time in which this thread had a core; 1 if another device computes."""

    @property
    def is_judged(self) -> bool:
        """Whether other processes left this one enough of a core for a verdict."""
        return self.core_share >= LEAST_CORE_SHARE


def least_s(model: nn.Module, inputs: ModelInputs, device: Device) -> float:
    """Return the approximate seconds of the fewest passes."""
    return 2 * MIN_PASSES * _CALLS * device.clock(partial(call, model, inputs))


def measure_speedup(
    original: nn.Module, optimized: nn.Module, inputs: ModelInputs, device: Device, seconds: float
) -> ModelSpeedup:
    """Time both models; a pass is the fastest of a few calls of each, in random order.

    Disturbances of a pass affect both and cancel in the ratio. All passes share one process, so
    the interval does not contain the effect of memory placement. At least five passes are made,
    even if they take longer than `seconds`.

    Raises:
        ValueError: a model fails at one of these calls.
    """
    try:
        with user_code(shown=False):
            times, core_share = _times((original, optimized), inputs, device, seconds)
    except UserCodeError as error:
        raise ValueError(f"{type(original).__name__} cannot be timed: {error}") from None
    logs = np.log(np.array(times, dtype="float64")).T  # (2, passes)
    ratio = estimate(logs[0] - logs[1])
    [verdict] = verdicts(Estimate(*(np.atleast_1d(part) for part in ratio)), MARGIN)
    verdict = verdict if core_share >= LEAST_CORE_SHARE else "undecided"
    own, others = (interval(estimate(log)) for log in logs)
    return ModelSpeedup(interval(ratio), own, others, str(verdict), len(times), core_share)


def _times(
    both: Sequence[nn.Module], inputs: ModelInputs, device: Device, seconds: float
) -> tuple[list[Sequence[float]], float]:
    """Return the seconds of both models in each pass, and this thread's share of a core."""
    for model in (*both, *both):  # the first calls prepare backends and fill caches
        inputs.call(model)
    order = random.Random(0)
    times: list[Sequence[float]] = []
    started, computed = perf_counter(), thread_time()
    while len(times) < MIN_PASSES or (
        perf_counter() - started < seconds and len(times) < MAX_PASSES
    ):
        taken: dict[nn.Module, float] = {}
        for model in order.sample(both, 2):
            forward = partial(inputs.call, model)
            taken[model] = min(device.clock(forward) for _ in range(_CALLS))
        times.append([taken[model] for model in both])
    share = (thread_time() - computed) / (perf_counter() - started)
    return times, share if device.name == "cpu" else 1.0
