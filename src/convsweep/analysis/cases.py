"""A run's rows as its cases: what each one is, and its times and speedups pass by pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convsweep.analysis.estimates import Numbers
from convsweep.results.schema import ROOFLINE, SEPARABLE_PART
from convsweep.results.store import CASE_COLUMNS, PROBLEM_COLUMNS, STATUSES

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

    told: DataFrame
    """The case columns, the worst pass' status and reason, its work and costs, and `sample_flags`."""
    log_s: Numbers
    """(cases, passes); NaN where a pass has no time, and in cases that are not ok throughout."""
    log_speedup: Numbers
    """The same of baseline time / time, both of one pass."""
    is_baseline: NDArray[np.bool_]


class Parts(NamedTuple):
    """Rows by what they are for."""

    asked: DataFrame
    """The cases that were asked for."""
    ceilings: DataFrame
    """What the machine does at best."""
    halves: DataFrame
    """Halves of separable layers, each alone."""


def split(rows: DataFrame) -> Parts:
    """A run's rows, or its summary's, by what they are for."""
    ceilings, halves = (rows["role"].eq(role) for role in (ROOFLINE, SEPARABLE_PART))
    return Parts(rows[~(ceilings | halves)], rows[ceilings], rows[halves])


def read_cases(measurements: DataFrame, baseline: str) -> Cases:
    """The cases of a run, whose speedups divide by `baseline`."""
    rows = measurements.reset_index(drop=True)
    problem = rows.groupby(list(PROBLEM_COLUMNS), dropna=False, sort=False).ngroup()
    case = _number(problem, rows["backend"])
    rank = rows["status"].map(STATUSES.index).astype("int64")
    worst = rank.groupby(case).idxmin()  # the first of the worst
    told = rows.loc[worst, [*CASE_COLUMNS, "status", "reason", *_WORK_COLUMNS]]
    told = told.reset_index(drop=True).assign(sample_flags=_frequent_flags(rows, case))
    told[[*_COSTS]] = rows.groupby(case).agg(**_COSTS)
    log_s = _log_times(rows, case)
    log_s[told["status"] != "ok"] = np.nan
    is_baseline = (told["backend"] == baseline).to_numpy(dtype=bool)
    log_speedup = _log_speedups(log_s, problem[worst].to_numpy(dtype=np.intp), is_baseline)
    return Cases(told, log_s, log_speedup, is_baseline)


def _number(problem: Series[int], backend: Series[str]) -> Series[int]:
    """The case of each row: problem by problem, its backends as they first come."""
    rows = pd.DataFrame({"problem": problem, "backend": backend.factorize()[0]})
    first = rows.drop_duplicates().sort_values("problem", kind="stable")
    return rows.merge(first.assign(case=range(len(first))), how="left")["case"]


def _log_times(rows: DataFrame, case: Series[int]) -> Numbers:
    passes, names = rows["pass_index"].factorize()
    log_s = np.full((case.nunique(), len(names)), np.nan)
    log_s[case, passes] = np.log(rows["median_s"])
    return log_s


def _log_speedups(
    log_s: Numbers, problem: NDArray[np.integer[Any]], is_baseline: NDArray[np.bool_]
) -> Numbers:
    """Each problem's baseline less its cases; NaN where a problem has no baseline."""
    base = np.full((int(problem.max(initial=-1)) + 1, log_s.shape[1]), np.nan)
    base[problem[is_baseline]] = log_s[is_baseline]
    return np.asarray(base[problem] - log_s)


def _frequent_flags(rows: DataFrame, case: Series[int]) -> Series[str]:
    """The flags that at least half of a case's rows have, joined by `|`; empty where none has."""
    share = rows["sample_flags"].str.get_dummies("|").groupby(case).mean()
    said = ["|".join(share.columns[often]) for often in (share >= 0.5).to_numpy(dtype=bool)]
    return pd.Series(said, index=share.index, dtype="string")
