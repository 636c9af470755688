"""How near each backend comes to the machine's ceilings, over the problems of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import Interval, interval, weighted_mean
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Replacement, compare_separable
from convsweep.problems.separable import SEPARABLE_PARTS

if TYPE_CHECKING:
    from pandas import DataFrame


class RooflineEfficiency(NamedTuple):
    """A geometric mean over problems, and where its ends are."""

    name: str
    """The backend, or `depthwise half`, `pointwise half`."""
    efficiency: Interval
    """Share of the attainable rate."""
    least: float
    most: float
    bounds: dict[str, int]
    """How many problems are bound by what."""
    problems: int


def roofline_efficiencies(run: Run) -> list[RooflineEfficiency]:
    """Every backend of one setting, then the halves; those whose ceilings are known.

    A half counts once for each problem that it is a half of, as in every sentence on halves.
    """
    parts = {name: run.cases[run.cases["backend"] == name] for name in run.backends}
    known = {name: known_points(rows) for name, rows in parts.items()}
    if len(run.separable_parts):
        known |= _parts_by_problem(run)
    return [_roofline_efficiency(run, name, rows) for name, rows in known.items() if len(rows)]


def _parts_by_problem(run: Run) -> dict[str, DataFrame]:
    """The rows of each half, once for every problem whose replacement was timed with both."""
    timed = known_points(run.separable_parts).drop_duplicates(["layer", "problem"])
    by_half = timed.set_index(["layer", "problem"], drop=False)
    problems = [r.problem for r in compare_separable(run).replacements if _is_timed(r)]
    found = {}
    for name, half in SEPARABLE_PARTS.items():
        keys = [(name, half(problem).label) for problem in problems]
        found[f"{name} half"] = by_half.loc[[key for key in keys if key in by_half.index]]
    return found


def _is_timed(replacement: Replacement) -> bool:
    return not np.isnan(replacement.shares["rest"].value)


def known_points(rows: DataFrame) -> DataFrame:
    """The rows whose rate is known and held to a ceiling, with their place under it.

    Columns `intensity` (flops a byte at best) and `rate` (flop/s), of what the backend itself
    multiplies and moves.
    """
    if rows.empty:
        return rows
    known = rows[rows["roofline_fraction"].notna() & (rows["status"] == "ok")]
    flops = 2 * known["backend_macs"].astype("float64")
    return known.assign(
        intensity=flops / known["backend_bytes"].astype("float64"), rate=flops / known["median_s"]
    )


def _roofline_efficiency(run: Run, name: str, rows: DataFrame) -> RooflineEfficiency:
    keys = pd.MultiIndex.from_frame(rows[["setting", "label", "backend"]])
    log_s = np.log(run.pass_times.loc[keys].to_numpy(dtype="float64"))
    attainable_s = (rows["roofline_fraction"] * rows["median_s"]).to_numpy(dtype="float64")
    logs = np.log(attainable_s)[:, np.newaxis] - log_s
    return RooflineEfficiency(
        name,
        interval(weighted_mean(logs, np.full(len(rows), 1 / len(rows)))),
        float(rows["roofline_fraction"].min()),
        float(rows["roofline_fraction"].max()),
        {str(bound): int(n) for bound, n in rows["bound"].value_counts().items()},
        len(rows),
    )
