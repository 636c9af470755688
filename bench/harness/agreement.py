"""Agreement of the timing tools, computed from `tools.csv`."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from bench.harness.pairs import PAIR_SETS

OURS, RIVAL = "convsweep", "pytest-benchmark"
KEYS = ["pairs", "seconds", "tool"]
SHARES = ("timing_share", "timing_and_warm_up_share")


def load(path: Path) -> DataFrame:
    """Return the rows of `tools.csv`, by set of pairs. Raises `ValueError` if there are none."""
    if not path.is_file():
        raise ValueError(f"{str(path)!r} does not exist; run `python -m bench.harness.tools` first")
    rows = pd.read_csv(path)
    if rows.empty:
        raise ValueError(f"{str(path)!r} has no rows; run `python -m bench.harness.tools`")
    if missing := {*KEYS, *SHARES} - set(rows):
        raise ValueError(f"{str(path)!r} has no columns {sorted(missing)}; measure it again")
    ranks = {name: rank for rank, name in enumerate(PAIR_SETS)}
    return rows.sort_values("pairs", key=lambda names: names.map(ranks), kind="stable")


def changes(rows: DataFrame) -> DataFrame:
    """Return KEYS, pair and change: |log speedup ratio| per two runs with equal keys."""
    differences = [
        (*key, abs(float(np.log(one / other))))
        for key, runs in rows.groupby([*KEYS, "pair"], sort=False)
        for one, other in combinations(runs["speedup"], 2)
    ]
    found = DataFrame(differences, columns=[*KEYS, "pair", "change"])
    return found.astype({"change": float})


def most_measured(rows: DataFrame) -> DataFrame:
    """Return the first set of pairs at the seconds with most rounds; of several the longest."""
    first = rows[rows["pairs"] == rows["pairs"].iloc[0]]
    rounds = first.groupby("seconds")["round"].nunique()
    return first[first["seconds"] == rounds[rounds == rounds.max()].index.max()]


def answers(rows: DataFrame) -> DataFrame:
    """Return median speedups over runs: one row per pair, one column per tool."""
    table = rows.pivot_table(
        index="pair", columns="tool", values="speedup", aggfunc="median", sort=False
    )
    return table[tool_names(rows)]


def tool_names(rows: DataFrame) -> list[str]:
    """Return tool names: convsweep first, then by name."""
    return sorted(rows["tool"].unique(), key=lambda name: (name != OURS, name))


def by_tool(rows: DataFrame) -> DataFrame:
    """Return one row per KEYS: set of pairs, seconds and tool; those of convsweep first.

    Changes are NaN with a single run, coverage and shares for tools without them. The mean speedup
    is geometric, over the pairs.
    """
    by_key = rows.groupby(KEYS, sort=False)
    runs = rows.drop_duplicates([*KEYS, "round"]).groupby(KEYS, sort=False)
    change = changes(rows).groupby(KEYS)["change"]
    medians = rows.groupby([*KEYS, "pair"])["speedup"].median()
    table = DataFrame(
        {
            "runs": by_key["round"].nunique(),
            "answers": by_key.size(),
            "run_s": runs["run_s"].median(),
            "median_change": change.median(),
            "p95_change": change.quantile(0.95),
            "coverage": covering(rows).groupby([rows[key] for key in KEYS]).mean(),
            **{name: runs[name].mean() for name in SHARES},
            "mean_speedup": np.exp(np.log(medians).groupby(KEYS).mean()),
        }
    ).reset_index()
    ranks = {name: rank for rank, name in enumerate(tool_names(rows))}
    sets = {name: rank for rank, name in enumerate(rows["pairs"].unique())}
    order = {"tool": ranks, "pairs": sets}
    return table.sort_values(
        ["pairs", "tool", "seconds"],
        key=lambda column: column.map(order.get(str(column.name), lambda x: x)),
    ).reset_index(drop=True)


def covering(rows: DataFrame) -> Series[float]:
    """Return 1 if an interval contains the median of the other runs, 0 if not, else NaN.

    That median varies as well: a right interval of 95 % contains the median of seven other runs in
    92 %.
    """
    found = Series(np.nan, index=rows.index)
    for _, runs in rows.groupby([*KEYS, "pair"]):
        known = runs[runs["ci_low"].notna() & runs["ci_high"].notna()]
        for label, run in known.iterrows():
            others = runs.drop(label)["speedup"]
            if len(others):
                found[label] = float(run["ci_low"] <= others.median() <= run["ci_high"])
    return found


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
