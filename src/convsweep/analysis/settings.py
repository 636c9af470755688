"""Settings compared: the same backend on the same layer in two dtypes, batch sizes and so on."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

from convsweep.analysis.cases import number_rows
from convsweep.analysis.estimates import Array, Interval, bounds, equal_mean, estimate, interval
from convsweep.analysis.labels import name_setting
from convsweep.analysis.run import Run
from convsweep.analysis.verdicts import verdicts
from convsweep.problems.case import BLOCKS, CACHES, DIRECTIONS, DTYPES, MEMORY_FORMATS
from convsweep.results.schema import BATCH_SIZE, MARGIN, SETTING_AXES, SIBLING_COLUMNS

_VALUES = (*DTYPES, *MEMORY_FORMATS, *CACHES, *DIRECTIONS, *BLOCKS)
_ORDER = {value: place for place, value in enumerate(_VALUES)}
WORK_AXES = ("direction", "block")
"""Axes whose values are other work, not another way to do the same."""
SETTING_SPEEDUP = ("setting_speedup", "setting_speedup_ci_low", "setting_speedup_ci_high")


class SettingPairs(NamedTuple):
    """Speedups of settings: seconds per image in one setting / in another, paired by pass."""

    table: DataFrame
    """Positions `case` and `base`, the `axis` in which they differ (empty: several), whether `base`
    is in the first setting of the same work (`to_first`), `SETTING_SPEEDUP` over it, and its
    `verdict`."""
    log_speedup: Array  # (pairs, passes)


class SettingSpeedup(NamedTuple):
    """One value of an axis against the first one: geometric mean over problems."""

    axis: str
    value: str
    first: str
    backend: str
    others: str  # the values of the other axes, such as `contiguous, 1 thread`
    speedup: Interval
    verdicts: Counter[str]  # problems per verdict, corrected for all pairs of the run


def varied(cases: DataFrame) -> dict[str, list[Any]]:
    """Return the values, the first one first, of each axis in which siblings differ."""
    counts = cases[[*SETTING_AXES]].groupby(number_rows(cases, SIBLING_COLUMNS)).nunique().max()
    return {
        axis: sorted(set(cases[axis]), key=lambda value: (_ORDER.get(value, 0), value))
        for axis in SETTING_AXES
        if counts[axis] > 1
    }


def pair_settings(cases: DataFrame, log_s: Array, margin: float = MARGIN) -> SettingPairs:
    """Pair timed cases with those of the first value of one axis, and of all that are not work.

    Verdicts are corrected for the number of all pairs. `log_s` are the logarithms of the seconds,
    (cases, passes).
    """
    axes = varied(cases)
    differs = DataFrame(index=range(len(cases)))
    for axis, values in axes.items():
        differs[axis] = cases[axis].ne(values[0]).to_numpy(dtype=bool)
    ways = differs.drop(columns=[axis for axis in WORK_AXES if axis in differs])
    several = _pairs(cases, ways).assign(axis="")
    several = several[ways.loc[several["case"]].sum(axis=1).to_numpy() > 1]
    parts = (_pairs(cases, differs[[axis]]).assign(axis=axis) for axis in axes)
    table = pd.concat([*parts, several], ignore_index=True)
    is_first = ~ways.any(axis=1).to_numpy(dtype=bool)
    table["to_first"] = is_first[table["base"]] & ~table["axis"].isin(WORK_AXES)
    log_image_s = log_s - np.log(cases[BATCH_SIZE].to_numpy(dtype="float64"))[:, np.newaxis]
    logs = log_image_s[table["base"]] - log_image_s[table["case"]]
    known = ~np.isnan(logs).all(axis=1)
    table, logs = table[known].reset_index(drop=True), logs[known]
    found = estimate(logs)
    table[[*SETTING_SPEEDUP]] = bounds(found).T
    table["verdict"] = verdicts(found, margin)
    return SettingPairs(table, logs)


def _pairs(cases: DataFrame, differs: DataFrame) -> DataFrame:
    """Return each case that differs from the first value of an axis, with the one that does not."""
    same = [axis for axis in SETTING_AXES if axis not in differs]
    number = number_rows(cases, [*SIBLING_COLUMNS, "backend", *same])
    is_base = ~differs.any(axis=1).to_numpy(dtype=bool)
    bases = np.full(len(cases), -1)
    bases[number[is_base]] = np.flatnonzero(is_base)
    case = np.flatnonzero(~is_base & (bases[number] >= 0))
    return DataFrame({"case": case, "base": bases[number[case]]})


def setting_speedups(run: Run) -> list[SettingSpeedup]:
    """Return the mean speedup per value, backend, and values of the other axes."""
    cases = run.cases[run.cases["status"] == "ok"].reset_index(drop=True)
    axes, pairs = varied(cases), pair_settings(cases, run.log_s(cases), run.margin)
    orders = axes | {"backend": run.backends}
    own = cases.loc[pairs.table["case"]].reset_index(drop=True)
    own = own.assign(**{name: pd.Categorical(own[name], orders[name]) for name in orders})
    in_means = own["label"].isin(run.for_means.cases["label"])
    found = []
    for axis, values in axes.items():
        others = [name for name in axes if name not in (axis, BATCH_SIZE)]
        of_axis = own[in_means & pairs.table["axis"].eq(axis)]
        groups = of_axis.groupby([*others, axis, "backend"], observed=True)
        for (*chosen, value, backend), part in groups:
            name, first = (name_setting(axis, one) for one in (value, values[0]))
            rest = ", ".join(map(name_setting, others, chosen))
            mean = interval(equal_mean(pairs.log_speedup[part.index]))
            counts = Counter(pairs.table.loc[part.index, "verdict"])
            found.append(SettingSpeedup(axis, name, first, str(backend), rest, mean, counts))
    return found
