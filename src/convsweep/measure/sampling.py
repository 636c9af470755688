"""Sampling of one case: iterations per sample, blocks of samples, quantiles."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convsweep.analysis.sample_flags import median
from convsweep.system.devices import Clock

Call = Callable[[], object]
T = TypeVar("T")


@dataclass(frozen=True)
class MeasurementConfig:
    """Duration of measurements, in seconds. The defaults are those of `convsweep run`."""

    warm_up_s: float = 0.005  # warm-up before the first block; the calls of the gate count
    block_s: float = 0.01  # samples of one case run back to back
    blocks: int = 2  # blocks per case and pass
    case_s: float = 0.1
    """If the blocks of a case take longer in one pass, it has fewer, and at least one."""
    clock_share: float = 1e-4  # largest share of a sample that the clock itself may take
    discard_s: float = 0.001
    """Calls discarded at the start of each block, while caches load the data of the case."""
    cold_block_s: float = 0.05
    """Block of calls with cold caches, including the flushes between them."""
    long_call_s: float = 0.05
    """From this duration of a call on, none is discarded: loading its data takes a few percent."""


def min_calls(effort: MeasurementConfig | None) -> int:
    """Return how often the slowest case is called in a pass.

    The gate makes 3 calls; then follow one sample, or 3 calls on whole numbers.
    """
    return 4 if effort else 6


@dataclass(frozen=True)
class SamplingPlan:
    """Plan for timing one case: `blocks` x `samples` readings of `iterations` calls each."""

    iterations: int
    samples: int
    discarded: int
    blocks: int
    extra: Fraction = Fraction(0)
    """Share of the iterations that is repeated uncounted: a slowdown of known size."""

    @property
    def calls(self) -> int:
        """Timed calls per pass."""
        return self.blocks * self.samples * self.iterations

    @property
    def all_calls(self) -> int:
        """Timed and discarded calls per pass."""
        return self.calls + self.blocks * self.discarded


def make_plan(
    call_s: float, overhead_s: float, effort: MeasurementConfig, extra: Fraction = Fraction(0)
) -> SamplingPlan:
    """Return the plan for a call of about `call_s`; reading the clock takes `overhead_s`.

    With `extra`, iterations are a multiple of its denominator, so that extra calls are whole.
    """
    call_s = max(call_s, 1e-9)
    iterations = max(1, math.ceil(overhead_s / (effort.clock_share * call_s)))
    iterations = math.ceil(iterations / extra.denominator) * extra.denominator
    samples = max(1, round(effort.block_s / (iterations * call_s)))
    discarded = 0 if call_s >= effort.long_call_s else max(1, math.ceil(effort.discard_s / call_s))
    block_s = (discarded + samples * iterations) * call_s
    blocks = min(effort.blocks, max(1, int(effort.case_s / block_s)))
    return SamplingPlan(iterations, samples, discarded, blocks, extra)


def make_cold_plan(call_s: float, flush_s: float, effort: MeasurementConfig) -> SamplingPlan:
    """Return the plan for single calls, each after a flush of the caches of about `flush_s`."""
    samples = max(1, round(effort.cold_block_s / (call_s + flush_s)))
    return SamplingPlan(iterations=1, samples=samples, discarded=0, blocks=effort.blocks)


def repeat(call: Call, times: int) -> Call:
    """Return a function that makes `times` calls."""

    def calls() -> None:
        for _ in range(times):
            call()

    return calls


def warm_up(clock: Clock, call: Call, warm_up_s: float) -> float:
    """Call until `warm_up_s` has passed; return seconds per call of the last round.

    Each round has twice the calls of the one before, or as many as are left.
    """
    times = 1
    while True:
        round_s = clock(repeat(call, times))
        warm_up_s -= round_s
        if warm_up_s <= 0:
            return round_s / times
        times = min(2 * times, math.ceil(warm_up_s * times / round_s) if round_s else 2 * times)


def discard_warmup(clock: Clock, call: Call, plan: SamplingPlan) -> None:
    """Make the first calls of a block, which are not timed."""
    if plan.discarded:
        clock(repeat(call, plan.discarded))


def time_block(
    clock: Clock, call: Callable[[], T], plan: SamplingPlan, before: Call = lambda: None
) -> tuple[list[float], T]:
    """Return seconds per call, one value per sample, and the output of the last call.

    `before` is called before each sample; it may empty the caches.
    """
    calls, samples, kept = plan.iterations + int(plan.extra * plan.iterations), [], []
    all_but_one = repeat(call, calls - 1)

    def last() -> None:
        all_but_one()
        kept.append(call())

    for work in [*[repeat(call, calls)] * (plan.samples - 1), last]:
        before()
        samples.append(clock(work) / plan.iterations)
    return samples, kept[0]


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of one pass's samples, in seconds per call."""

    min_s: float
    p05_s: float
    median_s: float
    p95_s: float
    mad_s: float  # median absolute deviation from the median


def faster_half(seconds: Sequence[float] | NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of the faster half, rounded up: other programs only slow down."""
    return np.argsort(seconds, kind="stable")[: (len(seconds) + 1) // 2]


def pass_time(blocks: Sequence[Sequence[float]]) -> float:
    """Return the time of a pass, in seconds per call: the mean of the faster half of its blocks.

    Blocks of all cases are equally long, so that a disturbance hits long and short calls alike.
    """
    means = np.array([np.mean(block) for block in blocks])
    return float(means[faster_half(means)].mean())


def quantiles(samples: Sequence[float]) -> Quantiles:
    """Return the quantiles of a pass's samples."""
    ordered = np.sort(samples)
    places = np.linspace(0, 1, len(ordered))
    p05, p95 = np.interp([0.05, 0.95], places, ordered)  # as np.quantile, but quick
    median_s = median(ordered)
    mad_s = median(np.sort(np.abs(ordered - median_s)))
    return Quantiles(float(ordered[0]), float(p05), median_s, float(p95), mad_s)
