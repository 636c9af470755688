"""Pairs of cases that differ in their setting alone, with the speedup of one over the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from convsweep.analysis.estimates import Array, bounds, estimate
from convsweep.analysis.verdicts import verdicts
from convsweep.problems.case import CACHES, DTYPES, MEMORY_FORMATS
from convsweep.results.schema import MARGIN, SETTING_AXES, SIBLING_COLUMNS

_ORDERS: Mapping[str, Sequence[str]] = {
    "dtype": DTYPES,
    "memory_format": MEMORY_FORMATS,
    "cache": CACHES,
}
SPEEDUP = ("setting_speedup", "setting_speedup_ci_low", "setting_speedup_ci_high")


class SettingPairs(NamedTuple):
    """Speedups of settings: seconds per image in one setting / in another, paired by pass."""

    table: DataFrame
    """Positions `case` and `base`, the `axis` in which they differ (empty: several, and `base` is
    in the first setting), `SPEEDUP` of `case` over `base` and its corrected `verdict`."""
    log_speedup: Array  # (pairs, passes)
    is_first: NDArray[np.bool_]  # whether a case is in the first setting of the run


def varied(cases: DataFrame) -> dict[str, list[Any]]:
    """Return the values of each axis that varies; others are relative to the first one."""

    def place(axis: str, value: Any) -> tuple[int, Any]:
        order = _ORDERS.get(axis, ())
        return (order.index(value), "") if value in order else (len(order), value)

    values = {axis: sorted(set(cases[axis]), key=lambda v: place(axis, v)) for axis in SETTING_AXES}
    return {axis: own for axis, own in values.items() if len(own) > 1}


def pair_settings(cases: DataFrame, log_s: Array, margin: float = MARGIN) -> SettingPairs:
    """Pair each case with the first value of each axis, and with the first value of all axes.

    The verdicts are corrected for the number of all pairs.

    Args:
        cases: timed cases, with the columns of measurements.csv.
        log_s: logarithms of their seconds, (cases, passes).
        margin: as for `summarize`.
    """
    axes = varied(cases)
    differs = DataFrame(index=range(len(cases)))
    for axis, values in axes.items():
        differs[axis] = cases[axis].ne(values[0]).to_numpy(dtype=bool)
    parts = [*(_pairs(cases, differs[[axis]]).assign(axis=axis) for axis in axes)]
    several = _pairs(cases, differs).assign(axis="")
    parts.append(several[differs.loc[several["case"]].sum(axis=1).to_numpy() > 1])
    table = pd.concat(parts, ignore_index=True)
    log_image_s = log_s - np.log(cases["batch_size"].to_numpy(dtype="float64"))[:, np.newaxis]
    logs = log_image_s[table["base"]] - log_image_s[table["case"]]
    known = ~np.isnan(logs).all(axis=1)
    table, logs = table[known].reset_index(drop=True), logs[known]
    found = estimate(logs)
    table[[*SPEEDUP]] = bounds(found).T
    table["verdict"] = verdicts(found, margin)
    return SettingPairs(table, logs, ~differs.any(axis=1).to_numpy(dtype=bool))


def _pairs(cases: DataFrame, differs: DataFrame) -> DataFrame:
    """Return each case that differs from the first value of an axis, with the one that does not."""
    same = [axis for axis in SETTING_AXES if axis not in differs]
    keys = cases.groupby([*SIBLING_COLUMNS, "backend", *same], dropna=False, sort=False)
    number, is_base = keys.ngroup().to_numpy(), ~differs.any(axis=1).to_numpy(dtype=bool)
    bases = np.full(len(cases), -1)
    bases[number[is_base]] = np.flatnonzero(is_base)
    case = np.flatnonzero(~is_base & (bases[number] >= 0))
    return DataFrame({"case": case, "base": bases[number[case]]})
