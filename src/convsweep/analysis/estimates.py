"""Means over the passes of a run, with 95 % intervals. Reasons: docs/statistics.md."""

from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

CONFIDENCE = 0.95
_TRIM = 4  # one in four passes is trimmed at either end

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A value and its 95 % confidence interval; NaN if unknown."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


class Estimate(NamedTuple):
    """Means of logarithms over passes: numbers, or arrays with one entry per case.

    The standard error is NaN for fewer than two passes.
    """

    mean: Array
    standard_error: Array
    degrees: Array  # degrees of freedom of Student's t


def estimate(logs: Array) -> Estimate:
    """Return the trimmed mean over the last axis, one value per pass; NaN is a missing pass.

    Passes are independent, samples within a pass are not (Kalibera & Jones 2013, Rigorous
    Benchmarking in Reasonable Time). From five passes on, about a quarter is trimmed at either
    end, because whole passes are disturbed on a shared machine. The standard error is that of the
    winsorized values (Tukey & McLaughlin 1963).
    """
    values, passes, kept = _winsorized(logs)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.nansum(values, axis=-1) / passes
        variance = np.nansum((values - centre[..., np.newaxis]) ** 2, axis=-1) / (passes - 1)
        standard_error = np.sqrt(np.where(kept > 1, variance / passes, np.nan))
    return Estimate(np.asarray(centre), np.asarray(standard_error), np.asarray(kept - 1.0))


def stacked(logs: Collection[Sequence[float] | Array]) -> Array:
    """Return one row per case, padded with NaN to the largest number of passes."""
    passes_first = [*zip_longest(*logs, fillvalue=np.nan)]
    return np.array(passes_first, dtype="float64").reshape(-1, len(logs)).T


