"""Passes in which other programs disturbed the machine least. Reasons: docs/statistics.md."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsweep.analysis.estimates import Array

_LEAST, _SLOWER = 3, 0.05


def only_calm(log_s: Array, problem: NDArray[np.integer[Any]]) -> Array:
    """Return the times with NaN in disturbed passes.

    A pass is left out if the other problems took over 5 % longer in it than in the fastest quarter
    of the passes; three and half of all are kept in any case. The times of a case and of those that
    it is compared with do not decide, so the choice does not favour any of them. A pass without
    other problems is kept.

    Args:
        log_s: logarithms of times (cases, passes); NaN if unknown.
        problem: number of the problem of each case, the same in all settings and batch sizes.
    """
    count, passes = int(problem.max(initial=-1)) + 1, log_s.shape[1]
    if passes <= _LEAST or count < 2:
        return log_s
    ordered, known = np.sort(log_s, axis=1), ~np.isnan(log_s)
    middle = np.maximum(known.sum(axis=1) - 1, 0) // 2  # NaN is last
    slower = np.where(known, log_s - np.take_along_axis(ordered, middle[:, np.newaxis], axis=1), 0)
    sums, counts = np.zeros((2, count, passes))
    np.add.at(sums, problem, slower)
    np.add.at(counts, problem, known)
    others = counts.sum(axis=0) - counts
    disturbance = np.where(others > 0, (sums.sum(axis=0) - sums) / np.maximum(others, 1), -np.inf)
    disturbance[counts == 0] = np.inf  # not a pass of this problem
    ordered, own = np.sort(disturbance, axis=1), (counts > 0).sum(axis=1)
    least = np.minimum(own, np.maximum(_LEAST, own // 2))
    last, quarter = (
        np.take_along_axis(ordered, place[:, np.newaxis], axis=1)
        for place in (least - 1, np.maximum(own - 1, 0) // 4)
    )
    limits = np.maximum(last, quarter + _SLOWER)
    return np.where((disturbance <= limits)[problem], log_s, np.nan)
