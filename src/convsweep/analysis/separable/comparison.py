"""Standard convolutions and their separable replacements: times, thresholds, rooflines."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from convsweep.analysis.estimates import UNKNOWN, Array, Estimate, Interval, equal_mean, interval
from convsweep.analysis.labels import without_batch_size
from convsweep.problems.problem import ConvProblem, Size, format_size
from convsweep.problems.separable import (
    DEPTHWISE,
    POINTWISE,
    SEPARABLE,
    SEPARABLE_PARTS,
    predicted_share,
)

STANDARD = "standard"


@dataclass(frozen=True)
class SeparablePart:
    """One convolution on its own: the standard layer, or one part of its replacement."""

    problem: ConvProblem
    attainable_s: float  # seconds that the roofline allows; NaN if the roofline was not measured
    kernel_s: float  # seconds per call in the computing kernels; NaN if unknown
    reorder_s: float  # seconds per call in reorders and copies; NaN if unknown


@dataclass(frozen=True)
class Replacement:
    """A standard convolution and its separable replacement, both timed in one setting."""

    label: str
    workload: str | None
    parts: Mapping[str, SeparablePart]
    """The standard layer and both parts of the replacement, by name."""
    separable: Interval  # seconds per call of the replacement
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
    def shape(self) -> str:
        """Label that is equal for all batch sizes."""
        return without_batch_size(self.label, self.problem.batch_size)

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
    is_open: bool  # without `channels`, as comparisons with most channels are undecided

    @property
    def text(self) -> str:
        """The number of channels, `undecided` or `none`."""
        return str(self.channels or ("undecided" if self.is_open else "none"))


@dataclass(frozen=True)
class SeparableComparison:
    """All replacements of one setting, with their times in each pass."""

    replacements: Sequence[Replacement]
    log_s: Mapping[str, Array]
    """`standard, separable, depthwise, pointwise`: (replacements, passes); NaN is no time."""
    drift: Estimate | None = None

    @cached_property
    def speedup(self) -> Interval:
        """Geometric mean of the speedups."""
        logs = self.log_s[STANDARD] - self.log_s[SEPARABLE]
        return interval(equal_mean(logs, self.drift)) if len(logs) else UNKNOWN

    @cached_property
    def mac_ratio(self) -> float:
        """Geometric mean of the MAC ratios."""
        return float(np.exp(np.mean(np.log([r.mac_ratio for r in self.replacements]))))

    @property
    def timed(self) -> Sequence[Replacement]:
        """The replacements of which both parts have a time."""
        return [r for r in self.replacements if r.is_timed]

    def mean_share(self, part: str) -> float:
        """Return the mean share of one part in the time of the `timed` replacements."""
        return float(np.mean([r.shares[part].value for r in self.timed]))

    @cached_property
    def headline(self) -> SeparableComparison:
        """The replacements that means and figures are of: none of a fully connected layer."""
        return self.of([r.label for r in self.replacements if not r.problem.is_fully_connected])

    @cached_property
    def thresholds(self) -> Sequence[Threshold]:
        """One row per input size that was measured with several numbers of channels."""
        return _thresholds(self.headline.replacements)

    def of(self, labels: Collection[str]) -> SeparableComparison:
        """Return the replacements of the problems with these labels."""
        places = [i for i, r in enumerate(self.replacements) if r.label in labels]
        logs = {name: logs[places] for name, logs in self.log_s.items()}
        return SeparableComparison([self.replacements[i] for i in places], logs, self.drift)


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
        last = {each.verdict for each in own if each.problem.in_channels == measured[-1]}
        if len(measured) > 1:
            counts = len(own), len(own) - len(others)
            is_open = start is None and last <= {"faster", "undecided"}
            found.append(Threshold(format_size(size), measured, start, *counts, is_open))
    return found


def log_both(logs: Mapping[str, Array]) -> Array:
    """Return the logarithm of both parts' seconds together."""
    with np.errstate(invalid="ignore"):  # NaN if a part has no time
        return np.asarray(np.logaddexp(logs[DEPTHWISE], logs[POINTWISE]))
