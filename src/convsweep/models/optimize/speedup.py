"""Times of whole models, measured in turns in this process."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, thread_time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from convsweep.analysis.estimates import Array, Estimate, Interval, estimate, interval
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


def least_s(model: nn.Module, inputs: ModelInputs, device: Device, models: int) -> float:
    """Return the approximate seconds of the fewest passes of a number of models."""
    return models * MIN_PASSES * _CALLS * device.clock(partial(call, model, inputs))


def measure_speedups(
    original: nn.Module,
    optimized: Sequence[nn.Module],
    inputs: ModelInputs,
    device: Device,
    seconds: float,
) -> list[ModelSpeedup]:
    """Time all models; a pass is the fastest of a few calls of each, in random order.

    Disturbances of a pass affect all and cancel in the ratios. All passes share one process, so
    the intervals do not contain the effect of memory placement. At least five passes are made,
    even if they take longer than `seconds`.

    Raises:
        ValueError: a model fails at one of these calls.
    """
    calls = [partial(inputs.pass_to, model) for model in (original, *optimized)]
    try:
        with user_code(shown=False):
            logs, core_share = times_in_turns(calls, device, seconds)
    except UserCodeError as error:
        raise ValueError(f"{type(original).__name__} cannot be timed: {error}") from None
    ratios = estimate(logs[0] - logs[1:])
    found = verdicts(ratios, MARGIN) if core_share >= LEAST_CORE_SHARE else None
    first, *others = (interval(estimate(log)) for log in logs)
    return [
        ModelSpeedup(
            interval(Estimate(*(part[i] for part in ratios))),
            first,
            other,
            "undecided" if found is None else str(found[i]),
            logs.shape[1],
            core_share,
        )
        for i, other in enumerate(others)
    ]


def times_in_turns(
    calls: Sequence[Callable[[], Any]], device: Device, seconds: float
) -> tuple[Array, float]:
    """Return the logarithms of the seconds of each call, (calls, passes), and the core's share."""
    order = random.Random(0)
    times: list[list[float]] = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for one in (*calls, *calls):  # the first calls prepare backends and fill caches
            one()
        started, computed = perf_counter(), thread_time()
        while len(times) < MIN_PASSES or (
            perf_counter() - started < seconds and len(times) < MAX_PASSES
        ):
            taken = [0.0] * len(calls)
            for i in order.sample(range(len(calls)), len(calls)):
                taken[i] = min(device.clock(calls[i]) for _ in range(_CALLS))
            times.append(taken)
        share = (thread_time() - computed) / (perf_counter() - started)
    return np.log(np.array(times, dtype="float64")).T, share if device.name == "cpu" else 1.0
