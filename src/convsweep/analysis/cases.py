"""A run's rows as its cases: what each one is, and its times and speedups pass by pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convsweep import formatting
from convsweep.analysis.estimates import Array
from convsweep.results.schema import (
    CASE_COLUMNS,
    PROBLEM_COLUMNS,
    ROOFLINE,
    SEPARABLE_PART,
    STATUSES,
)

if TYPE_CHECKING:
    from pandas import DataFrame, Series


_WORK_COLUMNS = ("macs", "backend_macs", "min_bytes", "backend_bytes", "backend_family")
_COSTS = {
    "relative_err": ("relative_err", "max"),
    "error_ratio": ("error_ratio", "max"),
    "prepare_s": ("prepare_s", "median"),
    "prepare_max_s": ("prepare_s", "max"),
    "first_call_s": ("first_call_s", "median"),
    "first_call_max_s": ("first_call_s", "max"),
    "peak_memory_bytes": ("peak_memory_bytes", "max"),
}
"""What is told of a case over its passes: of errors and memory the worst, of times the middle, and
of preparing and the first call the longest too, which may have compiled."""


class Cases(NamedTuple):
    """A run's cases in the order of its measurements, a problem's backends side by side."""

    info: DataFrame
    """The case columns, the worst pass' status and reason, its work and costs, and `sample_flags`."""
    log_s: Array
    """(cases, passes); NaN where a pass has no time, and in cases that are not ok throughout."""
    log_speedup: Array
    """The same of baseline time / time, both of one pass."""
    is_baseline: NDArray[np.bool_]


class Parts(NamedTuple):
    """Rows by what they are for."""

    requested: DataFrame
    """The cases that were asked for."""
    ceilings: DataFrame
    """What the machine does at best."""
    separable_parts: DataFrame
    """Halves of separable layers, each alone."""


def split(rows: DataFrame) -> Parts:
    """A run's rows, or its summary's, by what they are for."""
    ceilings, separable_parts = (rows["role"].eq(role) for role in (ROOFLINE, SEPARABLE_PART))
    return Parts(rows[~(ceilings | separable_parts)], rows[ceilings], rows[separable_parts])


def read_cases(measurements: DataFrame, baseline: str) -> Cases:
    """The cases of a run, whose speedups divide by `baseline`."""
    rows = measurements.reset_index(drop=True)
    problem = rows.groupby(list(PROBLEM_COLUMNS), dropna=False, sort=False).ngroup()
    case = _number(problem, rows["backend"])
    rank = rows["status"].map(STATUSES.index).astype("int64")
    worst = rank.groupby(case).idxmin()  # the first of the worst
    info = rows.loc[worst, [*CASE_COLUMNS, "status", "reason", *_WORK_COLUMNS]]
    info = info.reset_index(drop=True).assign(sample_flags=_frequent_flags(rows, case))
    info[[*_COSTS]] = rows.groupby(case).agg(**_COSTS)
    log_s = _log_times(rows, case)
    log_s[info["status"] != "ok"] = np.nan
    is_baseline = (info["backend"] == baseline).to_numpy(dtype=bool)
    log_speedup = _log_speedups(log_s, problem[worst].to_numpy(dtype=np.intp), is_baseline)
    return Cases(info, log_s, log_speedup, is_baseline)


def _number(problem: Series[int], backend: Series[str]) -> Series[int]:
    """The case of each row: problem by problem, its backends as they first come."""
    rows = pd.DataFrame({"problem": problem, "backend": backend.factorize()[0]})
    first = rows.drop_duplicates().sort_values("problem", kind="stable")
    return rows.merge(first.assign(case=range(len(first))), how="left")["case"]


def _log_times(rows: DataFrame, case: Series[int]) -> Array:
    passes, names = rows["pass_index"].factorize()
    log_s = np.full((case.nunique(), len(names)), np.nan)
    log_s[case, passes] = np.log(rows["median_s"])
    return log_s


def _log_speedups(
    log_s: Array, problem: NDArray[np.integer[Any]], is_baseline: NDArray[np.bool_]
) -> Array:
    """Each problem's baseline less its cases; NaN where a problem has no baseline."""
    base = np.full((int(problem.max(initial=-1)) + 1, log_s.shape[1]), np.nan)
    base[problem[is_baseline]] = log_s[is_baseline]
    return np.asarray(base[problem] - log_s)


def _frequent_flags(rows: DataFrame, case: Series[int]) -> Series[str]:
    """The flags that at least half of a case's rows have, joined by `|`; empty where none has."""
    share = rows["sample_flags"].str.get_dummies("|").groupby(case).mean()
    said = ["|".join(share.columns[often]) for often in (share >= 0.5).to_numpy(dtype=bool)]
    return pd.Series(said, index=share.index, dtype="string")


class FilteredRun(NamedTuple):
    """What is left of a run."""

    measurements: DataFrame
    """All rows; those of a case beyond the limit are `skipped`, which the reason tells."""
    note: str
    """Sentence on the cases that were left out."""


def filter_by_error(measurements: DataFrame, max_error: float) -> FilteredRun:
    """The run's cases whose relative error is nowhere above `max_error`, in any pass.

    What is known of the machine itself, its ceilings and halves of layers, stays as it is.

    Raises:
        ValueError: no error is known, as in runs of older versions.
    """
    requested = split(measurements).requested
    ok = requested[requested["status"] == "ok"]
    if len(ok) and ok["relative_err"].isna().all():
        raise ValueError("the run tells no relative error: it is of an older version")
    case = ok.groupby([*PROBLEM_COLUMNS, "backend"], dropna=False, sort=False)
    worst = case["relative_err"].transform("max")
    out = ok.index[~(worst <= max_error)]
    left = measurements.copy()
    left.loc[out, "status"] = "skipped"
    left.loc[out, "reason"] = [_reason(error, max_error) for error in worst[out]]
    first = ok[(case.cumcount() == 0) & ok.index.isin(out)]
    return FilteredRun(left, _told(first, max_error))


def _reason(error: float, max_error: float) -> str:
    if math.isnan(error):
        return "its relative error is not known"
    return f"relative error {error:.1e} is over the largest allowed, {max_error:g}"


def _told(cases: DataFrame, max_error: float) -> str:
    if cases.empty:
        return f"No case has a relative error over {max_error:g}: none was left out."
    counts = [f"{name} in {count}" for name, count in cases["backend"].value_counts().items()]
    return (
        f"Left out for a relative error over {max_error:g}: "
        f"{formatting.count(len(cases), 'case')} ({formatting.join(counts)})."
    )
