"""Roofline model (Williams, Waterman & Patterson 2009): attainable rates and efficiencies."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from convsweep.analysis.estimates import Array, Interval, equal_mean, interval
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import SeparableComparison
from convsweep.problems.separable import SEPARABLE_PARTS
from convsweep.results.schema import MACHINE_COLUMNS, ROOFLINE

COMPUTE, CACHE, MEMORY = "compute", "cache", "memory"


class Roof(NamedTuple):
    """Measured roofline of one device, dtype and number of threads."""

    flops_per_s: float  # rate of the best matrix product
    copies_bytes: Array  # bytes that each copy reads and writes, ascending
    bytes_per_s: Array  # rate of each copy

    def bandwidth(
        self, moved_bytes: Array, cold: NDArray[np.bool_]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return bytes per second for work that moves `moved_bytes`, and whether it fits caches.

        Rates are those of copies of as many bytes, interpolated between their logarithms, none
        slower than that of a larger copy. Cold or larger data move at the rate of the largest
        copy. Caches end halfway to the largest copy; a device with one copy has none.
        """
        fastest = np.maximum.accumulate(self.bytes_per_s[::-1])[::-1]
        sizes = np.log(self.copies_bytes)
        rates = np.exp(np.interp(np.log(moved_bytes), sizes, np.log(fastest)))
        in_cache = ~cold & (np.log(moved_bytes) < sizes[-2:].mean()) & (len(sizes) > 1)
        return np.where(cold, fastest[-1], rates), np.asarray(in_cache)


def roofs(ceilings: DataFrame) -> dict[tuple[object, ...], Roof]:
    """Return the measured roofline of each machine, by its `MACHINE_COLUMNS`."""
    found = {}
    timed = ceilings[ceilings["time_s"].notna()]
    for key, rows in timed.groupby(list(MACHINE_COLUMNS), sort=False):
        products, copies = rows[rows["backend"] == "matmul"], rows[rows["backend"] == "copy"]
        if products.empty or copies.empty:
            continue
        copies = copies.sort_values("min_bytes")
        moved = copies["min_bytes"].to_numpy(dtype="float64")
        rates = moved / copies["time_s"].to_numpy(dtype="float64")
        found[key] = Roof(float(products["flops_per_s"].max()), moved, rates)
    return found


def attainable(summary: DataFrame) -> DataFrame:
    """Return `attainable_flops_per_s, roofline_fraction, bound` for each row of a summary.

    MACs and bytes are those of the backend itself, so fewer MACs do not raise the fraction.
    Missing if the roofline or the bytes of the backend are unknown.
    """
    found = pd.DataFrame(
        {"attainable_flops_per_s": np.nan, "roofline_fraction": np.nan, "bound": None},
        index=summary.index,
    ).astype({"bound": "string"})
    ceilings = summary["role"].eq(ROOFLINE)
    by_machine = roofs(summary[ceilings])
    for key, rows in summary[~ceilings].groupby(list(MACHINE_COLUMNS), sort=False):
        if key in by_machine:
            flops, moved = 2 * _numbers(rows["backend_macs"]), _numbers(rows["backend_bytes"])
            least_s, bound = limits(
                by_machine[key], flops, moved, rows["cache"].eq("cold").to_numpy()
            )
            found.loc[rows.index, "attainable_flops_per_s"] = flops / least_s
            found.loc[rows.index, "roofline_fraction"] = least_s / rows["time_s"]
            found.loc[rows.index, "bound"] = bound
    return found


def _numbers(column: "Series[Any]") -> Array:
    return np.asarray(column.astype("Float64").to_numpy(dtype="float64", na_value=np.nan))


def limits(
    roof: Roof, flops: Array, moved_bytes: Array, cold: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.object_]]:
    """Return the least seconds of work under a roofline, and its bound; NaN and None if unknown."""
    bytes_per_s, in_cache = roof.bandwidth(moved_bytes, cold)
    compute_s, move_s = flops / roof.flops_per_s, moved_bytes / bytes_per_s
    bound = np.where(compute_s >= move_s, COMPUTE, np.where(in_cache, CACHE, MEMORY)).astype(object)
    bound[np.isnan(compute_s) | np.isnan(move_s)] = None
    return np.maximum(compute_s, move_s), bound


class RooflineEfficiency(NamedTuple):
    """Share of the attainable rate over the problems of one setting: mean and extremes."""

    name: str  # the backend, or `depthwise part`, `pointwise part`
    efficiency: Interval  # geometric mean over the problems
    least: float
    most: float
    bounds: dict[str, int]  # number of problems by bound
    problems: int


def roofline_efficiencies(run: Run, comparison: SeparableComparison) -> list[RooflineEfficiency]:
    """Return the efficiency of every backend, then of the parts, if their rooflines are known.

    A part counts once per problem that it is a part of.
    """
    points = {name: known_points(run.cases[run.cases["backend"] == name]) for name in run.backends}
    if len(run.separable_parts):
        timed = known_points(run.separable_parts).drop_duplicates(["layer", "problem"])
        by_part = timed.set_index(["layer", "problem"], drop=False)
        problems = [r.problem for r in comparison.replacements if r.is_timed]
        for name, part_of in SEPARABLE_PARTS.items():
            keys = [(name, part_of(problem).label) for problem in problems]
            points[f"{name} part"] = by_part.loc[[key for key in keys if key in by_part.index]]
    return [_efficiency(run, name, rows) for name, rows in points.items() if len(rows)]


def known_points(rows: DataFrame) -> DataFrame:
    """Return the rows with a rate and a roofline, as points under it.

    Adds `intensity` (FLOPs per byte) and `rate` (FLOP/s) of what the backend itself computes.
    """
    if rows.empty:
        return rows
    known = rows[rows["roofline_fraction"].notna() & (rows["status"] == "ok")]
    flops = 2 * known["backend_macs"].astype("float64")
    return known.assign(
        intensity=flops / known["backend_bytes"].astype("float64"), rate=flops / known["time_s"]
    )


def _efficiency(run: Run, name: str, rows: DataFrame) -> RooflineEfficiency:
    attainable_s = (rows["roofline_fraction"] * rows["time_s"]).to_numpy(dtype="float64")
    logs = np.log(attainable_s)[:, np.newaxis] - run.log_s(rows)
    return RooflineEfficiency(
        name,
        interval(equal_mean(logs)),
        float(rows["roofline_fraction"].min()),
        float(rows["roofline_fraction"].max()),
        {str(bound): int(n) for bound, n in rows["bound"].value_counts().items()},
        len(rows),
    )
