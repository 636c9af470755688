"""Rows of a run as cases, with times and speedups per pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from convsweep import formatting
from convsweep.analysis.calm_passes import only_calm
from convsweep.analysis.estimates import Array
from convsweep.analysis.sample_flags import OF_TRACE
from convsweep.results import schema

_WORK_COLUMNS = ("macs", "backend_macs", "min_bytes", "backend_bytes", "backend_family")
_COSTS = {
    "relative_err": ("relative_err", "max"),
    "error_ratio": ("error_ratio", "max"),
    "sqnr_db": ("sqnr_db", "min"),
    "prepare_s": ("prepare_s", "median"),
    "prepare_max_s": ("prepare_s", "max"),
    "first_call_s": ("first_call_s", "median"),
    "first_call_max_s": ("first_call_s", "max"),
    "peak_memory_bytes": ("peak_memory_bytes", "max"),
    **{name: (name, "first") for name in schema.TRACE_COLUMNS},
    **{name: (name, "median") for name in schema.COUNT_COLUMNS},
}
"""Aggregates over the passes of a case; the longest first call may have compiled."""


class Cases(NamedTuple):
    """Cases of a run in the order of its measurements, grouped by problem."""

    info: DataFrame
    """Case columns, status and reason of the worst pass, work, costs and `sample_flags`."""
    log_s: Array
    """(cases, passes), NaN for a case that is not ok and a pass without a time or disturbed."""
    log_speedup: Array  # the same for baseline time / time, both of one pass
    is_baseline: NDArray[np.bool_]


class RowsByRole(NamedTuple):
    """Rows of a run by `role`."""

    requested: DataFrame
    ceilings: DataFrame  # roofline probes
    separable_parts: DataFrame  # parts of separable layers, each timed alone


def split(rows: DataFrame) -> RowsByRole:
    """Split the rows of a run, or of its summary, by role."""
    ceilings, separable_parts = (
        rows["role"].eq(role) for role in (schema.ROOFLINE, schema.SEPARABLE_PART)
    )
    return RowsByRole(rows[~(ceilings | separable_parts)], rows[ceilings], rows[separable_parts])


def are_variants(measurements: DataFrame) -> Series[bool]:
    """Return a mask of the rows of A/A variants."""
    return measurements["backend"].str.rpartition("+")[2].isin([schema.AGAIN, schema.SLOWED])


def read_cases(measurements: DataFrame, baseline: str) -> Cases:
    """Return the cases of a run, with speedups over `baseline`."""
    rows = measurements.reset_index(drop=True)
    problem = number_rows(rows, schema.PROBLEM_COLUMNS)
    case = _number(problem, rows["backend"])
    rank = rows["status"].map(schema.STATUSES.index).astype("int64")
    worst = rank.groupby(case).idxmin()  # the first of the worst
    info = rows[[*schema.CASE_COLUMNS, "status", "reason", *_WORK_COLUMNS]].iloc[worst]
    info = info.reset_index(drop=True).assign(sample_flags=_frequent_flags(rows, case))
    info[[*_COSTS]] = rows.groupby(case).agg(**_COSTS)
    log_s = _log_times(rows, case)
    log_s[info["status"] != "ok"] = np.nan
    problems, siblings = problem[worst], number_rows(info, schema.SIBLING_COLUMNS)
    for places in info[info["role"] != schema.ROOFLINE].groupby("environment_id").groups.values():
        log_s[places] = only_calm(log_s[places], siblings[places])
    is_baseline = (info["backend"] == baseline).to_numpy(dtype=bool)
    log_speedup = _log_speedups(log_s, problems, is_baseline)
    return Cases(info, log_s, log_speedup, is_baseline)


def number_rows(rows: DataFrame, columns: Iterable[str]) -> NDArray[np.integer[Any]]:
    """Return numbers in the order of first occurrence, equal for rows with equal `columns`."""
    number = np.zeros(len(rows), dtype=np.intp)
    for name in columns:  # a `groupby` of all at once takes much more memory
        codes, values = rows[name].factorize(use_na_sentinel=False)
        if len(values) > 1:
            number = pd.factorize(number * len(values) + codes)[0]
    return number


def _number(problem: NDArray[np.integer[Any]], backend: Series[str]) -> Series[int]:
    """Return the case number of each row: by problem, then by first occurrence."""
    rows = pd.DataFrame({"problem": problem, "backend": backend.factorize()[0]})
    first = rows.drop_duplicates().sort_values("problem", kind="stable")
    return rows.merge(first.assign(case=range(len(first))), how="left")["case"]


def _log_times(rows: DataFrame, case: Series[int]) -> Array:
    passes, names = rows["pass_index"].factorize()
    log_s = np.full((case.nunique(), len(names)), np.nan)
    log_s[case, passes] = np.log(schema.pass_times(rows))
    return log_s


def _log_speedups(
    log_s: Array, problem: NDArray[np.integer[Any]], is_baseline: NDArray[np.bool_]
) -> Array:
    """Return baseline less case for each case; NaN for a problem without a baseline."""
    base = np.full((int(problem.max(initial=-1)) + 1, log_s.shape[1]), np.nan)
    base[problem[is_baseline]] = log_s[is_baseline]
    return np.asarray(base[problem] - log_s)


def _frequent_flags(rows: DataFrame, case: Series[int]) -> Series[str]:
    """Return the flags that at least half of a case's rows have, joined by `|`.

    Calls are traced once per run, so that one row has the flag of the trace.
    """
    share = rows["sample_flags"].str.get_dummies("|").groupby(case).mean()
    once = share.columns.str.startswith(OF_TRACE)
    often = ((share >= 0.5) | (share.gt(0) & once)).to_numpy(dtype=bool)
    flags = ["|".join(share.columns[own]) for own in often]
    return pd.Series(flags, index=share.index, dtype="string")


def filter_by_error(measurements: DataFrame, max_error: float) -> tuple[DataFrame, str]:
    """Skip the cases with a relative error above `max_error` in some pass.

    Roofline probes and parts of separable layers are unchanged.

    Returns:
        All rows, those beyond the limit as `skipped`, and a sentence on their cases.

    Raises:
        ValueError: no row has a relative error.
    """
    requested = split(measurements).requested
    ok = requested[requested["status"] == "ok"]
    if len(ok) and ok["relative_err"].isna().all():
        raise ValueError("the run records no relative error, which --max-error needs")
    case = ok.groupby([*schema.PROBLEM_COLUMNS, "backend"], dropna=False, sort=False)
    worst = case["relative_err"].transform("max")
    out = ok.index[~(worst <= max_error)]
    left = measurements.copy()
    left.loc[out, "status"] = "skipped"
    left.loc[out, "reason"] = [_reason(error, max_error) for error in worst[out]]
    first = ok[(case.cumcount() == 0) & ok.index.isin(out)]
    return left, _note(first, max_error)


def _reason(error: float, max_error: float) -> str:
    if math.isnan(error):
        return "its relative error is unknown"
    return f"relative error {formatting.error(error)} is above the limit of {max_error:g}"


def _note(cases: DataFrame, max_error: float) -> str:
    if cases.empty:
        return f"No case was left out for a relative error above {max_error:g}."
    counts = [f"{name} in {count}" for name, count in cases["backend"].value_counts().items()]
    return (
        f"Left out for a relative error above {max_error:g}: "
        f"{formatting.count(len(cases), 'case')} ({formatting.join(counts)})."
    )
