"""Are verdicts right, among many comparisons and looked at after every pass? Simulated speedups."""

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
"""Of a speedup, from pass to pass; each case of a run has its own."""


def _speedups(
    truth: Array, deviation: tuple[float, float], passes: int, generator: np.random.Generator
) -> Array:
    own = generator.uniform(*deviation, size=(len(truth), 1))
    return truth[:, np.newaxis] + own * generator.normal(size=(len(truth), passes))


def _counts(said: NDArray[np.str_], truth: Array) -> dict[str, float]:
    """Shares: of equals called unequal, of wrong verdicts, of the faster found, of `same`."""
    faster = truth > 0
    right = np.where(faster, "faster", "same")
    alarms = np.isin(said, ["faster", "slower"])[~faster]
    return {
        "false_alarms": float(alarms.mean()) if alarms.size else np.nan,
        "wrong": float(((said != "undecided") & (said != right)).mean()),
        "found": float((said[faster] == "faster").mean()) if faster.any() else np.nan,
        "same": float((said[~faster] == "same").mean()) if alarms.size else np.nan,
    }


def corrections(truth: str, deviation: str, passes: int, runs: int = RUNS) -> Iterator[Row]:
    """How often verdicts are false, and true ones found, in runs of 200 comparisons."""
    generator = np.random.default_rng([3, passes])
    truths = np.tile(TRUE_SPEEDUPS[truth], (runs, 1))
    logs = [_speedups(one, DEVIATIONS[deviation], passes, generator) for one in truths]
    for estimator, estimates in ESTIMATORS.items():
        p = [p_values(estimates(x)) for x in logs]
        claims = [np.array(DIRECTIONS)[one.argmin(axis=0)] for one in p]
        for name, correct in CORRECTIONS.items():
            held = [correct(one.min(axis=0)) <= 1 - CONFIDENCE for one in p]
            said = np.where(held, claims, "undecided")
            yield {
                "study": "verdicts",
                "scenario": f"{truth}, passes differ by {deviation}",
                "passes": passes,
                "method": name,
                "estimator": estimator,
                "trials": said.size,
                **_counts(said.ravel(), truths.ravel()),
            }


Done = Callable[[Mapping[int, Array], int], set[int]]


def _precise(known: Mapping[int, Array], look: int) -> set[int]:
    """The cases whose interval reaches no further than the margin from its middle."""
    del look
    logs = np.array([*zip_longest(*known.values(), fillvalue=np.nan)]).T
    value, low, high = bounds(estimate(logs))
    narrow = np.maximum(high / value, value / low) <= 1 + MARGIN
    return {case for case, done in zip(known, narrow, strict=True) if done}


STOPS: Mapping[str, Done] = {
    "its verdict is settled": lambda known, look: decided_early(known, MARGIN, look),
    "its interval is within 2 %": _precise,
}


def looks(truth: str, deviation: str, stop: str, runs: int = RUNS) -> Row:
    """What comes of looking after every pass, where a case gets no more once it is done.

    `coverage` is that of the intervals of the cases that stopped early, `used` their passes.
    """
    generator = np.random.default_rng(4)
    said, used, held = [], [], []
    for _ in range(runs):
        logs = _speedups(TRUE_SPEEDUPS[truth], DEVIATIONS[deviation], LAST_LOOK, generator)
        passes = _follow(logs, STOPS[stop])
        logs[np.arange(LAST_LOOK) >= passes[:, np.newaxis]] = np.nan
        found = estimate(logs)
        said.append(verdicts(found))
        used.append(passes)
        _, low, high = np.log(bounds(found))
        inside = (low <= TRUE_SPEEDUPS[truth]) & (TRUE_SPEEDUPS[truth] <= high)
        held.append(inside[passes < LAST_LOOK])
    return {
        "study": "looks",
        "scenario": f"{truth}, passes differ by {deviation}",
        "method": stop,
        "used": float(np.mean(used)),
        "trials": runs * CASES,
        "coverage": float(np.concatenate(held).mean()),
        **_counts(np.concatenate(said), np.tile(TRUE_SPEEDUPS[truth], runs)),
    }


def _follow(logs: Array, done: Done) -> NDArray[np.intp]:
    """How many passes each case gets."""
    passes = np.full(len(logs), LAST_LOOK)
    for seen in range(FIRST_LOOK, LAST_LOOK):
        known = {case: x[: min(seen, passes[case])] for case, x in enumerate(logs)}
        now = [case for case in done(known, seen - FIRST_LOOK + 1) if passes[case] == LAST_LOOK]
        passes[now] = seen
    return passes
