"""Standard convolutions and their separable replacements: times, thresholds, rooflines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from convsweep.analysis.estimates import (
    UNKNOWN,
    Array,
    Interval,
    equal_mean,
    interval,
    weighted_mean,
)
from convsweep.problems.problem import ConvProblem, Size, format_size
from convsweep.problems.separable import (
    DEPTHWISE,
    POINTWISE,
    SEPARABLE,
    SEPARABLE_PARTS,
    predicted_share,
)

STANDARD = "standard"
MAX_EFFICIENCY = 1.15
"""Mean share of the roofline above which the measured roofline is not an upper bound."""


@dataclass(frozen=True)
class SeparablePart:
    """One convolution on its own: the standard layer, or one part of its replacement."""

    problem: ConvProblem
    intensity: float  # FLOPs per byte, each element moved once
    time: Interval  # seconds per call; NaN if it was not timed
    attainable_s: float  # seconds that the roofline allows; NaN if the roofline was not measured
    bound: str  # what limits the rate: `compute`, `cache`, `memory`; empty if unknown

    @property
    def efficiency(self) -> Interval:
        """Measured share of the attainable rate."""
        value, low, high = self.time
        return Interval(
            self.attainable_s / value, self.attainable_s / high, self.attainable_s / low
        )


@dataclass(frozen=True)
class Replacement:
    """A standard convolution and its separable replacement, both timed in one setting."""

    label: str
    workload: str | None
    parts: Mapping[str, SeparablePart]
    """The standard layer and both parts of the replacement, by name."""
    separable: Interval  # seconds per call of the replacement
    separable_macs: int
    speedup: Interval
    verdict: str
    shares: Mapping[str, Interval]
    """Share of the replacement's time of each part timed alone, and of the `rest`."""

    @property
    def standard(self) -> SeparablePart:
        """The standard layer."""
        return self.parts[STANDARD]

    @property
    def problem(self) -> ConvProblem:
        """The standard convolution."""
        return self.standard.problem

    @property
    def is_timed(self) -> bool:
        """Whether both parts have a time."""
        return not math.isnan(self.shares["rest"].value)

    @property
    def mac_ratio(self) -> float:
        """Speedup expected from the MAC count (Howard et al. 2017, MobileNets)."""
        return 1 / predicted_share(self.problem)

    @property
    def realized(self) -> Interval:
        """Measured speedup over the MAC ratio."""
        return Interval(*(end / self.mac_ratio for end in self.speedup))

    @property
    def roofline_speedup(self) -> float:
        """Speedup with the standard layer and both parts at their rooflines."""
        parts_s = sum(self.parts[name].attainable_s for name in SEPARABLE_PARTS)
        return self.standard.attainable_s / parts_s


class Threshold(NamedTuple):
    """All replacements of one input size, whatever their kernel, stride or batch size."""

    size: str
    measured: Sequence[int]  # numbers of input channels, ascending
    channels: int | None  # least of them from which on every replacement is faster
    problems: int
    faster: int


class Explanation(NamedTuple):
    """Means over replacements whose parts were timed: geometric of factors, else arithmetic."""

    problems: int
    mac_ratio: float
    roofline_speedup: float
    """Speedup with all three convolutions at their rooflines; NaN if not measured."""
    speedup: Interval
    efficiency: Mapping[str, Interval]
    """Share of the attainable rate of the standard layer and of each part."""
    time_shares: Mapping[str, Interval]
    """Share of the replacement's time of each part timed alone, and of the `rest`."""
    depthwise_macs: float  # share of the replacement's MACs in its depthwise part

    @property
    def above_roofline(self) -> str:
        """Name of the part furthest above its roofline; empty if all are within it."""
        values = {name: share.value for name, share in self.efficiency.items()}
        name = max(values, key=lambda name: 0 if math.isnan(values[name]) else values[name])
        return name if values[name] > MAX_EFFICIENCY else ""


