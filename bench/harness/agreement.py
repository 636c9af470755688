"""Agreement of the timing tools, computed from `tools.csv`."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

OURS, RIVAL = "convsweep", "pytest-benchmark"


def load(path: Path) -> DataFrame:
    """Return the rows of `tools.csv`. Raises `ValueError` if there are none."""
    if not path.is_file():
        raise ValueError(f"{str(path)!r} does not exist; run `python -m bench.harness.tools` first")
    rows = pd.read_csv(path)
    if rows.empty:
        raise ValueError(f"{str(path)!r} has no rows; run `python -m bench.harness.tools`")
    return rows


def changes(rows: DataFrame) -> DataFrame:
    """Return columns tool, pair and change: |log speedup ratio| per two runs of a tool."""
    differences = [
        {"tool": tool, "pair": pair, "change": abs(float(np.log(one / other)))}
        for (tool, pair), runs in rows.groupby(["tool", "pair"], sort=False)
        for one, other in combinations(runs["speedup"], 2)
    ]
    return pd.DataFrame(differences, columns=["tool", "pair", "change"]).astype({"change": float})


def answers(rows: DataFrame) -> DataFrame:
    """Return median speedups over runs: one row per pair, one column per tool."""
    table = rows.pivot_table(
        index="pair", columns="tool", values="speedup", aggfunc="median", sort=False
    )
    return table[tool_names(rows)]


def tool_names(rows: DataFrame) -> list[str]:
    """Return tool names: convsweep first, then the slowest tool first."""
    cost = rows.groupby("tool")["run_s"].median().sort_values(ascending=False)
    return sorted(cost.index, key=lambda name: name != OURS)


def by_tool(rows: DataFrame) -> DataFrame:
    """Return one row per tool: `runs, run_s, median_change, p95_change, mean_speedup`.

    Changes are NaN with a single run. The mean speedup is geometric, over the pairs.
    """
    by_tool_changes = changes(rows).groupby("tool")["change"]
    speedups = answers(rows)
    table = DataFrame(index=pd.Index(tool_names(rows), name="tool"))
    table["runs"] = rows.groupby("tool")["round"].nunique()
    table["run_s"] = rows.drop_duplicates(["tool", "round"]).groupby("tool")["run_s"].median()
    table["median_change"] = by_tool_changes.median()
    table["p95_change"] = by_tool_changes.quantile(0.95)
    table["mean_speedup"] = np.exp(np.log(speedups).mean())
    return table


class Disagreement(NamedTuple):
    """Pair with the widest disagreement between tools."""

    pair: str
    lowest: str
    low: float
    highest: str
    high: float


def widest_disagreement(rows: DataFrame) -> Disagreement:
    """Return the pair with the largest ratio of highest to lowest speedup."""
    speedups = answers(rows)
    pair = str((speedups.max(axis=1) / speedups.min(axis=1)).idxmax())
    row = speedups.loc[pair]
    return Disagreement(pair, str(row.idxmin()), row.min(), str(row.idxmax()), row.max())


class IntervalCount(NamedTuple):
    """Number of intervals that cover the median of all runs."""

    covering: int
    intervals: int


def count_covering(rows: DataFrame) -> IntervalCount:
    """Count convsweep's intervals that cover the median of convsweep's runs."""
    ours = rows[(rows["tool"] == OURS) & rows["ci_low"].notna() & rows["ci_high"].notna()]
    median = ours.groupby("pair")["speedup"].transform("median")
    covering = (ours["ci_low"] <= median) & (median <= ours["ci_high"])
    return IntervalCount(int(covering.sum()), len(ours))
