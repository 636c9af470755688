"""Summary of a run: one row per case, with speedups and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convsweep.analysis.cases import read_cases
from convsweep.analysis.estimates import Estimate, bounds, estimate
from convsweep.analysis.roofline import attainable
from convsweep.analysis.verdicts import verdicts
from convsweep.results.schema import BASELINE, CASE_COLUMNS, MARGIN

if TYPE_CHECKING:
    from pandas import DataFrame

SUMMARY_COLUMNS = (
    *CASE_COLUMNS,
    "status",
    "reason",
    "passes",
    "median_s",
    "ci_low_s",
    "ci_high_s",
    "flops_per_s",
    "roofline_fraction",
    "baseline",
    "speedup",
    "speedup_ci_low",
    "speedup_ci_high",
    "verdict",
    "attainable_flops_per_s",
    "bound",
    "backend_macs",
    "backend_bytes",
    "relative_err",
    "error_ratio",
    "prepare_s",
    "first_call_s",
    "backend_family",
    "peak_memory_bytes",
    "first_call_max_s",
)
"""The columns of summary.csv."""
_TOLD_BESIDE = ("macs", "min_bytes", "prepare_max_s", "sample_flags", "margin")
"""What `summarize` adds behind them."""


def summarize(
    measurements: DataFrame, baseline: str = BASELINE, margin: float = MARGIN
) -> DataFrame:
    """One row a case: its time over the passes, and its speedup over `baseline`.

    A speedup is the geometric mean over passes of baseline seconds / these seconds, paired by
    pass, since one pass times both in turn. Its interval is a plain one of 95 %; its verdict is
    corrected for the number of speedups in the run, and so stricter.
    """
    cases = read_cases(measurements, baseline)
    summary = cases.info.copy()
    summary["passes"] = (~np.isnan(cases.log_s)).sum(axis=1)
    _put(summary, ("median_s", "ci_low_s", "ci_high_s"), estimate(cases.log_s))
    summary["flops_per_s"] = 2 * summary["macs"].astype("float64") / summary["median_s"]
    told = attainable(summary)
    summary[told.columns] = told
    summary["baseline"] = baseline
    speedups = estimate(np.where(cases.is_baseline[:, np.newaxis], np.nan, cases.log_speedup))
    _put(summary, ("speedup", "speedup_ci_low", "speedup_ci_high"), speedups)
    summary["verdict"] = stored_verdicts(speedups, margin)
    timed = cases.is_baseline & (summary["passes"] > 0)
    summary.loc[timed, "speedup"], summary.loc[timed, "verdict"] = 1.0, "baseline"
    summary["margin"] = margin
    return summary[[*SUMMARY_COLUMNS, *_TOLD_BESIDE]].astype(
        {"baseline": "string", "verdict": "string", "reason": "string"}
    )


def _put(summary: DataFrame, names: Sequence[str], found: Estimate) -> None:
    """Value, low and high end, as columns."""
    for name, ends in zip(names, bounds(found), strict=True):
        summary[name] = ends


def stored_verdicts(speedups: Estimate, margin: float) -> NDArray[np.object_]:
    """The verdicts of the run's speedups; None where there is no speedup."""
    compared = ~np.isnan(speedups.mean)
    told = np.full(compared.shape, None, dtype=object)
    told[compared] = verdicts(Estimate(*(part[compared] for part in speedups)), margin)
    return told
