"""A run without the cases that are less exact than somebody asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from convsweep import formatting
from convsweep.analysis.cases import split
from convsweep.results.store import PROBLEM_COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame


class FilteredRun(NamedTuple):
    """What is left of a run."""

    measurements: DataFrame
    """All rows; those of a case beyond the limit are `skipped`, which the reason tells."""
    told: str
    """What was left out, in a sentence."""


def filter_by_error(measurements: DataFrame, max_error: float) -> FilteredRun:
    """The run's cases whose relative error is nowhere above `max_error`, in any pass.

    What is known of the machine itself, its ceilings and halves of layers, stays as it is.

    Raises:
        ValueError: no error is known, as in runs of older versions.
    """
    asked = split(measurements).asked
    ok = asked[asked["status"] == "ok"]
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
