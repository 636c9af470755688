"""Table and sentences of `convsweep best`."""

import pandas as pd
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.best_backend import BestBackends
from convsweep.analysis.summary import SPEEDUP, interval_of
from convsweep.problems.separable import SEPARABLE
from convsweep.report.table import Table

_MAX_LABEL = 28
_MAX_NAMES = 4


def best_table(table: DataFrame) -> Table:
    """Return one row per problem: fastest backend, its time, speedup, and lead."""
    rows: list[tuple[str, ...]] = []
    for row in table.to_dict("records"):
        names = (row["setting"], formatting.shorten(row["label"], _MAX_LABEL), row["backend"])
        speedup = "" if pd.isna(row["speedup"]) else formatting.speedup(*interval_of(row, SPEEDUP))
        is_baseline = row["backend"] == row["baseline"]
        lead = ""
        if pd.notna(row["second"]):
            mark = "" if row["significant"] else "?"
            lead = f"{formatting.speedup(row['speedup_over_second'])}{mark} {row['second']}"
        rows.append((*names, formatting.seconds(row["time_s"]),
                     "baseline" if is_baseline else speedup, lead))  # fmt: skip
    heads = ("setting", "problem", "fastest", "time", "speedup (95 %)", "over the second")
    return Table.by_setting(heads, rows, heads[3:])


def name_problems(table: DataFrame) -> str:
    """Return `8 problems in 4 settings`; a single setting is not named."""
    settings = table["setting"].nunique()
    problems = formatting.count(table["label"].nunique(), "problem")
    return f"{problems} in {settings} settings" if settings > 1 else problems


def sentences(found: BestBackends) -> list[str]:
    """Return how often each backend is fastest, significant leads, and problems left out."""
    table = found.table
    wins = table["backend"].value_counts()
    counts = [f"{name} in {count}" for name, count in wins.head(_MAX_NAMES).items()]
    if others := wins.iloc[_MAX_NAMES:].sum():
        counts.append(f"others in {others}")
    lines = [
        f"Fastest backend of {name_problems(table)}: {formatting.join(counts)}.",
        f"Significant leads over the second: {table['significant'].fillna(False).sum()} of "
        f"{table['second'].notna().sum()}; ? marks the others.",
    ]
    if SEPARABLE in wins:
        lines.append(f"{SEPARABLE} needs weights that factor; those of a trained model do not.")
    if found.left_out:
        left_out = formatting.count(len(found.left_out), "problem")
        lines.append(f"Left out: {left_out} without a backend within the largest error.")
    return lines
