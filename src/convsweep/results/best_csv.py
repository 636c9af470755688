"""best.csv: its columns, written whole or not at all, and read back cell by cell."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from convsweep.results.files import open_checked

if TYPE_CHECKING:
    from pandas import DataFrame, Series

BEST = "best.csv"
MACHINE = {"cpu": "machine", "cores_logical": "machine", "torch": "versions",
           "convsweep": "versions"}  # fmt: skip
"""What a table tells of the machine and versions that it holds for, and the part of
environment.json that it comes from."""
LEAD = (
    "second",
    "speedup_over_second",
    "speedup_over_second_ci_low",
    "speedup_over_second_ci_high",
    "significant",
)
_LARGEST_FILE = 67_108_864  # bytes
_KIND = "a table of best backends"
_SETTING = ("problem", "weight_kind", "workload", "layer", "layer_count", "device", "device_name",
            "dtype", "memory_format", "threads", "cache", "driver")  # fmt: skip
_WINNER = (
    "backend",
    "backend_version",
    "backend_family",
    "passes",
    "median_s",
    "ci_low_s",
    "ci_high_s",
)
_GAIN = ("baseline", "speedup", "speedup_ci_low", "speedup_ci_high", "relative_err", "error_ratio")
BEST_COLUMNS = (
    "run_id", "environment_id", *MACHINE, *_SETTING, *_WINNER, *LEAD, *_GAIN, "max_error",
)  # fmt: skip
"""The columns of best.csv. `speedup_over_second` is the second fastest's seconds / these; it is `significant`
where this backend is surely faster than each other one."""
_NEEDED = ("problem", "device", "dtype", "memory_format", "threads", "cache", "driver", "backend",
           "median_s", "baseline")  # fmt: skip
_NUMBERS = (
    "median_s", "ci_low_s", "ci_high_s", "speedup_over_second", "speedup_over_second_ci_low",
    "speedup_over_second_ci_high", "speedup", "speedup_ci_low", "speedup_ci_high", "relative_err",
    "error_ratio", "max_error",
)  # fmt: skip


class _Kind(NamedTuple):
    """What the cells of a column are."""

    dtype: str
    words: str
    read: Callable[[str], object]
    """None where a cell is not of this kind."""


def _number(cell: str) -> float | None:
    """What a cell says; an end of an interval may be endless."""
    with suppress(ValueError):
        number = float(cell)
        return None if math.isnan(number) or number < 0 else number
    return None


def _whole(cell: str) -> int | None:
    number = _number(cell)
    return int(number) if number and number.is_integer() and number < 2**31 else None


_TEXT = _Kind("string", "empty where it may not be", lambda cell: cell or None)
_KINDS = (
    dict.fromkeys(BEST_COLUMNS, _TEXT)
    | dict.fromkeys(("layer_count", "threads", "passes"), _Kind("Int64", "no whole number", _whole))
    | dict.fromkeys(_NUMBERS, _Kind("float64", "no number from zero on", _number))
    | {
        "significant": _Kind(
            "boolean", "neither True nor False", {"True": True, "False": False}.get
        )
    }
)


def as_csv(table: DataFrame) -> str:
    """The text of best.csv."""
    return table[[*BEST_COLUMNS]].to_csv(index=False, lineterminator="\n")


def keep(run_dir: Path, table: DataFrame) -> Path:
    """Write best.csv into the run's folder, over an earlier one, whole or not at all.

    Raises:
        ValueError: in one line, where a file of that name is none of these, or can't be written.
    """
    path = run_dir / BEST
    if os.path.lexists(path):
        read_best(path)
    unfinished = path.with_name(f"{BEST}.part")
    try:
        unfinished.write_text(as_csv(table), encoding="utf-8", newline="")
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise ValueError(f"{str(path)!r} can't be written: {error.strerror}") from None
    return path


def read_best(path: Path) -> DataFrame:
    """The rows of a best.csv, each column of its type; there may be none.

    Raises:
        ValueError: in one line, where it is none of these, or a cell can't have come from `keep`:
            names the file, the line and column, and the cell.
    """
    with open_checked(path, _KIND, _LARGEST_FILE) as file:
        names, rows = _cells(file.read().decode())
        columns = {name: [row[names.index(name)] for row in rows] for name in BEST_COLUMNS}
        return pd.DataFrame({name: _column(name, cells) for name, cells in columns.items()})


def _cells(text: str) -> tuple[list[str], list[list[str]]]:
    """The header, and the cells of every row; raises `ValueError` where one has not all."""
    try:
        names, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if missing := [name for name in BEST_COLUMNS if name not in names]:
        raise ValueError(f"no column {missing[0]!r}")
    for line, cells in enumerate(rows, start=2):
        if len(cells) != len(names):
            raise ValueError(f"line {line} has {len(cells)} cells, not {len(names)}")
    return names, rows


def _column(name: str, cells: Sequence[str]) -> Series[Any]:
    """The cells of one column as what they are; an empty one is missing, where it may be."""
    kind = _KINDS[name]
    found: list[Any] = []
    for line, cell in enumerate(cells, start=2):
        value = kind.read(cell)
        if value is None and (cell or name in _NEEDED):
            raise ValueError(f"line {line}, column {name!r}: {cell[:80]!r} is {kind.words}")
        found.append(value)
    return pd.Series(found, dtype=pd.api.types.pandas_dtype(kind.dtype))
