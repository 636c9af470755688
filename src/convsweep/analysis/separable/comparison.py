"""Each standard convolution beside its separable replacement: what was promised, what was kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convsweep.analysis.estimates import Array, Interval, bounds, estimate
from convsweep.analysis.run import Run
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import (
    DEPTHWISE,
    POINTWISE,
    SEPARABLE,
    SEPARABLE_PARTS,
    is_replaceable,
    predicted_share,
)

if TYPE_CHECKING:
    from pandas import DataFrame

UNKNOWN = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class SeparablePart:
    """One convolution on its own: the standard layer, or a half of what replaces it."""

    problem: ConvProblem
    intensity: float
    """Flops a byte at best."""
    time: Interval
    """Seconds of a call; NaN where it was not timed."""
    attainable_s: float
    """Seconds that the machine's ceilings allow; NaN where they were not measured."""
    bound: str
    """What sets that ceiling: `compute`, `cache`, `memory`; empty where nobody knows."""

    @property
    def efficiency(self) -> Interval:
        """The share of the attainable rate that was reached."""
        value, low, high = self.time
        return Interval(
            self.attainable_s / value, self.attainable_s / high, self.attainable_s / low
        )


@dataclass(frozen=True)
class Replacement:
    """A standard convolution and its separable replacement, both timed in one setting."""

    label: str
    workload: str | None
    standard: SeparablePart
    depthwise: SeparablePart
    pointwise: SeparablePart
    separable: Interval
    """Seconds of a call of the replacement."""
    separable_macs: int
    speedup: Interval
    verdict: str
    shares: Mapping[str, Interval]
    """Of the replacement's time: what each half takes when it is timed alone, and the `rest`."""

    @property
    def problem(self) -> ConvProblem:
        """The standard convolution."""
        return self.standard.problem

    @property
    def mac_ratio(self) -> float:
        """The speedup that MACs promise (Howard et al. 2017, MobileNets)."""
        return 1 / predicted_share(self.problem)

    @property
    def realized(self) -> Interval:
        """The share of the promise that was kept: measured speedup over predicted."""
        return scaled(self.speedup, 1 / self.mac_ratio)

    @property
    def roofline_speedup(self) -> float:
        """The speedup with the standard layer and both halves at their ceilings."""
        return self.standard.attainable_s / (
            self.depthwise.attainable_s + self.pointwise.attainable_s
        )


@dataclass(frozen=True)
class SeparableComparison:
    """The replacements of one setting, and all their times."""

    replacements: Sequence[Replacement]
    log_s: Mapping[str, Array]
    """`standard, separable, depthwise, pointwise`: (replacements, passes), NaN where no time is."""

    def only(self, which: Iterable[int]) -> SeparableComparison:
        """The study of some of the replacements."""
        places = [*which]
        chosen = [self.replacements[i] for i in places]
        return SeparableComparison(
            chosen, {name: logs[places] for name, logs in self.log_s.items()}
        )


def scaled(interval: Interval, factor: float) -> Interval:
    """The interval of a positive multiple."""
    return Interval(*(end * factor for end in interval))


def compare_separable(run: Run) -> SeparableComparison:
    """Every problem of one setting that both the baseline and `separable` timed."""
    pairs = _pairs(run.cases, run.baseline)
    separable_parts = _timed_parts(run.separable_parts)
    log_s = _log_times(run, pairs, separable_parts)
    shares = _shares(log_s)
    replacements = [
        Replacement(
            label=separable["label"],
            workload=separable["workload"] if isinstance(separable["workload"], str) else None,
            standard=_part(problem, standard, standard),
            depthwise=_part_alone(DEPTHWISE, problem, separable_parts, standard),
            pointwise=_part_alone(POINTWISE, problem, separable_parts, standard),
            separable=_interval_of(separable),
            separable_macs=int(separable["backend_macs"]),
            speedup=Interval(
                *(separable[name] for name in ("speedup", "speedup_ci_low", "speedup_ci_high"))
            ),
            verdict=separable["verdict"],
            shares={name: Interval(*ends[:, i]) for name, ends in shares.items()},
        )
        for i, (problem, standard, separable) in enumerate(pairs)
    ]
    return SeparableComparison(replacements, log_s)


