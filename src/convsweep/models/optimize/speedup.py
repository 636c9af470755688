"""Speedup of the whole model: original and optimized timed in turns, in this process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from torch import nn

from convsweep.analysis.estimates import Estimate, Interval, estimate, interval
from convsweep.analysis.verdicts import verdicts
from convsweep.models.optimize.layer_inventory import ModelInputs
from convsweep.results.schema import MARGIN
from convsweep.system.devices import Clock

MIN_PASSES, MAX_PASSES = 5, 20
_CALLS = 3  # of each model per pass


class ModelSpeedup(NamedTuple):
    """Seconds of one call of the original and of the optimized model, and their ratio."""

    ratio: Interval
    original_s: Interval
    optimized_s: Interval
    verdict: str
    """faster, slower, same or undecided."""
    passes: int


def least_s(model: nn.Module, inputs: ModelInputs, clock: Clock) -> float:
    """Return the approximate seconds of the fewest passes."""
    return 2 * MIN_PASSES * _CALLS * clock(partial(inputs.call, model))


def measure_speedup(
    original: nn.Module, optimized: nn.Module, inputs: ModelInputs, clock: Clock, seconds: float
) -> ModelSpeedup:
    """Time both models; a pass is a few calls of each, in random order.

    Disturbances of a pass affect both and cancel in the ratio. All passes share one process, so
    the interval does not contain the effect of memory placement. At least five passes are made,
    even if they take longer than `seconds`.
    """
    both = (original, optimized)
    for model in both:  # warm up
        inputs.call(model)
    order = random.Random(0)
    times: list[Sequence[float]] = []
    until = perf_counter() + seconds
    while len(times) < MIN_PASSES or (perf_counter() < until and len(times) < MAX_PASSES):
        taken: dict[nn.Module, float] = {}
        for model in order.sample(both, 2):
            call = partial(inputs.call, model)
            taken[model] = median(clock(call) for _ in range(_CALLS))
        times.append([taken[model] for model in both])
    logs = np.log(np.array(times, dtype="float64")).T  # (2, passes)
    ratio = estimate(logs[0] - logs[1])
    [verdict] = verdicts(Estimate(*(np.atleast_1d(part) for part in ratio)), MARGIN)
    own, others = (interval(estimate(log)) for log in logs)
    return ModelSpeedup(interval(ratio), own, others, str(verdict), len(times))
