"""The whole model's speedup: original and optimized in turns, in this process."""

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
from convsweep.models.optimize.layer_inventory import Example
from convsweep.results.store import MARGIN
from convsweep.system.devices import Clock

FEWEST_PASSES, MOST_PASSES = 5, 20
_CALLS = 3  # of each model in a pass


class Speedup(NamedTuple):
    """Original seconds / optimized seconds of one call, and both."""

    ratio: Interval
    original_s: Interval
    optimized_s: Interval
    verdict: str
    """faster, slower, same or undecided."""
    passes: int


def measure(
    original: nn.Module, optimized: nn.Module, example: Example, clock: Clock, seconds: float
) -> Speedup:
    """Time both on the example; a pass is a few calls of either, in random order.

    What disturbs a pass disturbs both, and cancels out of their ratio. Passes share a process:
    how memory happens to lie in it is in every one of them, and so not in the interval.

    Args:
        original: in evaluation mode.
        optimized: too.
        example: what they are called with.
        clock: of the device that they run on.
        seconds: about how long; five passes at least.
    """
    both = (original, optimized)
    for model in both:  # warm up
        example.call(model)
    order = random.Random(0)
    times: list[Sequence[float]] = []
    until = perf_counter() + seconds
    while len(times) < FEWEST_PASSES or (perf_counter() < until and len(times) < MOST_PASSES):
        taken: dict[nn.Module, float] = {}
        for model in order.sample(both, 2):
            call = partial(example.call, model)
            taken[model] = median(clock(call) for _ in range(_CALLS))
        times.append([taken[model] for model in both])
    logs = np.log(np.array(times, dtype="float64")).T  # (2, passes)
    ratio = estimate(logs[0] - logs[1])
    [verdict] = verdicts(Estimate(*(np.atleast_1d(part) for part in ratio)), MARGIN)
    own, others = (interval(estimate(log)) for log in logs)
    return Speedup(interval(ratio), own, others, str(verdict), len(times))
