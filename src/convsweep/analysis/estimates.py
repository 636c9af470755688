"""Means over the passes of a run, and how sure they are; docs/statistics.md says why so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
_LEFT_OUT = 4  # one in so many passes is left out at either end

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A value and where its true one lies with 95 % confidence; NaN where nobody can say."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """Centres of logarithms, one value a pass: numbers, or arrays with an entry a case.

    The standard error is NaN where fewer than two passes can't tell it.
    """

    mean: Array
    standard_error: Array
    degrees: Array
    """Degrees of freedom of Student's t."""


def estimate(logs: Array) -> Estimate:
    """The trimmed mean over the last axis, which holds a value a pass; NaN is a pass without one.

    Passes are independent, samples within a pass are not (Kalibera & Jones 2013, Rigorous
    Benchmarking in Reasonable Time). Of five passes and more about a quarter is left out at either
    end: on a shared machine whole passes are disturbed, and a mean would follow each of them. The
    standard error is that of the values with the outer ones drawn in (Tukey & McLaughlin 1963).
    """
    values, passes, kept = _winsorized(logs)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.nansum(values, axis=-1) / passes
        variance = np.nansum((values - centre[..., np.newaxis]) ** 2, axis=-1) / (passes - 1)
        standard_error = np.sqrt(np.where(kept > 1, variance / passes, np.nan))
    return Estimate(np.asarray(centre), np.asarray(standard_error), np.asarray(kept - 1.0))


def stacked(logs: Collection[Sequence[float] | Array]) -> Array:
    """Cases with few passes or many as rows of one array; NaN is a pass without a value."""
    passes_first = [*zip_longest(*logs, fillvalue=np.nan)]
    return np.array(passes_first, dtype="float64").reshape(-1, len(logs)).T


def degrees(passes: int) -> int:
    """The degrees of freedom of an estimate from so many passes."""
    return passes - 2 * (max(passes - 1, 0) // _LEFT_OUT) - 1


def _winsorized(logs: Array) -> tuple[Array, NDArray[np.intp], NDArray[np.intp]]:
    """Values whose plain mean and standard error are those of the trimmed mean.

    The outer ones are set to the last that is kept; then all are moved and stretched, since what
    is left out tells nothing: as if there were as many passes as are kept.

    Returns:
        The values in their order, how many there are, and how many are kept.
    """
    passes = (~np.isnan(logs)).sum(axis=-1)
    outside = np.maximum(passes - 1, 0) // _LEFT_OUT
    kept = passes - 2 * outside
    ordered = np.sort(np.append(logs, np.full((*logs.shape[:-1], 1), np.nan), axis=-1), axis=-1)
    places = (outside[..., np.newaxis], np.maximum(passes - outside - 1, 0)[..., np.newaxis])
    low, high = (np.take_along_axis(ordered, place, axis=-1) for place in places)
    drawn = np.clip(logs, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.nansum(drawn, axis=-1) / passes
        centre = (np.nansum(drawn, axis=-1) - outside * (low + high)[..., 0]) / kept
        stretch = np.sqrt(passes * (passes - 1) / (kept * (kept - 1)))
        stretch = np.where(kept > 1, stretch, 1.0)
    moved = centre[..., np.newaxis] + stretch[..., np.newaxis] * (drawn - middle[..., np.newaxis])
    return moved, passes, kept


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One mean less another that shares no pass with it (Welch 1947)."""
    ours, theirs = one.standard_error**2, other.standard_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        both = (ours + theirs) ** 2 / (ours**2 / one.degrees + theirs**2 / other.degrees)
    # Without any spread it does not matter how many passes have none.
    both = np.where(ours + theirs > 0, both, one.degrees + other.degrees)
    return Estimate(one.mean - other.mean, np.sqrt(ours + theirs), both)


def weighted_mean(logs: Array, weights: Array) -> Estimate:
    """The sum over cases of each one's mean over its own passes, times its weight.

    A case is a row of `logs`, a pass a column; NaN is a pass that a case has not. What befalls a
    pass befalls all its cases, so errors are summed over a pass before they are squared. Bias and
    degrees of freedom are those of errors that all cases of a pass share (Bell & McCaffrey 2002,
    with passes as clusters), as far as passes are not left out.
    """
    values, _, kept = _winsorized(logs)
    there, means = ~np.isnan(logs), estimate(logs).mean
    mean = np.asarray((weights * means).sum())
    passes = there.sum(axis=1, keepdims=True)
    if (passes < 2).any():
        return Estimate(mean, np.array(np.nan), np.array(0.0))
    share = there / passes * weights[:, np.newaxis]
    errors = (share * np.where(there, values - means[:, np.newaxis], 0)).sum(axis=0)
    # What these errors are made of, were there one to a pass: each less the means it is part of.
    made_of = np.diag(share.sum(axis=0)) - share.T @ (there / passes)
    gram = made_of.T @ made_of
    unbiased = (share.sum(axis=0) ** 2).sum() / gram.trace()
    trimmed = ((kept - 1) / (passes[:, 0] - 1)).mean()
    left = trimmed * gram.trace() ** 2 / (gram**2).sum()
    return Estimate(mean, np.sqrt((errors**2).sum() * unbiased), left)


def total(logs: Array, counts: Array) -> Estimate:
    """The logarithm of a sum over cases, a row each of `logs`, each so many times.

    To first order a sum's relative error is that of its parts, weighed by what they come to.
    """
    parts = counts * np.exp(estimate(logs).mean)
    found = weighted_mean(logs, parts / parts.sum())
    return found._replace(mean=np.asarray(np.log(parts.sum())))


def bounds(found: Estimate) -> Array:
    """What logarithms stand for: value, low and high end of Student's 95 % interval."""
    half = stats.t.ppf((1 + CONFIDENCE) / 2, found.degrees) * found.standard_error
    with np.errstate(over="ignore"):
        return np.asarray(np.exp([found.mean, found.mean - half, found.mean + half]))


def interval(found: Estimate) -> Interval:
    """The interval of one number."""
    value, low, high = map(float, bounds(found))
    return Interval(value, low, high)