def degrees(passes: int) -> int:
    """Return the degrees of freedom of an estimate from a number of passes."""
    return passes - 2 * (max(passes - 1, 0) // _TRIM) - 1


def _winsorized(logs: Array) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
    """Return values whose plain mean and standard error are those of the trimmed mean.

    Outer values are set to the last one that is kept. All values are then shifted and scaled, as
    if there were only as many passes as are kept.

    Returns:
        The values in their order, the number of passes, and the number that is kept.
    """
    passes = (~np.isnan(logs)).sum(axis=-1)
    outside = np.maximum(passes - 1, 0) // _TRIM
    kept = passes - 2 * outside
    ordered = np.sort(np.append(logs, np.full((*logs.shape[:-1], 1), np.nan), axis=-1), axis=-1)
    positions = (outside[..., np.newaxis], np.maximum(passes - outside - 1, 0)[..., np.newaxis])
    low, high = (np.take_along_axis(ordered, position, axis=-1) for position in positions)
    clipped = np.clip(logs, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.nansum(clipped, axis=-1) / passes
        centre = (np.nansum(clipped, axis=-1) - outside * (low + high)[..., 0]) / kept
        stretch = np.sqrt(passes * (passes - 1) / (kept * (kept - 1)))
        stretch = np.where(kept > 1, stretch, 1.0)
    moved = centre[..., np.newaxis] + stretch[..., np.newaxis] * (clipped - middle[..., np.newaxis])
    return moved, passes, kept


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return the difference of two means without a shared pass (Welch 1947)."""
    ours, theirs = one.standard_error**2, other.standard_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        both = (ours + theirs) ** 2 / (ours**2 / one.degrees + theirs**2 / other.degrees)
    # Without any spread the degrees of freedom do not matter.
    both = np.where(ours + theirs > 0, both, one.degrees + other.degrees)
    return Estimate(one.mean - other.mean, np.sqrt(ours + theirs), both)


def moderated(variances: Array, degrees: Array) -> tuple[Array, Array]:
    """Return variances shrunk towards their common one, and their degrees of freedom.

    By empirical Bayes (Smyth 2004): the less they differ, the more. They are equal if they differ
    by chance only.
    """
    half, least = degrees / 2, max(1e-5 * float(np.median(variances)), 1e-300)
    logs = np.log(np.maximum(variances, least)) - special.digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - special.polygamma(1, half).mean() if logs.size > 1 else 0.0
    if excess <= 0:
        common = np.average(variances, weights=degrees)
        return np.full(variances.shape, common), np.full(variances.shape, degrees.sum())
    prior = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e7)
    common = np.exp(logs.mean() + special.digamma(prior) - np.log(prior))
    return (2 * prior * common + degrees * variances) / (2 * prior + degrees), 2 * prior + degrees


def widened(found: Estimate, drift: Estimate | None) -> Estimate:
    """Return the estimate with the drift between runs, whose interval is no narrower; None: none.

    The drift adds degrees of freedom, too, so that Student's factor may fall by more.
    """
    if drift is None:
        return found
    both = difference(found, drift)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = half_width(found) / half_width(both)
    return both._replace(standard_error=both.standard_error * np.fmax(ratio, 1.0))


def weighted_mean(logs: Array, weights: Array) -> Estimate:
    """Return the weighted sum over cases of each case's mean over its passes.

    `logs` is (cases, passes); NaN is a missing pass. Errors are correlated within a pass, so they
    are cluster-robust with passes as clusters: summed per pass, then squared. Bias and degrees of
    freedom are those of Bell & McCaffrey 2002.
    """
    values, _, kept = _winsorized(logs)
    timed, means = ~np.isnan(logs), estimate(logs).mean
    mean = np.asarray((weights * means).sum())
    passes = timed.sum(axis=1, keepdims=True)
    if (passes < 2).any():
        return Estimate(mean, np.array(np.nan), np.array(0.0))
    share = timed / passes * weights[:, np.newaxis]
    errors = (share * np.where(timed, values - means[:, np.newaxis], 0)).sum(axis=0)
    # Residuals as a linear map of the errors of the passes.
    residual_map = np.diag(share.sum(axis=0)) - share.T @ (timed / passes)
    gram = residual_map.T @ residual_map
    unbiased = (share.sum(axis=0) ** 2).sum() / gram.trace()
    trimmed = ((kept - 1) / (passes[:, 0] - 1)).mean()
    remaining = trimmed * gram.trace() ** 2 / (gram**2).sum()
    return Estimate(mean, np.sqrt((errors**2).sum() * unbiased), remaining)


def equal_mean(logs: Array, drift: Estimate | None = None) -> Estimate:
    """Return the mean over cases of equal weight; `logs` as for `weighted_mean`."""
    return widened(weighted_mean(logs, np.full(len(logs), 1 / len(logs))), drift)


def total(logs: Array, counts: Array) -> Estimate:
    """Return the logarithm of the sum over cases, rows of `logs`, each times its count.

    To first order the relative error of a sum is that of its terms, weighted by their size.
    """
    parts = counts * np.exp(estimate(logs).mean)
    found = weighted_mean(logs, parts / parts.sum())
    return found._replace(mean=np.asarray(np.log(parts.sum())))


def bounds(found: Estimate) -> Array:
    """Return value, low and high end of Student's 95 % interval, no longer as logarithms."""
    half = half_width(found)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp([found.mean, found.mean - half, found.mean + half]))


def half_width(found: Estimate) -> Array:
    """Return half the width of Student's 95 % interval, of logarithms or of plain values."""
    return np.asarray(special.stdtrit(found.degrees, (1 + CONFIDENCE) / 2) * found.standard_error)


def plain_interval(found: Estimate) -> Interval:
    """Return Student's 95 % interval of a single estimate of plain values, not logarithms."""
    value, half = float(found.mean), float(half_width(found))
    return Interval(value, value - half, value + half)


def interval(found: Estimate) -> Interval:
    """Return the interval of a single estimate."""
    value, low, high = map(float, bounds(found))
    return Interval(value, low, high)
