"""Estimators of a speedup from the samples of a run's passes.

An estimator is a value per pass, from the blocks of baseline and backend, and a mean of these
values over passes with its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from bench.harness.interval_methods import Array, sign_test, signed_rank, student, trimmed, walsh
from convsweep.analysis.estimates import estimate

BURST = 0.05
"""A block is in a burst if it is slower by more than this than the fast quarter of its pass."""


class Answer95(NamedTuple):
    """Log speedups and their 95 % intervals."""

    centre: Array
    low: Array
    high: Array


class Estimator(NamedTuple):
    """Value per pass, and its mean over passes."""

    of_pass: Callable[[Array, Array], Array]
    """From log seconds (..., rounds, samples per block) of baseline and backend; NaN is none."""
    over_passes: Callable[[Array], Answer95]


def _quantile(share: float) -> Callable[[Array, Array], Array]:
    def value(baseline: Array, backend: Array) -> Array:
        return _of_samples(baseline, share) - _of_samples(backend, share)

    return value


def _of_samples(logs: Array, share: float) -> Array:
    """Return a quantile of all samples of each pass; NaN are sorted last."""
    ordered = np.sort(logs.reshape(*logs.shape[:-2], -1), axis=-1)
    last = (~np.isnan(ordered)).sum(axis=-1, keepdims=True) - 1
    place = np.maximum(share * last, 0)
    below = np.floor(place).astype(int)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(below + 1, np.maximum(last, 0)), axis=-1)
    return np.asarray((low + (place - below) * (high - low))[..., 0])


def _mean(baseline: Array, backend: Array) -> Array:
    means = [np.log(np.nanmean(np.exp(logs), axis=(-2, -1))) for logs in (baseline, backend)]
    return np.asarray(means[0] - means[1])


def _faster_half(baseline: Array, backend: Array) -> Array:
    """Return the ratio of the means of the faster half of the blocks."""
    return _of_faster_half(baseline) - _of_faster_half(backend)


def _of_faster_half(logs: Array) -> Array:
    count = (~np.isnan(logs)).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        means = np.sort(np.nansum(np.exp(logs), axis=-1) / count, axis=-1)  # NaN is last
    half = ((count > 0).sum(axis=-1, keepdims=True) + 1) // 2
    kept = np.where(np.arange(means.shape[-1]) < half, means, 0)
    return np.asarray(np.log(kept.sum(axis=-1) / half[..., 0]))


def _block_medians(logs: Array) -> Array:
    return _of_samples(logs[..., np.newaxis, :], 0.5)


def _per_round(baseline: Array, backend: Array) -> Array:
    """Return the median ratio of the two blocks of a round."""
    ratios = _block_medians(baseline) - _block_medians(backend)
    return _of_samples(ratios[..., np.newaxis], 0.5)


def _without_bursts(baseline: Array, backend: Array) -> Array:
    """Return the ratio of medians over the rounds in which both blocks are in no burst."""
    calm = np.ones(baseline.shape[:-1], dtype=bool)
    for logs in (baseline, backend):
        blocks = _block_medians(logs)
        calm &= blocks <= _of_samples(blocks[..., np.newaxis], 0.25)[..., np.newaxis] + BURST
    calm |= ~calm.any(axis=-1, keepdims=True)
    kept = [np.where(calm[..., np.newaxis], logs, np.nan) for logs in (baseline, backend)]
    return _of_samples(kept[0], 0.5) - _of_samples(kept[1], 0.5)


def _trimmed(logs: Array) -> Answer95:
    return Answer95(estimate(logs).mean, *trimmed(logs))


def _plain(logs: Array) -> Answer95:
    return Answer95(logs.mean(axis=-1), *student(logs))


def _median(logs: Array) -> Answer95:
    return Answer95(np.median(logs, axis=-1), *sign_test(logs))


def _hodges_lehmann(logs: Array) -> Answer95:
    return Answer95(np.median(walsh(logs), axis=-1), *signed_rank(logs))


OURS = "faster half, trimmed mean"
ESTIMATORS: Mapping[str, Estimator] = {
    OURS: Estimator(_faster_half, _trimmed),
    "median, trimmed mean": Estimator(_quantile(0.5), _trimmed),
    "median, mean": Estimator(_quantile(0.5), _plain),
    "median, median": Estimator(_quantile(0.5), _median),
    "median, Hodges-Lehmann": Estimator(_quantile(0.5), _hodges_lehmann),
    "mean, trimmed mean": Estimator(_mean, _trimmed),
    "25 % quantile, trimmed mean": Estimator(_quantile(0.25), _trimmed),
    "5 % quantile, trimmed mean": Estimator(_quantile(0.05), _trimmed),
    "minimum, trimmed mean": Estimator(_quantile(0.0), _trimmed),
    "ratio per round, trimmed mean": Estimator(_per_round, _trimmed),
    "without bursts, trimmed mean": Estimator(_without_bursts, _trimmed),
    "without bursts, Hodges-Lehmann": Estimator(_without_bursts, _hodges_lehmann),
}
"""By the value per pass and the mean over passes; the first is convsweep's."""
