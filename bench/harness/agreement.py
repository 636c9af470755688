"""What `tools.csv` description: each tool's answers, how far they move between runs, what they cost."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame

OURS, RIVAL = "convsweep", "pytest-benchmark"


def load(path: Path) -> DataFrame:
    """Every row that was measured; raises `ValueError` where there is none."""
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is not there: run bench.harness.tools first")
    rows = pd.read_csv(path)
    if rows.empty:
        raise ValueError(f"{str(path)!r} has no row")
    return rows


def changes(rows: DataFrame) -> DataFrame:
    """`tool, pair, change` for every two runs of a tool: |log of the ratio of their speedups|."""
    found = [
        {"tool": tool, "pair": pair, "change": abs(float(np.log(one / other)))}
        for (tool, pair), runs in rows.groupby(["tool", "pair"], sort=False)
        for one, other in combinations(runs["speedup"], 2)
    ]
    return pd.DataFrame(found, columns=["tool", "pair", "change"]).astype({"change": float})


def answers(rows: DataFrame) -> DataFrame:
    """The median speedup over runs: a row a pair, a column a tool."""
    table = rows.pivot_table(
        index="pair", columns="tool", values="speedup", aggfunc="median", sort=False
    )
    return table[tool_names(rows)]


def tool_names(rows: DataFrame) -> list[str]:
    """The tools, ours first, the others by how long a run takes."""
    cost = rows.groupby("tool")["run_s"].median().sort_values(ascending=False)
    return sorted(cost.index, key=lambda name: name != OURS)


def by_tool(rows: DataFrame) -> DataFrame:
    """One row a tool: `runs, run_s, median_change, p95_change, mean_speedup`.

    A change is NaN with one run; the mean speedup is geometric, over the pairs' answers.
    """
    moved = changes(rows).groupby("tool")["change"]
    said = answers(rows)
    table = DataFrame(index=pd.Index(tool_names(rows), name="tool"))
    table["runs"] = rows.groupby("tool")["round"].nunique()
    table["run_s"] = rows.drop_duplicates(["tool", "round"]).groupby("tool")["run_s"].median()
    table["median_change"] = moved.median()
    table["p95_change"] = moved.quantile(0.95)
    table["mean_speedup"] = np.exp(np.log(said).mean())
    return table


class Disagreement(NamedTuple):
    """The pair that the tools agree on least."""

    pair: str
    lowest: str
    low: float
    highest: str
    high: float


def widest_disagreement(rows: DataFrame) -> Disagreement:
    """Where the highest answer is most above the lowest."""
    said = answers(rows)
    pair = str((said.max(axis=1) / said.min(axis=1)).idxmax())
    row = said.loc[pair]
    return Disagreement(pair, str(row.idxmin()), row.min(), str(row.idxmax()), row.max())


class IntervalCount(NamedTuple):
    """Of so many intervals, how many hold the median of all runs."""

    held: int
    intervals: int


def count_covering(rows: DataFrame) -> IntervalCount:
    """Our intervals against the medians of our own runs: how true they are from run to run."""
    ours = rows[(rows["tool"] == OURS) & rows["ci_low"].notna() & rows["ci_high"].notna()]
    median = ours.groupby("pair")["speedup"].transform("median")
    held = (ours["ci_low"] <= median) & (median <= ours["ci_high"])
    return IntervalCount(int(held.sum()), len(ours))
