"""Pairs of a standard and a separable case in a run, as a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame

from convsweep.analysis.estimates import Array, Interval, bounds, estimate
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import (
    STANDARD,
    Replacement,
    SeparableComparison,
    SeparablePart,
    log_both,
)
from convsweep.analysis.summary import SPEEDUP, TIME, interval_of
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import SEPARABLE, SEPARABLE_PARTS, is_replaceable

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
    cases: dict[str, list[_Case | None]] = {
        STANDARD: [standard for _, standard, _ in pairs],
        SEPARABLE: [separable for _, _, separable in pairs],
    }
    for name, part_of in SEPARABLE_PARTS.items():
        labels = (part_of(problem).label for problem, _, _ in pairs)
        cases[name] = [parts_by_key.get((name, label)) for label in labels]
    log_s = {name: _log_times(run, own) for name, own in cases.items()}
    shares = {name: bounds(estimate(log_s[name] - log_s[SEPARABLE])) for name in SEPARABLE_PARTS}
    value, low, high = bounds(estimate(log_both(log_s) - log_s[SEPARABLE]))
    shares["rest"] = 1 - np.array([value, high, low])
    replacements = [
        Replacement(
            label=separable["label"],
            workload=separable["workload"] if isinstance(separable["workload"], str) else None,
            parts={
                STANDARD: _part(problem, standard),
                **{
                    name: _part(part_of(problem), cases[name][i])
                    for name, part_of in SEPARABLE_PARTS.items()
                },
            },
            separable=interval_of(separable, TIME),
            speedup=interval_of(separable, SPEEDUP),
            verdict=separable["verdict"],
            shares={name: Interval(*ends[:, i]) for name, ends in shares.items()},
        )
        for i, (problem, standard, separable) in enumerate(pairs)
    ]
    return SeparableComparison(replacements, log_s, run.drift and run.drift.error)


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


def _part(problem: ConvProblem, case: _Case | None) -> SeparablePart:
    """Return one convolution with what is known of its time; NaN if it has no case."""
    if case is None:
        return SeparablePart(problem, np.nan, np.nan, np.nan)
    attainable_s = case["roofline_fraction"] * case["time_s"]
    return SeparablePart(problem, attainable_s, case["kernel_s"], case["reorder_s"])


def _log_times(run: Run, cases: Sequence[_Case | None]) -> Array:
    """Return the logarithms of seconds, (cases, passes); NaN for a case that is None."""
    times = run.pass_times.to_numpy(dtype="float64")
    index = {key: i for i, key in enumerate(run.pass_times.index)}
    absent = np.full(times.shape[1], np.nan)
    found = [
        absent if c is None else times[index[c["setting"], c["label"], c["backend"]]] for c in cases
    ]
    return np.asarray(np.log(np.array(found, dtype="float64").reshape(len(cases), times.shape[1])))
