"""Settings of a run compared: mean speedups, the best one per problem, images per second."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from convsweep.analysis.best_backend import best_backends
from convsweep.analysis.estimates import UNKNOWN, Interval, equal_mean, estimate, interval
from convsweep.analysis.labels import name_setting
from convsweep.analysis.run import Run
from convsweep.analysis.setting_pairs import pair_settings, varied
from convsweep.results.schema import SIBLING_COLUMNS

_ONE_PROBLEM = ("environment_id", "driver", "label")


class SettingSpeedup(NamedTuple):
    """One value of an axis against its first value: geometric mean over problems."""

    axis: str
    value: str
    first: str
    backend: str
    others: str
    """The values of the other axes that vary, such as `contiguous, 1 thread`."""
    speedup: Interval
    problems: int
    verdicts: Counter[str]
    """Problems per verdict, corrected for all pairs of settings in the run."""


class BestSetting(NamedTuple):
    """Fastest backend and setting of one problem."""

    label: str
    backend: str
    setting: str
    time: Interval
    speedup: Interval
    """Over the fastest backend in the first setting."""
    relative_err: float
    significant: bool
    """Whether it is faster than all others, corrected for the number of problems."""


class BatchRates(NamedTuple):
    """Images per second of one backend on one layer, by batch size."""

    setting: str
    label: str
    backend: str
    images_per_s: dict[int, Interval]

    @property
    def best(self) -> int:
        """The batch size with the most images per second."""
        return max(self.images_per_s, key=lambda size: self.images_per_s[size].value)


def setting_speedups(run: Run) -> list[SettingSpeedup]:
    """Return the mean speedup per value, backend, and values of the other axes."""
    cases = run.cases[run.cases["status"] == "ok"].reset_index(drop=True)
    axes, pairs = varied(cases), pair_settings(cases, run.log_s(cases), run.margin)
    own = cases.loc[pairs.table["case"]].reset_index(drop=True)
    in_means = own["label"].isin(run.without_fully_connected.cases["label"])
    found = []
    for axis, values in axes.items():
        others = [name for name in axes if name not in (axis, "batch_size")]
        names = [*others, axis]
        of_axis = own[in_means & pairs.table["axis"].eq(axis)]
        groups: Mapping[Any, Any] = of_axis.groupby([*names, "backend"]).groups
        orders = [*(axes[name] for name in names), run.backends]
        for *chosen, value, backend in sorted(
            groups, key=lambda key: [order.index(v) for order, v in zip(orders, key, strict=True)]
        ):
            rows = groups[*chosen, value, backend]
            found.append(
                SettingSpeedup(
                    axis,
                    name_setting(axis, value),
                    name_setting(axis, values[0]),
                    str(backend),
                    ", ".join(map(name_setting, others, chosen)),
                    interval(equal_mean(pairs.log_speedup[rows])),
                    len(rows),
                    Counter(pairs.table.loc[rows, "verdict"]),
                )
            )
    return found


def best_settings(run: Run) -> list[BestSetting]:
    """Return the fastest setting of each problem, with the first cache state.

    Returns nothing if no dtype, memory format, number of threads or device varies.
    """
    cases = run.cases[run.cases["status"] == "ok"]
    axes = varied(cases)
    if "cache" in axes:  # nobody chooses it
        cases = cases[cases["cache"] == axes["cache"][0]]
    axes = {name: own for name, own in axes.items() if name not in ("cache", "batch_size")}
    if not axes:
        return []
    is_first = cases[[*axes]].eq([own[0] for own in axes.values()]).all(axis=1)
    found = []
    for _, row in best_backends(run._replace(cases=cases), by=_ONE_PROBLEM).iterrows():
        same = cases[[*_ONE_PROBLEM]].eq(row[[*_ONE_PROBLEM]]).all(axis=1)
        fastest, speedup = cases[is_first & same].nsmallest(1, "median_s"), UNKNOWN
        if len(fastest):
            logs = run.log_s(fastest) - run.log_s(row.to_frame().T)
            speedup = interval(estimate(logs[0]))
        found.append(
            BestSetting(
                str(row["label"]),
                str(row["backend"]),
                ", ".join(name_setting(name, row[name]) for name in axes),
                _time(row),
                speedup,
                float(row["relative_err"]) if pd.notna(row["relative_err"]) else math.nan,
                bool(row["significant"]) if pd.notna(row["significant"]) else False,
            )
        )
    return found


def batch_rates(run: Run) -> list[BatchRates]:
    """Return the images per second of each backend and layer with several batch sizes."""
    cases = run.cases[run.cases["status"] == "ok"]
    others = [axis for axis in varied(cases) if axis != "batch_size"]
    found = []
    keys = [*others, *SIBLING_COLUMNS, "backend"]
    for _, own in cases.groupby(keys, dropna=False, sort=False):
        if len(own) > 1:
            first = own.iloc[0]
            words = first["label"].split()
            rates = {int(row["batch_size"]): _rate(row) for _, row in own.iterrows()}
            found.append(
                BatchRates(
                    ", ".join(name_setting(axis, first[axis]) for axis in others),
                    " ".join(word for word in words if word != f"N{first['batch_size']}"),
                    str(first["backend"]),
                    dict(sorted(rates.items())),
                )
            )
    return found


def _time(row: Any) -> Interval:
    return Interval(row["median_s"], row["ci_low_s"], row["ci_high_s"])


def _rate(row: Any) -> Interval:
    size, (value, low, high) = int(row["batch_size"]), _time(row)
    return Interval(size / value, size / high, size / low)
