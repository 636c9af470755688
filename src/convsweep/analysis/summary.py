"""Summary of a run: one row per case, with speedups and verdicts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from convsweep.analysis.cases import read_cases
from convsweep.analysis.drift import Drift
from convsweep.analysis.estimates import Array, Estimate, Interval, bounds, estimate, widened
from convsweep.analysis.roofline import attainable
from convsweep.analysis.settings import SETTING_SPEEDUP, pair_settings
from convsweep.analysis.verdicts import verdicts
from convsweep.results.schema import (
    BASELINE,
    CASE,
    CASE_COLUMNS,
    COUNT_COLUMNS,
    MARGIN,
    TRACE_COLUMNS,
)

TIME = ("time_s", "ci_low_s", "ci_high_s")
SPEEDUP = ("speedup", "speedup_ci_low", "speedup_ci_high")
SUMMARY_COLUMNS = (
    *CASE_COLUMNS, "status", "reason", "passes", *TIME, "flops_per_s",
    "roofline_fraction", "baseline", *SPEEDUP, "verdict",
    "attainable_flops_per_s", "bound", "backend_macs", "backend_bytes", "relative_err",
    "error_ratio", "prepare_s", "first_call_s", "backend_family", "peak_memory_bytes",
    "first_call_max_s", *SETTING_SPEEDUP, "setting_verdict",
    *TRACE_COLUMNS, *COUNT_COLUMNS, "sqnr_db",
)  # fmt: skip
"""Columns of summary.csv."""
_MORE_COLUMNS = ("macs", "min_bytes", "prepare_max_s", "sample_flags", "margin")
"""Columns that `summarize` adds after them."""


def summarize(
    measurements: DataFrame,
    baseline: str = BASELINE,
    margin: float = MARGIN,
    drift: Drift | None = None,
) -> DataFrame:
    """Return one row per case: its time over the passes and its speedup over `baseline`.

    A speedup is the geometric mean over passes of baseline seconds / backend seconds, paired by
    pass. Its interval is uncorrected; its verdict is corrected for the number of speedups.
    Both contain the `drift` between runs if it is known.
    """
    cases = read_cases(measurements, baseline)
    summary = cases.info
    summary["passes"] = (~np.isnan(cases.log_s)).sum(axis=1)
    summary[[*TIME]] = bounds(estimate(cases.log_s)).T
    summary["flops_per_s"] = 2 * summary["macs"].astype("float64") / summary["time_s"]
    rates = attainable(summary)
    summary[rates.columns] = rates
    summary["baseline"] = baseline
    speedups = estimate(np.where(cases.is_baseline[:, np.newaxis], np.nan, cases.log_speedup))
    speedups = widened(speedups, drift and drift.errors(summary))
    summary[[*SPEEDUP]] = bounds(speedups).T
    summary["verdict"] = stored_verdicts(speedups, margin)
    timed = cases.is_baseline & (summary["passes"] > 0)
    summary.loc[timed, "speedup"], summary.loc[timed, "verdict"] = 1.0, "baseline"
    summary["margin"] = margin
    _add_settings(summary, cases.log_s, margin)
    return summary[[*SUMMARY_COLUMNS, *_MORE_COLUMNS]].astype(
        dict.fromkeys(("baseline", "verdict", "reason", "setting_verdict"), "string")
    )


def _add_settings(summary: DataFrame, log_s: Array, margin: float) -> None:
    """Add the speedup of each requested case over itself in the first setting of the run."""
    places = np.flatnonzero((summary["role"] == CASE) & (summary["status"] == "ok"))
    rows = pair_settings(summary.iloc[places], log_s[places], margin).table.query("to_first")
    summary[[*SETTING_SPEEDUP]], summary["setting_verdict"] = np.nan, None
    own = summary.index[places[rows["case"]]]
    summary.loc[own, [*SETTING_SPEEDUP]] = rows[[*SETTING_SPEEDUP]].to_numpy()
    summary.loc[own, "setting_verdict"] = rows["verdict"].to_numpy()
    first = summary.index[places[rows["base"].unique()]]
    summary.loc[first, "setting_speedup"], summary.loc[first, "setting_verdict"] = 1.0, "baseline"


def interval_of(case: Any, columns: tuple[str, str, str]) -> Interval:
    """Return `TIME` or `SPEEDUP` of a row of the summary, given as a mapping or a series."""
    return Interval(*(float(case[name]) for name in columns))


def stored_verdicts(speedups: Estimate, margin: float | Array) -> NDArray[np.object_]:
    """Return the verdicts on the speedups of a run; None for a case without a speedup."""
    compared = ~np.isnan(speedups.mean)
    found = np.full(compared.shape, None, dtype=object)
    own = np.broadcast_to(margin, compared.shape)[compared]
    found[compared] = verdicts(Estimate(*(values[compared] for values in speedups)), own)
    return found