@dataclass(frozen=True)
class SeparableComparison:
    """All replacements of one setting, with their times in each pass."""

    replacements: Sequence[Replacement]
    log_s: Mapping[str, Array]
    """`standard, separable, depthwise, pointwise`: (replacements, passes); NaN is no time."""

    @cached_property
    def speedup(self) -> Interval:
        """Geometric mean of the speedups."""
        return _mean(self.log_s[STANDARD] - self.log_s[SEPARABLE])

    @cached_property
    def mac_ratio(self) -> float:
        """Geometric mean of the MAC ratios."""
        return _geometric_mean(r.mac_ratio for r in self.replacements)

    @cached_property
    def explanation(self) -> Explanation | None:
        """Means over the replacements whose parts were timed; None if there are none."""
        timed = [
            i
            for i, logs in enumerate(zip(self.log_s[DEPTHWISE], self.log_s[POINTWISE], strict=True))
            if not any(np.isnan(part).all() for part in logs)
        ]
        return _explain(self._select(timed)) if timed else None

    @cached_property
    def headline(self) -> SeparableComparison:
        """The replacements that means and figures are of: none of a fully connected layer."""
        return self._select(
            [i for i, r in enumerate(self.replacements) if not r.problem.is_fully_connected]
        )

    @cached_property
    def thresholds(self) -> Sequence[Threshold]:
        """One row per input size that was measured with several numbers of channels."""
        return _thresholds(self.headline.replacements)

    def _select(self, places: Sequence[int]) -> SeparableComparison:
        logs = {name: logs[places] for name, logs in self.log_s.items()}
        return SeparableComparison([self.replacements[i] for i in places], logs)


Comparisons = Mapping[str, SeparableComparison]  # by setting


def _thresholds(replacements: Sequence[Replacement]) -> list[Threshold]:
    by_size: dict[Size, list[Replacement]] = {}
    for replacement in replacements:
        by_size.setdefault(replacement.problem.input_size, []).append(replacement)
    found = []
    for size in sorted(by_size, key=lambda size: (len(size), math.prod(size))):
        own = by_size[size]
        measured = sorted({each.problem.in_channels for each in own})
        others = [each.problem.in_channels for each in own if each.verdict != "faster"]
        start = next((channels for channels in measured if channels > max(others, default=0)), None)
        if len(measured) > 1:
            counts = len(own), len(own) - len(others)
            found.append(Threshold(format_size(size), measured, start, *counts))
    return found


def _explain(timed: SeparableComparison) -> Explanation:
    logs, replacements = timed.log_s, timed.replacements
    parts = {name: [r.parts[name] for r in replacements] for name in replacements[0].parts}
    return Explanation(
        problems=len(replacements),
        mac_ratio=timed.mac_ratio,
        roofline_speedup=_geometric_mean(r.roofline_speedup for r in replacements),
        speedup=timed.speedup,
        efficiency={
            name: _mean(np.log([[part.attainable_s] for part in own]) - logs[name])
            for name, own in parts.items()
        },
        time_shares=_time_shares(logs),
        depthwise_macs=float(
            np.mean([r.parts[DEPTHWISE].problem.macs / r.separable_macs for r in replacements])
        ),
    )


def _geometric_mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log([*values]))))


def _mean(logs: Array) -> Interval:
    """Return the geometric mean over the rows of `logs`; unknown if a row has no value."""
    if not len(logs) or np.isnan(logs).all(axis=1).any():
        return UNKNOWN
    return interval(equal_mean(logs))


def _time_shares(logs: Mapping[str, Array]) -> dict[str, Interval]:
    """Return the arithmetic mean over problems of each part's share of the time."""
    value, low, high = _mean_share(log_both(logs) - logs[SEPARABLE])
    shares = {name: _mean_share(logs[name] - logs[SEPARABLE]) for name in SEPARABLE_PARTS}
    return {**shares, "rest": Interval(1 - value, 1 - high, 1 - low)}


def _mean_share(logs: Array) -> Interval:
    """Return an arithmetic mean; its relative error is that of its terms, weighted by size."""
    values = np.exp(np.nanmean(logs, axis=1))
    found = weighted_mean(logs, values / values.sum())
    return interval(found._replace(mean=np.log(values.mean())))


def log_both(logs: Mapping[str, Array]) -> Array:
    """Return the logarithm of both parts' seconds together."""
    with np.errstate(invalid="ignore"):  # NaN if a part has no time
        return np.asarray(np.logaddexp(logs[DEPTHWISE], logs[POINTWISE]))
