"""Why fewer MACs save less time than they promise: what ceilings allow, and how near each comes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from convsweep.analysis.estimates import Array, Interval, interval, weighted_mean
from convsweep.analysis.separable.comparison import (
    UNKNOWN,
    Replacement,
    SeparableComparison,
    SeparablePart,
)
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE

MAX_EFFICIENCY = 1.15  # of a ceiling, in the mean: further above it is none

PARTS: Mapping[str, Callable[[Replacement], SeparablePart]] = {
    "standard": lambda replacement: replacement.standard,
    DEPTHWISE: lambda replacement: replacement.depthwise,
    POINTWISE: lambda replacement: replacement.pointwise,
}


class Explanation(NamedTuple):
    """Means over replacements: geometric ones of factors, arithmetic ones of shares of time.

    predicted x (allowed / predicted) x (measured / allowed) is measured, and the last factor is
    how near the replacement comes to its ceilings over how near the standard layer comes.
    """

    problems: int
    mac_ratio: float
    """The speedup that MACs promise."""
    roofline_speedup: float
    """The speedup with all three at their ceilings; NaN where those were not measured."""
    measured: Interval
    efficiency: Mapping[str, Interval]
    """The share of its attainable rate that each of `PARTS` reaches."""
    bounds: Mapping[str, Counter[str]]
    """What sets the ceiling of each of `PARTS`, and in how many problems."""
    time_shares: Mapping[str, Interval]
    """Of the replacement's time: each half, timed alone, and the `rest`."""
    depthwise_macs: float
    """The depthwise half's share of the replacement's MACs."""

    @property
    def has_intervals(self) -> bool:
        """Whether there are passes enough to say how sure its numbers are."""
        return not math.isnan(self.measured.low)

    @property
    def above_roofline(self) -> str:
        """The one of `PARTS` that is far above its ceiling, most of all; empty where none is."""
        far = {name: share.value for name, share in self.efficiency.items()}
        name = max(far, key=lambda name: 0 if math.isnan(far[name]) else far[name])
        return name if far[name] > MAX_EFFICIENCY else ""


def explain(comparison: SeparableComparison) -> Explanation | None:
    """What the replacements have in common, over those whose halves were timed; None if none."""
    timed = [
        i
        for i, (depthwise, pointwise) in enumerate(
            zip(comparison.log_s[DEPTHWISE], comparison.log_s[POINTWISE], strict=True)
        )
        if not (np.isnan(depthwise).all() or np.isnan(pointwise).all())
    ]
    if not timed:
        return None
    part = comparison.only(timed)
    logs, all_ = part.log_s, part.replacements
    weights = np.full(len(all_), 1 / len(all_))
    efficiency = {}
    for name, of in PARTS.items():
        attainable = np.log([[of(replacement).attainable_s] for replacement in all_])
        efficiency[name] = _mean(attainable - logs[name], weights)
    return Explanation(
        problems=len(all_),
        mac_ratio=_geometric([replacement.mac_ratio for replacement in all_]),
        roofline_speedup=_geometric([replacement.roofline_speedup for replacement in all_]),
        measured=_mean(logs["standard"] - logs[SEPARABLE], weights),
        efficiency=efficiency,
        bounds={
            name: Counter(of(r).bound for r in all_ if of(r).bound) for name, of in PARTS.items()
        },
        time_shares=_time_shares(part),
        depthwise_macs=float(np.mean([r.depthwise.problem.macs / r.separable_macs for r in all_])),
    )


def _geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _mean(logs: Array, weights: Array) -> Interval:
    return UNKNOWN if np.isnan(logs).all(axis=1).any() else interval(weighted_mean(logs, weights))


def _time_shares(comparison: SeparableComparison) -> dict[str, Interval]:
    """Mean over the problems of each half's share of the replacement's time, and what is left."""
    logs, whole = comparison.log_s, comparison.log_s[SEPARABLE]
    with np.errstate(invalid="ignore"):  # NaN where a pass has no time
        both = np.logaddexp(logs[DEPTHWISE], logs[POINTWISE])
    found = {
        name: _mean_share(part - whole)
        for name, part in ((DEPTHWISE, logs[DEPTHWISE]), (POINTWISE, logs[POINTWISE]), ("", both))
    }
    value, low, high = found.pop("")
    return {**found, "rest": Interval(1 - value, 1 - high, 1 - low)}


def _mean_share(logs: Array) -> Interval:
    """To first order, a mean's relative error is that of its parts, weighed by their size."""
    values = np.exp(np.nanmean(logs, axis=1))
    found = weighted_mean(logs, values / values.sum())
    return interval(found._replace(mean=np.log(values.mean())))
