"""Verdicts on speedups over the passes of a run. Reasons: docs/statistics.md."""

from bisect import bisect_left
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from convsweep.analysis.estimates import CONFIDENCE, Array, Estimate, degrees, estimate, stacked
from convsweep.results.schema import MARGIN

POWER = 0.9
DIRECTIONS = ("faster", "slower", "same")
_MAX_PASSES = 10**9

_K = TypeVar("_K", bound=Hashable)


def p_values(speedups: Estimate, margin: float | Array = MARGIN) -> Array:
    """Return the p-value of each of `DIRECTIONS`, one row each; 1 without an interval.

    A speedup is above 1 by the margin, below 1 by it, or in between, for which both ends are
    tested (Schuirmann 1987). Values are two-sided: p is below 5 % if the 95 % interval lies
    entirely on its side of the margin.
    """
    mean, standard_error, degrees = map(np.asarray, speedups)
    edge = np.log1p(margin)
    with np.errstate(divide="ignore", invalid="ignore"):
        above, below = (mean - edge) / standard_error, (mean + edge) / standard_error
    above_cdf, below_cdf = stdtr(degrees, above), stdtr(degrees, below)
    above_sf, below_sf = stdtr(degrees, -above), stdtr(degrees, -below)
    one_sided = np.stack([above_sf, below_cdf, np.maximum(above_cdf, below_sf)])
    return np.asarray(np.minimum(2 * np.nan_to_num(one_sided, nan=1), 1))


def reject_at_fdr(p: Array) -> NDArray[np.bool_]:
    """Return which hypotheses to reject at a false discovery rate of 5 %.

    Benjamini & Hochberg 1995, over all comparisons that one conclusion rests on.
    """
    ascending = np.sort(p)
    limits = (1 - CONFIDENCE) * np.arange(1, len(p) + 1) / len(p)
    return np.asarray(p <= ascending[ascending <= limits].max(initial=-1.0))


def verdicts(speedups: Estimate, margin: float | Array = MARGIN) -> NDArray[np.str_]:
    """Return `faster`, `slower`, `same` or `undecided` for each comparison of a run."""
    p = p_values(speedups, margin)
    return np.where(
        reject_at_fdr(p.min(axis=0)), np.array(DIRECTIONS)[p.argmin(axis=0)], "undecided"
    )


def detectable(found: Estimate, margin: float | Array = MARGIN, comparisons: int = 1) -> Array:
    """Return the relative effects that clear the margin with a power of 90 %; NaN if unknown.

    Each is as if it were the only effect in this number of comparisons.
    """
    confident = stdtrit(found.degrees, 1 - (1 - CONFIDENCE) / 2 / max(comparisons, 1))
    powered = stdtrit(found.degrees, POWER)
    return np.asarray(np.expm1(np.log1p(margin) + (confident + powered) * found.standard_error))


def decided_early(log_ratios: Mapping[_K, Array], margin: float, looks: int) -> set[_K]:
    """Return the cases that are decided, corrected for a look after every pass.

    Look i spends 1 / (i (i + 1)) of the 5 %, which sums to 5 % over all looks. A case that is
    decided early keeps its verdict in the whole run.

    Args:
        log_ratios: logarithms of the speedup of every case, one per pass; cases that were decided
            at an earlier look have fewer.
        margin: as for `summarize`.
        looks: number of looks, including this one.
    """
    if not log_ratios:
        return set()
    logs = stacked(log_ratios.values())
    p = p_values(estimate(logs), margin).min(axis=0)
    # Looks of a case that was decided early: as many as it has passes.
    passes = (~np.isnan(logs)).sum(axis=1)
    look = np.maximum(looks - (passes.max() - passes), 1)
    decided = reject_at_fdr(np.minimum(p * look * (look + 1), 1))
    return {case for case, is_decided in zip(log_ratios, decided, strict=True) if is_decided}


def passes_needed(log_ratios: Array, margin: float) -> int | None:
    """Return the predicted number of passes until the interval clears the margin.

    Returns None if the estimate lies on the margin or has fewer than two passes. The correction
    for many comparisons may require a few more.
    """
    logs = np.asarray(log_ratios, dtype="float64")
    found = estimate(logs)
    distance = abs(abs(float(found.mean)) - np.log1p(margin))
    deviation = float(found.standard_error) * np.sqrt(np.count_nonzero(~np.isnan(logs)))
    if np.isnan(deviation) or distance <= 1e-9:
        return None

    def clears(passes: int) -> bool:
        half = stdtrit(degrees(passes), (1 + CONFIDENCE) / 2) * deviation / np.sqrt(passes)
        return bool(half <= distance)

    return 2 + bisect_left(range(2, _MAX_PASSES), True, key=clears)
