"""Table and sentences of `convsweep best`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from convsweep import formatting
from convsweep.analysis.best_backend import BestBackends
from convsweep.problems.separable import SEPARABLE
from convsweep.report.tables import Table, by_setting

if TYPE_CHECKING:
    from pandas import DataFrame


def best_table(table: DataFrame) -> Table:
    """The rows for readers: who, how fast, ahead of whom, by how much, and how exact."""
    rows: list[tuple[str, ...]] = [
        (
            row["setting"],
            row["label"],
            row["backend"],
            formatting.time(row["median_s"], row["ci_low_s"], row["ci_high_s"]),
            _over_second(row),
            _speedup(row),
            f"{row['relative_err']:.1e}" if row["relative_err"] >= 0 else "",
        )
        for row in table.to_dict("records")
    ]
    numbers = ("time [95 %]", "over the second [95 %]", "speedup [95 %]", "relative error")
    heads = ("setting", "problem", "fastest", *numbers)
    return by_setting(heads, rows, set(numbers))


def _over_second(row: Mapping[Any, Any]) -> str:
    """`1.31 [1.28, 1.34] im2col`, with a question mark where it is not decided."""
    if pd.isna(row["second"]):
        return ""
    ends = (
        row["speedup_over_second"],
        row["speedup_over_second_ci_low"],
        row["speedup_over_second_ci_high"],
    )
    return f"{formatting.interval(*ends)} {row['second']}{'' if row['significant'] else ' ?'}"


def _speedup(row: Mapping[Any, Any]) -> str:
    if row["backend"] == row["baseline"]:
        return "baseline"
    ends = (row["speedup"], row["speedup_ci_low"], row["speedup_ci_high"])
    return "" if pd.isna(row["speedup"]) else formatting.interval(*ends)


def sentences(found: BestBackends) -> list[str]:
    """How often each backend is the fastest, how many leads are sure, and what has no row."""
    table = found.table
    sure, contested = (
        int(table["significant"].fillna(False).sum()),
        int(table["second"].notna().sum()),
    )
    wins = table["backend"].value_counts()
    said = [
        f"Of {formatting.count(len(table), 'problem')} the fastest is "
        f"{formatting.join([f'{name} in {count}' for name, count in wins.items()])}; "
        f"{sure} of {formatting.count(contested, 'lead')} over the second "
        f"{'is' if sure == 1 else 'are'} sure, ? marks the others."
    ]
    if SEPARABLE in wins:
        said.append(
            f"{SEPARABLE} takes weights that factor, as the ones measured; a model's own do not."
        )
    if found.left_out:
        what = formatting.count(len(found.left_out), "problem")
        said.append(f"Left out: {what}, of which no backend is within the largest error.")
    return said
