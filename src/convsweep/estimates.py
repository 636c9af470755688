"""Means over the passes of a run, and how sure they are; docs/statistics.md says why so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95

Numbers = NDArray[np.float64]


class Interval(NamedTuple):
    """A value and where its true one lies with 95 % confidence; NaN where nobody can say."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """Means of logarithms, one value a pass: numbers, or arrays with an entry a case.

    The standard error is NaN where fewer than two passes can't tell it.
    """

    mean: Numbers
    standard_error: Numbers
    degrees: Numbers
    """Degrees of freedom of Student's t."""


def estimate(logs: Numbers) -> Estimate:
    """The mean over the last axis, which holds a value a pass; NaN is a pass without one.

    Passes are independent, samples within a pass are not (Kalibera & Jones 2013, Rigorous
    Benchmarking in Reasonable Time).
    """
    there = ~np.isnan(logs)
    passes = there.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, logs, 0).sum(axis=-1) / passes
        errors = np.where(there, logs - mean[..., np.newaxis], 0)
        variance = (errors**2).sum(axis=-1) / (passes - 1)
        standard_error = np.sqrt(np.where(passes > 1, variance / passes, np.nan))
    return Estimate(mean, standard_error, passes - 1.0)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One mean less another that shares no pass with it (Welch 1947)."""
    ours, theirs = one.standard_error**2, other.standard_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = (ours + theirs) ** 2 / (ours**2 / one.degrees + theirs**2 / other.degrees)
    # Without any spread it does not matter how many passes have none.
    degrees = np.where(ours + theirs > 0, degrees, one.degrees + other.degrees)
    return Estimate(one.mean - other.mean, np.sqrt(ours + theirs), degrees)


def weighted_mean(logs: Numbers, weights: Numbers) -> Estimate:
    """The sum over cases of each one's mean over its own passes, times its weight.

    A case is a row of `logs`, a pass a column; NaN is a pass that a case has not. What befalls a
    pass befalls all its cases, so errors are summed over a pass before they are squared. Bias and
    degrees of freedom are those of errors that all cases of a pass share (Bell & McCaffrey 2002,
    with passes as clusters); where every case has every pass, it is Student's of the passes' means.
    """
    there, means = ~np.isnan(logs), estimate(logs).mean
    mean = np.asarray((weights * means).sum())
    passes = there.sum(axis=1, keepdims=True)
    if (passes < 2).any():
        return Estimate(mean, np.array(np.nan), np.array(0.0))
    share = there / passes * weights[:, np.newaxis]
    errors = (share * np.where(there, logs - means[:, np.newaxis], 0)).sum(axis=0)
    # What these errors are made of, were there one to a pass: each less the means it is part of.
    made_of = np.diag(share.sum(axis=0)) - share.T @ (there / passes)
    gram = made_of.T @ made_of
    unbiased = (share.sum(axis=0) ** 2).sum() / gram.trace()
    degrees = gram.trace() ** 2 / (gram**2).sum()
    return Estimate(mean, np.sqrt((errors**2).sum() * unbiased), degrees)


def bounds(found: Estimate) -> Numbers:
    """What logarithms stand for: value, low and high end of Student's 95 % interval."""
    half = stats.t.ppf((1 + CONFIDENCE) / 2, found.degrees) * found.standard_error
    with np.errstate(over="ignore"):
        return np.asarray(np.exp([found.mean, found.mean - half, found.mean + half]))


def interval(found: Estimate) -> Interval:
    """The interval of one number."""
    value, low, high = map(float, bounds(found))
    return Interval(value, low, high)


def geometric_interval(values: Numbers) -> Interval:
    """Geometric mean of positive values, one a pass; one value gives no interval."""
    return interval(estimate(np.log(values)))
