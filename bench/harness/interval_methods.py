"""Methods for 95 % intervals of a few values, one per pass; return low and high ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from convsweep.analysis import estimates
from convsweep.analysis.estimates import CONFIDENCE, Estimate, bounds, estimate

Array = NDArray[np.float64]
Interval = tuple[Array, Array]

RESAMPLES = 999
RUN_OF = 100
"""Number of cases that share a variance prior."""
_TAIL = (1 - CONFIDENCE) / 2


def trimmed(logs: Array) -> Interval:
    """Return the interval of the trimmed mean (`convsweep.analysis.estimates`)."""
    return _interval(estimate(logs))


def mean_of(logs: Array) -> Estimate:
    """Return the plain mean and its standard error."""
    passes = np.full(logs.shape[:-1], logs.shape[-1])
    return Estimate(logs.mean(axis=-1), np.asarray(stats.sem(logs, axis=-1)), passes - 1.0)


def student(logs: Array) -> Interval:
    """Return Student's t interval of the mean."""
    return _interval(mean_of(logs))


def _interval(found: Estimate) -> Interval:
    _, low, high = np.log(bounds(found))
    return low, high


def _bootstrap(method: Literal["percentile", "BCa"]) -> Callable[[Array], Interval]:
    def ends(logs: Array) -> Interval:
        with np.errstate(all="ignore"):
            found = stats.bootstrap(
                (logs,), np.mean, axis=-1, n_resamples=RESAMPLES, batch=50, method=method,
                confidence_level=CONFIDENCE, rng=np.random.default_rng(0),
            ).confidence_interval  # fmt: skip
        return np.asarray(found.low), np.asarray(found.high)

    return ends


def sign_test(logs: Array) -> Interval:
    """Return order statistics around the median."""
    passes = logs.shape[-1]
    outside = int(stats.binom.ppf(_TAIL, passes, 0.5))
    outside -= stats.binom.cdf(outside, passes, 0.5) > _TAIL
    return _inner(np.sort(logs, axis=-1), outside)


def signed_rank(logs: Array) -> Interval:
    """Return the interval of Wilcoxon's signed-rank test (Hodges & Lehmann 1963)."""
    passes = logs.shape[-1]
    ways = np.ones(1)
    for rank in range(1, passes + 1):  # number of rank sets per sum
        ways = np.convolve(ways, np.concatenate([[1], np.zeros(rank - 1), [1]]))
    outside = int((np.cumsum(ways) / ways.sum() <= _TAIL).sum()) - 1
    return _inner(np.sort(walsh(logs), axis=-1), outside)


def walsh(logs: Array) -> Array:
    """Return the means of all pairs of values, each with itself as well."""
    one, other = np.triu_indices(logs.shape[-1])
    return np.asarray((logs[..., one] + logs[..., other]) / 2)


def _inner(ordered: Array, outside: int) -> Interval:
    """Return the range without `outside` values at either end; NaN if that is negative."""
    if outside < 0:
        nothing = np.full(ordered.shape[:-1], np.nan)
        return nothing, nothing
    return ordered[..., outside], ordered[..., ordered.shape[-1] - 1 - outside]


def moderate(found: Estimate) -> Estimate:
    """Shrink the variances of a run towards their common value (Smyth 2004)."""
    if found.mean.size < 2:
        return found
    passes = found.degrees + 1
    variances, degrees = estimates.moderated(found.standard_error**2 * passes, found.degrees)
    return Estimate(found.mean, np.sqrt(variances / passes), degrees)


def moderated(logs: Array) -> Interval:
    """Return Student's t intervals with moderated variances, per run."""
    runs = np.split(logs, max(1, len(logs) // RUN_OF))
    low, high = np.concatenate([_interval(moderate(mean_of(run))) for run in runs], axis=-1)
    return low, high


METHODS: Mapping[str, Callable[[Array], Interval]] = {
    "trimmed mean": trimmed,
    "mean": student,
    "mean, moderated": moderated,
    "bootstrap": _bootstrap("percentile"),
    "BCa bootstrap": _bootstrap("BCa"),
    "sign test": sign_test,
    "signed rank": signed_rank,
}