_Case = Mapping[Any, Any]
_Pair = tuple[ConvProblem, _Case, _Case]


def _pairs(cases: DataFrame, baseline: str) -> list[_Pair]:
    """Problem, the baseline's case and that of its replacement."""
    by_label = {
        name: {case["label"]: case for case in part.to_dict("records")}
        for name, part in cases[cases["status"] == "ok"].groupby("backend")
    }
    if baseline == SEPARABLE or not {baseline, SEPARABLE} <= set(by_label):
        return []
    both = [
        (ConvProblem.parse(case["problem"]), by_label[baseline][label], case)
        for label, case in by_label[SEPARABLE].items()
        if label in by_label[baseline] and not np.isnan(case["speedup"])
    ]
    return [pair for pair in both if is_replaceable(pair[0])]


def _key(half: str, problem: ConvProblem) -> tuple[str, str]:
    return half, SEPARABLE_PARTS[half](problem).label


def _timed_parts(separable_parts: DataFrame) -> dict[tuple[str, str], _Case]:
    """The halves that were timed alone, by name and problem."""
    timed = (
        separable_parts[separable_parts["status"] == "ok"]
        if len(separable_parts)
        else separable_parts
    )
    return {(case["layer"], case["problem"]): case for case in timed.to_dict("records")}


def _part_alone(
    name: str,
    problem: ConvProblem,
    separable_parts: Mapping[tuple[str, str], _Case],
    standard: _Case,
) -> SeparablePart:
    """The half of a layer's replacement, with its own row if it was timed."""
    return _part(SEPARABLE_PARTS[name](problem), separable_parts.get(_key(name, problem)), standard)


def _part(problem: ConvProblem, case: _Case | None, standard: _Case) -> SeparablePart:
    """One convolution as its own row tells it; as far as its shape tells where it has no row."""
    itemsize = round(standard["min_bytes"] / ConvProblem.parse(standard["problem"]).min_bytes(1))
    intensity = problem.arithmetic_intensity(itemsize)
    if case is None:
        return SeparablePart(problem, intensity, UNKNOWN, np.nan, "")
    time = _interval_of(case)
    bound = case["bound"] if isinstance(case["bound"], str) else ""
    return SeparablePart(problem, intensity, time, case["roofline_fraction"] * time.value, bound)


def _interval_of(case: _Case) -> Interval:
    return Interval(case["median_s"], case["ci_low_s"], case["ci_high_s"])


def _log_times(
    run: Run, pairs: Sequence[_Pair], separable_parts: Mapping[tuple[str, str], _Case]
) -> dict[str, Array]:
    """Logarithms of seconds, a row a pair and a column a pass, of each of the four."""
    passes = run.pass_times.shape[1]
    index = {key: i for i, key in enumerate(run.pass_times.index)}
    times = run.pass_times.to_numpy(dtype="float64")

    def rows(cases: Iterable[_Case | None]) -> Array:
        """Each case's passes; NaN for a case that is None."""
        found = [
            times[index[case["setting"], case["label"], case["backend"]]]
            if case is not None
            else np.full(passes, np.nan)
            for case in cases
        ]
        logs: Array = np.log(np.array(found, dtype="float64").reshape(len(pairs), passes))
        return logs

    return {
        "standard": rows(standard for _, standard, _ in pairs),
        SEPARABLE: rows(separable for _, _, separable in pairs),
        **{
            half: rows(separable_parts.get(_key(half, problem)) for problem, _, _ in pairs)
            for half in SEPARABLE_PARTS
        },
    }


def _shares(log_s: Mapping[str, Array]) -> dict[str, Array]:
    """Value, low and high end, a column a pair: of the replacement's time, paired by pass."""
    with np.errstate(invalid="ignore"):  # NaN where a half has no time
        both = np.logaddexp(log_s[DEPTHWISE], log_s[POINTWISE])
    separable_parts = {
        half: bounds(estimate(log_s[half] - log_s[SEPARABLE])) for half in SEPARABLE_PARTS
    }
    value, low, high = bounds(estimate(both - log_s[SEPARABLE]))
    return {**separable_parts, "rest": 1 - np.array([value, high, low])}
