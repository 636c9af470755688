"""best.csv: the fastest backend per problem and setting, written in one step."""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from convsweep.results.csv_table import columns_of, parse_column, to_frame
from convsweep.results.files import open_checked, replace_file, spreadsheet_csv

if TYPE_CHECKING:
    from pandas import DataFrame

BEST = "best.csv"
MACHINE = {"cpu": "machine", "cores_logical": "machine", "torch": "versions",
           "convsweep": "versions"}  # fmt: skip
"""Columns that describe the machine, and the part of environment.json that has their values."""
LEAD = ("second", "speedup_over_second", "speedup_over_second_ci_low",
        "speedup_over_second_ci_high", "significant")  # fmt: skip
"""Columns that compare the fastest backend with the second fastest."""
_LARGEST_FILE = 67_108_864  # bytes


@dataclass(frozen=True, kw_only=True)
class BestRow:
    """Fastest backend of one problem and setting. Numbers are at least 0."""

    run_id: str | None
    environment_id: str | None
    cpu: str | None
    cores_logical: str | None
    torch: str | None
    convsweep: str | None
    problem: str
    weight_kind: str | None
    workload: str | None
    layer: str | None
    layer_count: int | None
    device: str
    device_name: str | None
    dtype: str
    memory_format: str
    threads: int
    cache: str
    driver: str
    backend: str
    backend_version: str | None
    backend_family: str | None
    passes: int | None
    time_s: float
    ci_low_s: float | None
    ci_high_s: float | None
    second: str | None  # Second fastest backend
    speedup_over_second: float | None  # Seconds of the second backend / seconds of the fastest
    speedup_over_second_ci_low: float | None
    speedup_over_second_ci_high: float | None
    significant: bool | None  # Faster than every other one, corrected for all comparisons
    baseline: str
    speedup: float | None
    speedup_ci_low: float | None
    speedup_ci_high: float | None
    relative_err: float | None
    error_ratio: float | None
    max_error: float | None  # Limit of the relative error that backends were chosen within
    direction: str = "forward"
    block: str = "conv"


BEST_COLUMNS = tuple(column.name for column in columns_of(BestRow))
_EARLIER = {"median_s": "time_s"}  # names of columns in older files


def best_csv(table: DataFrame) -> str:
    """Return the text of best.csv."""
    return spreadsheet_csv(table[[*BEST_COLUMNS]])


def write_best(run_dir: Path, table: DataFrame) -> Path:
    """Write best.csv into the run's folder, over an earlier one, in one step; return its path.

    Raises:
        ValueError: in one line, if another file has that name, or it can't be written.
    """
    path = run_dir / BEST
    if os.path.lexists(path):
        read_best(path)
    try:
        replace_file(path, best_csv(table))
    except OSError as error:
        raise ValueError(f"{str(path)!r} can't be written: {error.strerror}") from None
    return path


def read_best(path: Path) -> DataFrame:
    """Return the rows of a best.csv, one column per field of `BestRow`; there may be none.

    Raises:
        ValueError: in one line that names the file, and the line, column and cell that is wrong.
    """
    with open_checked(path, "a table of best backends", _LARGEST_FILE) as file:
        text = io.StringIO(file.read().decode(), newline="")
        names, *rows = [*csv.reader(text, strict=True)] or [[]]
        names = [_EARLIER.get(name, name) for name in names]
        later = {
            one.name: str(one.default) for one in fields(BestRow) if one.default is not MISSING
        }
        if missing := [name for name in BEST_COLUMNS if name not in {*names, *later}]:
            raise ValueError(f"no column {missing[0]!r}")
        for line, cells in enumerate(rows, start=2):
            if len(cells) != len(names):
                raise ValueError(f"line {line} has {len(cells)} cells, not {len(names)}")
        added = [name for name in later if name not in names]
        rows = [[*row, *(later[name] for name in added)] for row in rows]
        places = [(c, [*names, *added].index(c.name)) for c in columns_of(BestRow)]
        lines = range(2, len(rows) + 2)
        counts, others = (1, 2**63 - 1), (0, math.inf)  # an interval may end at infinity
        values = [
            parse_column(c, [row[i] for row in rows], lines, counts if c.type is int else others)
            for c, i in places
        ]
        return to_frame(columns_of(BestRow), values)
