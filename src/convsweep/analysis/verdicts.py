"""Speedups and verdicts, from the passes of a run; docs/statistics.md says why so."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from convsweep.analysis.estimates import (
    CONFIDENCE,
    Array,
    Estimate,
    degrees,
    estimate,
    stacked,
)
from convsweep.results.schema import MARGIN

DIRECTIONS = ("faster", "slower", "same")
_MOST_PASSES = 10**9

_K = TypeVar("_K", bound=Hashable)


def p_values(speedups: Estimate, margin: float = MARGIN) -> Array:
    """How well each of `DIRECTIONS` is supported, a row a claim; 1 where there is no interval.

    One of three is true: above 1 by the margin, below 1 by it, or between the two, for which both
    ends are tested (Schuirmann 1987). Values count both sides: at 5 %, a claim holds where the
    95 % interval lies wholly on its side of the margin.
    """
    mean, standard_error, degrees = map(np.asarray, speedups)
    edge = np.log1p(margin)
    with np.errstate(divide="ignore", invalid="ignore"):
        above, below = (mean - edge) / standard_error, (mean + edge) / standard_error
    t = stats.t(degrees)
    one_sided = np.stack([t.sf(above), t.cdf(below), np.maximum(t.cdf(above), t.sf(below))])
    return np.asarray(np.minimum(2 * np.nan_to_num(one_sided, nan=1), 1))


def reject_at_fdr(p: Array) -> NDArray[np.bool_]:
    """Which of many claims are made, so that 5 % of those may be false.

    Benjamini & Hochberg 1995, over all the comparisons that one answer rests on.
    """
    adjusted = stats.false_discovery_control(p) if len(p) else p
    return np.asarray(adjusted <= 1 - CONFIDENCE)


def verdicts(speedups: Estimate, margin: float = MARGIN) -> NDArray[np.str_]:
    """`faster`, `slower`, `same` or `undecided` for each of a run's comparisons."""
    p = p_values(speedups, margin)
    return np.where(
        reject_at_fdr(p.min(axis=0)), np.array(DIRECTIONS)[p.argmin(axis=0)], "undecided"
    )


def decided_early(log_ratios: Mapping[_K, Array], margin: float, looks: int) -> set[_K]:
    """The cases whose verdict holds although one looks after every pass, and stops when it holds.

    Look number i has 1 / (i (i + 1)) of the 5 %, which adds up to 5 % over all the looks that
    there may ever be. What is settled once, and gets no more passes, is in the verdicts of the
    whole run too, whatever becomes of the other cases.

    Args:
        log_ratios: for every case of the run the logarithms of its speedup, one a pass; those
            settled at an earlier look have fewer.
        margin: as for `summarize`.
        looks: how many looks there have been, this one counted.
    """
    if not log_ratios:
        return set()
    logs = stacked(log_ratios.values())
    p = p_values(estimate(logs), margin).min(axis=0)
    # A case that was left alone has been looked at as often as it had passes.
    passes = (~np.isnan(logs)).sum(axis=1)
    look = np.maximum(looks - (passes.max() - passes), 1)
    held = reject_at_fdr(np.minimum(p * look * (look + 1), 1))
    return {case for case, holds in zip(log_ratios, held, strict=True) if holds}


def passes_needed(log_ratios: Array, margin: float) -> int | None:
    """About how many passes in all until the interval clears the margin, if it stays as it is.

    None where it never will, the estimate lying on the margin, or where fewer than two passes
    can't tell. The correction for many comparisons may ask for some more.
    """
    logs = np.asarray(log_ratios, dtype="float64")
    found = estimate(logs)
    distance = abs(abs(float(found.mean)) - np.log1p(margin))
    deviation = float(found.standard_error) * np.sqrt(np.count_nonzero(~np.isnan(logs)))
    if np.isnan(deviation) or distance <= 1e-9:
        return None

    def clears(passes: int) -> bool:
        half = stats.t.ppf((1 + CONFIDENCE) / 2, degrees(passes)) * deviation / np.sqrt(passes)
        return bool(half <= distance)

    return 2 + bisect_left(range(2, _MOST_PASSES), True, key=clears)
