"""Intervals, speedups and verdicts, from the passes of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from convsweep.store import BASELINE, CASE_COLUMNS, PROBLEM_COLUMNS, STATUSES

if TYPE_CHECKING:
    from pandas import DataFrame, Series

CONFIDENCE = 0.95
MARGIN = 0.02

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
)
"""The columns of summary.csv; `summarize` adds `macs` and `backend_macs` behind them."""


class Interval(NamedTuple):
    """A value and where its true one lies with 95 % confidence; NaN where nobody can say."""

    value: float
    low: float
    high: float


def geometric_interval(values: NDArray[np.float64]) -> Interval:
    """Geometric mean of positive values with Student's interval of their logarithms.

    The values are one a pass: passes are independent, samples within a pass are not (Kalibera &
    Jones 2013, Rigorous Benchmarking in Reasonable Time). One value gives no interval.
    """
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan)
    logs = np.log(values)
    center = float(logs.mean())
    if len(values) == 1:
        return Interval(float(np.exp(center)), np.nan, np.nan)
    standard_error = float(logs.std(ddof=1)) / np.sqrt(len(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * standard_error
    low, value, high = np.exp([center - half, center, center + half])
    return Interval(float(value), float(low), float(high))


def verdict(speedup: Interval, margin: float = MARGIN) -> str | None:
    """What an interval of a speedup says: `faster`, `slower`, `same` or `undecided`.

    None where there is no speedup. A speedup without an interval is `undecided`.
    """
    if np.isnan(speedup.value):
        return None
    slowest, fastest = 1 / (1 + margin), 1 + margin
    if speedup.low > fastest:
        return "faster"
    if speedup.high < slowest:
        return "slower"
    if speedup.low >= slowest and speedup.high <= fastest:
        return "same"
    return "undecided"


def summarize(measurements: DataFrame, baseline: str = BASELINE) -> DataFrame:
    """One row a case: its time over the passes, and its speedup over `baseline`.

    A speedup is the geometric mean over passes of baseline seconds / these seconds, paired by
    pass, since one pass times both in turn.
    """
    rows: list[dict[str, object]] = []
    for _, cases in measurements.groupby(list(PROBLEM_COLUMNS), dropna=False, sort=False):
        times = {
            str(backend): passes.set_index("pass_index")["median_s"].dropna()
            for backend, passes in cases.groupby("backend", sort=False)
            if set(passes["status"]) == {"ok"}
        }
        rows += [
            _summary_row(passes, times, baseline)
            for _, passes in cases.groupby("backend", sort=False)
        ]
    return pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, "macs", "backend_macs"]).astype(
        {"baseline": "string", "verdict": "string", "reason": "string"}
    )


def _summary_row(
    passes: DataFrame, times: dict[str, Series[float]], baseline: str
) -> dict[str, object]:
    """The summary of one case, whose rows are `passes`."""
    statuses = passes["status"]
    worst = min(range(len(passes)), key=lambda i: STATUSES.index(statuses.iloc[i]))
    first = passes.iloc[worst]
    backend = str(first["backend"])
    own = times.get(backend, pd.Series(dtype="float64"))
    time = geometric_interval(own.to_numpy(dtype="float64"))
    row: dict[str, object] = {name: first[name] for name in (*CASE_COLUMNS, "status", "reason")}
    row |= {"macs": first["macs"], "backend_macs": first["backend_macs"]}
    row |= {"passes": len(own), "median_s": time.value}
    row |= {"ci_low_s": time.low, "ci_high_s": time.high}
    row |= {"flops_per_s": 2 * first["macs"] / time.value, "baseline": baseline}
    if backend == baseline and len(own):
        return row | {"speedup": 1.0, "verdict": "baseline"}
    if baseline in times:
        paired = (times[baseline] / own).dropna()
        speedup = geometric_interval(paired.to_numpy(dtype="float64"))
        row |= {"speedup": speedup.value, "verdict": verdict(speedup)}
        row |= {"speedup_ci_low": speedup.low, "speedup_ci_high": speedup.high}
    return row
