"""Error rates of verdicts with many comparisons and repeated looks, on simulated speedups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.harness.interval_methods import Array, mean_of, moderate
from convsweep.analysis.estimates import CONFIDENCE, Estimate, bounds, estimate
from convsweep.analysis.verdicts import DIRECTIONS, decided_early, p_values, verdicts
from convsweep.results.schema import MARGIN

CASES, RUNS = 200, 50
FIRST_LOOK, LAST_LOOK = 3, 30
EFFECT = float(np.log(1.05))
Row = dict[str, object]


def _holm(p: Array) -> Array:
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted[np.argsort(order)], 1)


CORRECTIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda p: p,
    "Benjamini-Hochberg": stats.false_discovery_control,
    "Benjamini-Yekutieli": lambda p: stats.false_discovery_control(p, method="by"),
    "Holm": _holm,
}
TRUE_SPEEDUPS: Mapping[str, NDArray[np.float64]] = {
    "all the same": np.zeros(CASES),
    "half 5 % faster": np.repeat([0, EFFECT], CASES // 2),
    "half twice as fast": np.repeat([0, np.log(2)], CASES // 2),
    "all 5 % faster": np.full(CASES, EFFECT),
    "one 5 % faster": np.append(np.zeros(CASES - 1), EFFECT),
}
ESTIMATORS: Mapping[str, Callable[[Array], Estimate]] = {
    "trimmed mean": estimate,
    "mean": mean_of,
    "mean, moderated": lambda logs: moderate(mean_of(logs)),
}
DEVIATIONS = {"1-2 %": (0.01, 0.02), "1-6 %": (0.01, 0.06)}
"""Standard deviation of a speedup between passes; drawn per case."""


def _speedups(
    effects: Array, deviation: tuple[float, float], passes: int, generator: np.random.Generator
) -> Array:
    own = generator.uniform(*deviation, size=(len(effects), 1))
    return effects[:, np.newaxis] + own * generator.normal(size=(len(effects), passes))


def _counts(decided: NDArray[np.str_], effects: Array) -> dict[str, float]:
    """Return rates of false alarms, wrong verdicts, detections and `same`."""
    faster = effects > 0
    right = np.where(faster, "faster", "same")
    alarms = np.isin(decided, ["faster", "slower"])[~faster]
    return {
        "false_alarms": float(alarms.mean()) if alarms.size else np.nan,
        "wrong": float(((decided != "undecided") & (decided != right)).mean()),
        "found": float((decided[faster] == "faster").mean()) if faster.any() else np.nan,
        "same": float((decided[~faster] == "same").mean()) if alarms.size else np.nan,
    }


def corrections(effects: str, deviation: str, passes: int, runs: int = RUNS) -> Iterator[Row]:
    """Return error and detection rates of runs of 200 comparisons, one row per method."""
    generator = np.random.default_rng([3, passes])
    effects_per_run = np.tile(TRUE_SPEEDUPS[effects], (runs, 1))
    logs = [_speedups(one, DEVIATIONS[deviation], passes, generator) for one in effects_per_run]
    for estimator, estimates in ESTIMATORS.items():
        p = [p_values(estimates(x)) for x in logs]
        directions = [np.array(DIRECTIONS)[one.argmin(axis=0)] for one in p]
        for name, correct in CORRECTIONS.items():
            rejected = [correct(one.min(axis=0)) <= 1 - CONFIDENCE for one in p]
            decided = np.where(rejected, directions, "undecided")
            yield {
                "study": "verdicts",
                "scenario": f"{effects}, passes differ by {deviation}",
                "passes": passes,
                "method": name,
                "estimator": estimator,
                "trials": decided.size,
                **_counts(decided.ravel(), effects_per_run.ravel()),
            }


Done = Callable[[Mapping[int, Array], int], set[int]]


def _precise(known: Mapping[int, Array], look: int) -> set[int]:
    """Return the cases whose interval is within the margin."""
    del look
    logs = np.array([*zip_longest(*known.values(), fillvalue=np.nan)]).T
    value, low, high = bounds(estimate(logs))
    narrow = np.maximum(high / value, value / low) <= 1 + MARGIN
    return {case for case, done in zip(known, narrow, strict=True) if done}


STOPS: Mapping[str, Done] = {
    "stopped by verdict": lambda known, look: decided_early(known, MARGIN, look),
    "stopped by precision of 2 %": _precise,
}


def looks(effects: str, deviation: str, stop: str, runs: int = RUNS) -> Row:
    """Return the error rates if every case stops as soon as its criterion holds.

    `coverage` is that of cases that stopped early, `used` the mean number of passes.
    """
    generator = np.random.default_rng(4)
    decided, used, covered = [], [], []
    for _ in range(runs):
        logs = _speedups(TRUE_SPEEDUPS[effects], DEVIATIONS[deviation], LAST_LOOK, generator)
        passes = _follow(logs, STOPS[stop])
        logs[np.arange(LAST_LOOK) >= passes[:, np.newaxis]] = np.nan
        found = estimate(logs)
        decided.append(verdicts(found))
        used.append(passes)
        _, low, high = np.log(bounds(found))
        inside = (low <= TRUE_SPEEDUPS[effects]) & (TRUE_SPEEDUPS[effects] <= high)
        covered.append(inside[passes < LAST_LOOK])
    return {
        "study": "looks",
        "scenario": f"{effects}, passes differ by {deviation}",
        "method": stop,
        "used": float(np.mean(used)),
        "trials": runs * CASES,
        "coverage": float(np.concatenate(covered).mean()),
        **_counts(np.concatenate(decided), np.tile(TRUE_SPEEDUPS[effects], runs)),
    }


def _follow(logs: Array, done: Done) -> NDArray[np.intp]:
    """Return the number of passes of each case."""
    passes = np.full(len(logs), LAST_LOOK)
    for looked in range(FIRST_LOOK, LAST_LOOK):
        known = {case: x[: min(looked, passes[case])] for case, x in enumerate(logs)}
        now = [case for case in done(known, looked - FIRST_LOOK + 1) if passes[case] == LAST_LOOK]
        passes[now] = looked
    return passes
