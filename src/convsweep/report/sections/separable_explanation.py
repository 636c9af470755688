"""Why a separable layer keeps less, or more, than fewer MACs promise; in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from convsweep import formatting
from convsweep.analysis.estimates import interval, weighted_mean
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import (
    Replacement,
    SeparableComparison,
    compare_separable,
    scaled,
)
from convsweep.analysis.separable.explanation import Explanation, explain
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE

_NEAR = 0.03  # of the promise: so far from it, ceilings do not stand in its way

_PARTS = {
    "standard": "the standard layer",
    DEPTHWISE: "the depthwise half",
    POINTWISE: "the pointwise half",
}
_CEILING = {
    "compute": "the rate of a matrix product",
    "cache": "the rate of a copy in cache",
    "memory": "the rate of a copy in memory",
}


def short_reason(run: Run) -> list[str]:
    """The gap between promise and measurement in one setting, in one sentence if it is known."""
    explanation = explain(compare_separable(run))
    return _by_ceilings(run, explanation)[:1] if explanation else []


def reasons(run: Run) -> list[str]:
    """What is kept of the promise in one setting, which ceilings hold, where the time goes.

    Nothing of it where one pass gives no interval.
    """
    found = compare_separable(run)
    if not found.replacements:
        return []
    if all(math.isnan(r.speedup.low) for r in found.replacements):
        return []
    explanation = explain(found)
    realized = [_kept(found)]
    if explanation is None or not explanation.has_intervals:
        return realized
    return [*realized, *_by_ceilings(run, explanation), _where_time_goes(explanation)]


def _by_ceilings(run: Run, found: Explanation) -> list[str]:
    """The gap, and what bounds each part; or why the ceilings that were measured explain none."""
    if not found.has_intervals:
        return []
    if not found.above_roofline:
        return [*_gap(found), *_ceilings(found)]
    part, dtype = found.above_roofline, run.cases["dtype"].iloc[0]
    return [
        f"The measured ceiling is no ceiling for {dtype}: {_PARTS[part]} reaches "
        f"{formatting.percent(*found.efficiency[part])} of it, as {run.baseline} is faster there than "
        "torch's matrix product or copy; so ceilings explain nothing here."
    ]


def _kept(found: SeparableComparison) -> str:
    """The share of the promise that was kept: on average, at worst and at best."""
    all_: Sequence[Replacement] = sorted(found.replacements, key=lambda r: r.realized.value)
    first, last = (f"{formatting.percent(*all_[i].realized)} at {all_[i].label}" for i in (0, -1))
    if len(all_) == 1:
        return f"Of the speedup that MACs promise, {first} is kept."
    logs = found.log_s["standard"] - found.log_s[SEPARABLE]
    weights = np.full(len(all_), 1 / len(all_))
    promised = np.exp(np.mean([np.log(r.mac_ratio) for r in all_]))
    mean = scaled(interval(weighted_mean(logs, weights)), 1 / promised)
    return (
        f"Of the speedup that MACs promise, {formatting.percent(*mean)} is kept in the geometric mean "
        f"of {len(all_)} problems: from {first} to {last}."
    )


def _gap(found: Explanation) -> list[str]:
    """From the promise over what ceilings allow to what was measured."""
    if math.isnan(found.roofline_speedup):
        return []
    promised, roofline_speedup = (
        formatting.format_ratio(found.mac_ratio),
        formatting.format_ratio(found.roofline_speedup),
    )
    ceilings = f"Of the {promised} times that MACs promise, the machine's ceilings allow {roofline_speedup}"
    if abs(found.roofline_speedup / found.mac_ratio - 1) < _NEAR:
        ceilings = f"The machine's ceilings would allow the {promised} times that MACs promise"
    efficiency = {name: formatting.percent(*share) for name, share in found.efficiency.items()}
    problems = f"geometric means over {found.problems} problems"
    return [
        f"{ceilings}; measured are {formatting.interval(*found.measured)}, as the standard layer "
        f"reaches {efficiency['standard']} of its ceiling, the depthwise half {efficiency[DEPTHWISE]} "
        f"and the pointwise half {efficiency[POINTWISE]} "
        f"({problems if found.problems > 1 else 'one problem'})."
    ]


def _ceilings(found: Explanation) -> list[str]:
    """What bounds each of the three, as far as it is known."""
    bounds = {words: found.bounds[name] for name, words in _PARTS.items() if found.bounds[name]}
    if not bounds:
        return []
    names = [_CEILING.get(bound, bound) for counts in bounds.values() for bound in counts]
    if len(set(names)) == 1:
        return [f"What bounds each of them is {names[0]}."]
    said = []
    for words, counts in bounds.items():
        (bound, often), *others = counts.most_common()
        mostly = f" in {often} of {found.problems}" if others else ""
        said.append(f"{words} by {_CEILING.get(bound, bound)}{mostly}")
    return [f"At best they are bound so: {formatting.join(said)}."]


def _where_time_goes(found: Explanation) -> str:
    shares = found.time_shares
    return (
        f"Of {SEPARABLE}'s time the depthwise half takes {formatting.percent(*shares[DEPTHWISE])} with "
        f"{100 * found.depthwise_macs:.0f} % of the MACs, the pointwise half "
        f"{formatting.percent(*shares[POINTWISE])}; {_left(found)}."
    )


def _left(found: Explanation) -> str:
    """What neither half takes, as far as it is above zero."""
    value, low, high = found.time_shares["rest"]
    if value <= 0:
        return "nothing is left for the rest"
    if low <= 0:
        return f"at most {formatting.percent(high)} is left for the rest"
    return f"{formatting.percent(value, low, high)} is left for the rest"
