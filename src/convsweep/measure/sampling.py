"""Timing one case: how many calls a sample needs, and one block of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from convsweep.system.devices import Clock

Call = Callable[[], object]


@dataclass(frozen=True)
class MeasurementConfig:
    """How much to time, in seconds; the defaults are those of every run."""

    warm_up_s: float = 0.005
    """Calls before the first block; those of the gate count."""
    block_s: float = 0.01
    """Samples of one case run back to back, before another backend has its turn."""
    blocks: int = 2
    """Blocks of a case in one pass."""
    case_s: float = 0.1
    """A case whose blocks take longer than this in one pass has fewer, and at least one."""
    clock_share: float = 1e-4
    """The largest part of a sample that the clock itself may cost."""
    discard_s: float = 0.001
    """Calls discarded at the start of each block, while caches take in this case's data."""
    cold_block_s: float = 0.05
    """A block of calls with cold caches, the flushes between them counted."""
    long_call_s: float = 0.25
    """A call so long that its own start is no matter: none is discarded."""


@dataclass(frozen=True)
class SamplingPlan:
    """How one case is timed: `blocks` times `samples` readings of `iterations` calls each."""

    iterations: int
    samples: int
    discarded: int
    blocks: int
    extra: Fraction = Fraction(0)
    """What part of the iterations is made once more, uncounted: a handicap of known size."""

    @property
    def calls(self) -> int:
        """The calls of a pass that are timed."""
        return self.blocks * self.samples * self.iterations

    @property
    def all_calls(self) -> int:
        """Those, and the ones that are discarded."""
        return self.calls + self.blocks * self.discarded


def make_plan(
    call_s: float, overhead_s: float, effort: MeasurementConfig, extra: Fraction = Fraction(0)
) -> SamplingPlan:
    """The plan for a call of about `call_s` under a clock that costs `overhead_s` a reading.

    With `extra`, a sample has so many iterations that the extra calls are whole ones.
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
    """The plan where the caches are flushed before each call, which takes about `flush_s`.

    A sample is one call: a second one would find what the first one left.
    """
    samples = max(1, round(effort.cold_block_s / (call_s + flush_s)))
    return SamplingPlan(iterations=1, samples=samples, discarded=0, blocks=effort.blocks)


def repeat(call: Call, times: int) -> Call:
    """One piece of work that makes `times` calls."""

    def calls() -> None:
        for _ in range(times):
            call()

    return calls


def warm_up(clock: Clock, call: Call, effort: MeasurementConfig) -> float:
    """Call ever more often until `warm_up_s` has passed; seconds of a call in the last round."""
    times, spent_s = 1, 0.0
    while True:
        round_s = clock(repeat(call, times))
        spent_s += round_s
        if spent_s >= effort.warm_up_s:
            return round_s / times
        times *= 2


def discard_warmup(clock: Clock, call: Call, plan: SamplingPlan) -> None:
    """The first calls of a block, which nobody counts."""
    if plan.discarded:
        clock(repeat(call, plan.discarded))


def time_block(clock: Clock, call: Call, plan: SamplingPlan) -> list[float]:
    """Seconds a call, one value a sample."""
    work = repeat(call, plan.iterations + int(plan.extra * plan.iterations))
    return [clock(work) / plan.iterations for _ in range(plan.samples)]


def time_cold_block(clock: Clock, call: Call, plan: SamplingPlan, flush: Call) -> list[float]:
    """Seconds a call, one value a sample; `flush` empties the caches before each."""
    samples = []
    for _ in range(plan.samples):
        flush()
        samples.append(clock(call))
    return samples


@dataclass(frozen=True)
class Quantiles:
    """The shape of one pass's samples, in seconds a call."""

    min_s: float
    p05_s: float
    median_s: float
    p95_s: float
    mad_s: float
    """Median absolute deviation from the median."""


def quantiles(samples: Sequence[float]) -> Quantiles:
    """What is kept of a pass's samples."""
    p05, median, p95 = np.quantile(samples, [0.05, 0.5, 0.95])
    deviation = np.median(np.abs(np.asarray(samples) - median))
    return Quantiles(float(min(samples)), float(p05), float(median), float(p95), float(deviation))
