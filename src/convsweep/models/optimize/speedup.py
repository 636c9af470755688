"""Times of whole models and of their layers, measured in turns in this process."""

import random
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from math import inf
from time import perf_counter, thread_time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from convsweep.analysis.estimates import Array, Estimate, Interval, estimate, interval
from convsweep.analysis.verdicts import verdicts
from convsweep.models.advise.trace import tensors_of
from convsweep.models.optimize.layer_inventory import ModelInputs, call
from convsweep.problems.user_code import UserCodeError, user_code
from convsweep.results.schema import MARGIN
from convsweep.system.devices import Device

MIN_PASSES, MAX_PASSES = 5, 20
LEAST_CORE_SHARE = 0.8  # Of the time; with less of a core, times are those of the other processes
LAYERS_SHARE = 0.4  # Of the seconds for timing a model: the most for the layers inside each copy
_CALLS = 3  # of each model per pass
_LAYER_PASSES = 2, 8
_VERSIONS = 5  # The most of a copy whose layers are timed; the fewest are 2
_SLACK = 1.5  # For copies that are slower than the original, and for disturbances


class ModelSpeedup(NamedTuple):
    """Seconds of one call of the original and of the optimized model, and their ratio."""

    ratio: Interval
    original_s: Interval
    optimized_s: Interval
    verdict: str  # faster, slower, same or undecided
    passes: int
    core_share: float
    """Share of the time in which this thread had a core; 1 if another device computes."""

    @property
    def is_judged(self) -> bool:
        """Whether other processes left this one enough of a core for a verdict."""
        return self.core_share >= LEAST_CORE_SHARE


def least_s(call_s: float, models: int) -> float:
    """Return the seconds of the fewest passes of a number of models, by those of a call."""
    return models * MIN_PASSES * _CALLS * call_s


def reserve_s(call_s: float, copies: int, timing_s: float, longest_s: float) -> float:
    """Return the most seconds for timing a model with its copies, and the layers inside these.

    A call takes about `call_s`; `timing_s` are meant for the whole model. Nothing is reserved if
    its fewest passes take more than `longest_s`, nor for layers if theirs exceed their share.
    """
    fewest_s, share_s = least_s(call_s, 1 + copies), LAYERS_SHARE * timing_s
    whole_s = min(max(timing_s, fewest_s), _SLACK * fewest_s * MAX_PASSES / MIN_PASSES)
    least, most = (number * _CALLS * call_s for number in _LAYER_PASSES)
    is_timed, layers_are_timed = timing_s > 0 and fewest_s <= longest_s, 2 * least <= share_s
    return is_timed * whole_s + layers_are_timed * copies * min(share_s, _VERSIONS * most)


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


def layers_fit(model: nn.Module, inputs: ModelInputs, seconds: float, models: int = 1) -> bool:
    """Return whether `layer_times` of a number of such models takes at most `seconds`."""
    if any(not tensor.is_cpu for tensor in tensors_of(model)):
        return False  # another device computes later than the calls return
    started = perf_counter()
    call(model, inputs)
    return models * _CALLS * _LAYER_PASSES[0] * (perf_counter() - started) <= seconds


def layer_times(
    models: Sequence[nn.Module],
    names: Sequence[Collection[str]],
    inputs: ModelInputs,
    seconds: float,
) -> list[dict[str, float]]:
    """Return the seconds of named modules in one call of each model, on the CPU; in turns.

    A module's time ends when the next one of them starts, so it includes what is between them. It
    is the least of some passes of a few calls.
    """
    found: list[dict[str, float]] = [{} for _ in models]
    started, (least, most) = perf_counter(), _LAYER_PASSES
    for done in range(most):
        if done >= least and perf_counter() - started >= seconds:
            break
        for model, own, best in zip(models, names, found, strict=True):
            for _ in range(_CALLS):  # the first call fills caches
                for name, taken in _timed_call(model, own, inputs).items():
                    best[name] = min(taken, best.get(name, inf))
    return found


def _timed_call(model: nn.Module, names: Collection[str], inputs: ModelInputs) -> dict[str, float]:
    """Return the seconds from the start of each of these modules to the start of the next one."""
    starts: list[tuple[str, float]] = []
    with ExitStack() as stack:
        for name in names:

            def note(*_: object, name: str = name) -> None:
                starts.append((name, perf_counter()))

            stack.enter_context(model.get_submodule(name).register_forward_pre_hook(note))
        call(model, inputs)
        end = ("", perf_counter())
    taken: dict[str, float] = {}
    for (name, start), (_, following) in pairwise([*starts, end]):
        taken[name] = taken.get(name, 0.0) + following - start
    return taken


def times_in_turns(
    calls: Sequence[Callable[[], Any]], device: Device, seconds: float
) -> tuple[Array, float]:
    """Return the logarithms of the seconds of each call, (calls, passes), and the core's share.

    The share is that of the call with the largest one: an engine may compute on another thread.
    """
    order = random.Random(0)
    times: list[list[float]] = []
    passed, computed = np.zeros(len(calls)), np.zeros(len(calls))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for one in (*calls, *calls):  # the first calls prepare backends and fill caches
            one()
        started = perf_counter()
        while len(times) < MIN_PASSES or (
            perf_counter() - started < seconds and len(times) < MAX_PASSES
        ):
            taken = [0.0] * len(calls)
            for i in order.sample(range(len(calls)), len(calls)):
                before_s, before_cpu_s = perf_counter(), thread_time()
                taken[i] = min(device.clock(calls[i]) for _ in range(_CALLS))
                passed[i] += perf_counter() - before_s
                computed[i] += thread_time() - before_cpu_s
            times.append(taken)
    share = float((computed / passed).max()) if device.name == "cpu" else 1.0
    return np.log(np.array(times, dtype="float64")).T, share
