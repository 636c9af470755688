"""Pairs of a standard and a separable case in a run, as a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame

from convsweep.analysis.estimates import UNKNOWN, Array, Interval, bounds, estimate
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import (
    STANDARD,
    Replacement,
    SeparableComparison,
    SeparablePart,
    log_both,
)
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import (
    DEPTHWISE,
    POINTWISE,
    SEPARABLE,
    SEPARABLE_PARTS,
    is_replaceable,
)

_Case = Mapping[Any, Any]


def compare_settings(run: Run) -> dict[str, SeparableComparison]:
    """Return the comparison of each setting."""
    return {setting: compare_separable(run.within(setting)) for setting in run.settings}


def compare_separable(run: Run) -> SeparableComparison:
    """Return every problem of one setting that both the baseline and `separable` timed."""
    pairs = _pairs(run.cases, run.baseline)
    parts = run.separable_parts
    timed = parts[parts["status"] == "ok"] if len(parts) else parts
    parts_by_key = {(case["layer"], case["problem"]): case for case in timed.to_dict("records")}

    def part_case(name: str, problem: ConvProblem) -> _Case | None:
        return parts_by_key.get((name, SEPARABLE_PARTS[name](problem).label))

    log_s = {
        STANDARD: _log_times(run, [standard for _, standard, _ in pairs]),
        SEPARABLE: _log_times(run, [separable for _, _, separable in pairs]),
        **{
            name: _log_times(run, [part_case(name, problem) for problem, _, _ in pairs])
            for name in SEPARABLE_PARTS
        },
    }
    shares = {name: bounds(estimate(log_s[name] - log_s[SEPARABLE])) for name in SEPARABLE_PARTS}
    value, low, high = bounds(estimate(log_both(log_s) - log_s[SEPARABLE]))
    shares["rest"] = 1 - np.array([value, high, low])
    replacements = [
        Replacement(
            label=separable["label"],
            workload=separable["workload"] if isinstance(separable["workload"], str) else None,
            standard=_part(problem, standard, standard),
            depthwise=_part(
                SEPARABLE_PARTS[DEPTHWISE](problem), part_case(DEPTHWISE, problem), standard
            ),
            pointwise=_part(
                SEPARABLE_PARTS[POINTWISE](problem), part_case(POINTWISE, problem), standard
            ),
            separable=_time(separable),
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


def _pairs(cases: DataFrame, baseline: str) -> list[tuple[ConvProblem, _Case, _Case]]:
    """Return each problem with the baseline's case and that of its replacement."""
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


def _part(problem: ConvProblem, case: _Case | None, standard: _Case) -> SeparablePart:
    """Return one convolution with the time of its case; without a time if `case` is None."""
    itemsize = round(standard["min_bytes"] / ConvProblem.parse(standard["problem"]).min_bytes(1))
    intensity = problem.arithmetic_intensity(itemsize)
    if case is None:
        return SeparablePart(problem, intensity, UNKNOWN, np.nan, "")
    time = _time(case)
    bound = case["bound"] if isinstance(case["bound"], str) else ""
    return SeparablePart(problem, intensity, time, case["roofline_fraction"] * time.value, bound)


def _time(case: _Case) -> Interval:
    return Interval(case["median_s"], case["ci_low_s"], case["ci_high_s"])


def _log_times(run: Run, cases: Sequence[_Case | None]) -> Array:
    """Return the logarithms of seconds, (cases, passes); NaN for a case that is None."""
    times = run.pass_times.to_numpy(dtype="float64")
    index = {key: i for i, key in enumerate(run.pass_times.index)}
    absent = np.full(times.shape[1], np.nan)
    found = [
        absent if c is None else times[index[c["setting"], c["label"], c["backend"]]] for c in cases
    ]
    return np.asarray(np.log(np.array(found, dtype="float64").reshape(len(cases), times.shape[1])))
