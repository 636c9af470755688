"""Table and sentences of `convsweep best`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.best_backend import BestBackends
from convsweep.analysis.summary import TIME, interval_of
from convsweep.problems.separable import SEPARABLE
from convsweep.report.table import Table


def best_table(table: DataFrame) -> Table:
    """Return one row per problem: fastest backend, its time, lead, speedup and error."""
    rows: list[tuple[str, ...]] = [
        (row["setting"], row["label"], row["backend"],
         formatting.time(*interval_of(row, TIME)), _lead(row),
         "baseline" if row["backend"] == row["baseline"] else _ratio(row, "speedup"),
         formatting.error(row["relative_err"]))
        for row in table.to_dict("records")
    ]  # fmt: skip
    numbers = ("time (95 %)", "over the second (95 %)", "speedup (95 %)", "relative error")
    return Table.by_setting(("setting", "problem", "fastest", *numbers), rows, numbers)


def _lead(row: Mapping[Any, Any]) -> str:
    """Return `1.31x (1.28-1.34) im2col`, with a question mark unless it is significant."""
    if pd.isna(row["second"]):
        return ""
    mark = "" if row["significant"] else " ?"
    return f"{_ratio(row, 'speedup_over_second')} {row['second']}{mark}"


def _ratio(row: Mapping[Any, Any], name: str) -> str:
    ends = (row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"])
    return "" if pd.isna(row[name]) else formatting.speedup(*ends)


def sentences(found: BestBackends) -> list[str]:
    """Return how often each backend is fastest, significant leads, and problems left out."""
    table = found.table
    wins = table["backend"].value_counts()
    counts = "".join(f", {name} in {count}" for name, count in wins.items())
    lines = [
        f"Fastest backend of {formatting.count(len(table), 'problem')}{counts}.",
        f"Significant leads over the second: {table['significant'].fillna(False).sum()} of "
        f"{table['second'].notna().sum()}; ? marks the others.",
    ]
    if SEPARABLE in wins:
        lines.append(f"{SEPARABLE} needs weights that factor; those of a trained model do not.")
    if found.left_out:
        left_out = formatting.count(len(found.left_out), "problem")
        lines.append(f"Left out: {left_out} without a backend within the largest error.")
    return lines
