"""How fast a machine lets each case be at best (Williams, Waterman & Patterson 2009, Roofline)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convsweep.results.schema import MACHINE_COLUMNS, ROOFLINE

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from convsweep.analysis.estimates import Array

COMPUTE, CACHE, MEMORY = "compute", "cache", "memory"


class Roof(NamedTuple):
    """The ceilings of one device, dtype and number of threads, as measured."""

    flops_per_s: float
    """The best rate of a matrix product."""
    copies_bytes: Array
    """What each copy reads and writes, from small to large."""
    bytes_per_s: Array
    """Its rate."""

    def bandwidth(
        self, moved_bytes: Array, cold: NDArray[np.bool_]
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Bytes a second for work that moves so many bytes, and whether it stays in the caches.

        As fast as a copy of so many bytes: between two copies on the line that joins their
        logarithms, none slower than a larger one. What is not in a cache to begin with moves as
        fast as the largest copy, and so does what is larger. The caches end halfway to that one;
        a device with one copy has none.
        """
        fastest = np.maximum.accumulate(self.bytes_per_s[::-1])[::-1]
        sizes = np.log(self.copies_bytes)
        rates = np.exp(np.interp(np.log(moved_bytes), sizes, np.log(fastest)))
        in_cache = ~cold & (np.log(moved_bytes) < sizes[-2:].mean()) & (len(sizes) > 1)
        return np.where(cold, fastest[-1], rates), np.asarray(in_cache)


def roofs(ceilings: DataFrame) -> dict[tuple[object, ...], Roof]:
    """The roof of each machine, by its `MACHINE_COLUMNS`; only where both ceilings were measured.

    Args:
        ceilings: a summary's rows whose `role` is `ROOFLINE`.
    """
    found = {}
    timed = ceilings[ceilings["median_s"].notna()]
    for key, rows in timed.groupby(list(MACHINE_COLUMNS), sort=False):
        products, copies = rows[rows["backend"] == "matmul"], rows[rows["backend"] == "copy"]
        if products.empty or copies.empty:
            continue
        copies = copies.sort_values("min_bytes")
        moved = copies["min_bytes"].to_numpy(dtype="float64")
        rates = moved / copies["median_s"].to_numpy(dtype="float64")
        found[key] = Roof(float(products["flops_per_s"].max()), moved, rates)
    return found


def attainable(summary: DataFrame) -> DataFrame:
    """Columns `attainable_flops_per_s, roofline_fraction, bound` for each row of a summary.

    The work is what the strategy itself multiplies and moves, so that one that multiplies less is
    held to a lower roof, and never reaches more than all of it by its arithmetic alone. Missing
    where the machine's ceilings, or what the strategy moves, are not known.
    """
    told = pd.DataFrame(
        {"attainable_flops_per_s": np.nan, "roofline_fraction": np.nan, "bound": None},
        index=summary.index,
    ).astype({"bound": "string"})
    ceilings = summary["role"].eq(ROOFLINE)
    found = roofs(summary[ceilings])
    for key, rows in summary[~ceilings].groupby(list(MACHINE_COLUMNS), sort=False):
        if key in found:
            flops, moved = 2 * _numbers(rows["backend_macs"]), _numbers(rows["backend_bytes"])
            least_s, bound = limits(found[key], flops, moved, rows["cache"].eq("cold").to_numpy())
            told.loc[rows.index, "attainable_flops_per_s"] = flops / least_s
            told.loc[rows.index, "roofline_fraction"] = least_s / rows["median_s"]
            told.loc[rows.index, "bound"] = bound
    return told


def _numbers(column: Series[Any]) -> Array:
    return np.asarray(column.astype("Float64").to_numpy(dtype="float64", na_value=np.nan))


def limits(
    roof: Roof, flops: Array, moved_bytes: Array, cold: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.object_]]:
    """The least seconds that work takes under a roof, and what bounds it; NaN, None if unknown."""
    bytes_per_s, in_cache = roof.bandwidth(moved_bytes, cold)
    compute_s, move_s = flops / roof.flops_per_s, moved_bytes / bytes_per_s
    bound = np.where(compute_s >= move_s, COMPUTE, np.where(in_cache, CACHE, MEMORY)).astype(object)
    bound[np.isnan(compute_s) | np.isnan(move_s)] = None
    return np.maximum(compute_s, move_s), bound
