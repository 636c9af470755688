"""measurements.csv as a table, read line by line; what can't have come from a run is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.results.checksummed_csv import CHECKSUM, ChecksummedCsv, header_line
from convsweep.results.files import open_checked
from convsweep.results.schema import (
    COLUMNS,
    REQUIRED,
    SCHEMA_VERSION,
    STATUSES,
    pandas_types,
)

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LARGEST_FILE = 134_217_728
"""Bytes. This and the two limits below keep `load` within half a gigabyte of memory."""
MOST_ROWS = 300_000
MOST_TEXTS = 500_000
"""Different ones: the moment at which each row began, and a few that all rows share."""
_KIND = "a measurements file"
_AT_ONCE = 10_000  # lines that are text in memory


def read(path: Path) -> tuple[DataFrame, ChecksummedCsv]:
    """All rows of the file at `path`, and its lines, read to their end.

    Raises:
        ValueError: in one line that names the file and what is wrong with it.
    """
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        lines = ChecksummedCsv(file, [COLUMNS])
        return _table(lines), lines


def read_begun(path: Path) -> tuple[DataFrame, int]:
    """All rows of a file that is to be gone on with, and the bytes up to the end of the last one.

    A run that ended before its header was whole has no rows and no bytes.

    Raises:
        ValueError: as `read`.
    """
    if not os.path.lexists(path) or _ended_in_its_header(path):
        return _joined([_columns([], COLUMNS, {})]), 0
    frame, lines = read(path)
    return frame, lines.end


def row_cells(path: Path) -> Iterator[list[str]]:
    """The cells of every row of a file of the present schema, one row in memory at a time.

    Raises:
        ValueError: as `read`, as far as a line alone can tell.
    """
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        lines = ChecksummedCsv(file, [COLUMNS])
        if not lines.checked:
            raise ValueError(f"its schema is not version {SCHEMA_VERSION}")
        yield from (cells[: len(COLUMNS)] for cells in _cells(lines))


def _ended_in_its_header(path: Path) -> bool:
    whole = header_line(COLUMNS)
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        begun = file.read(len(whole))
    return begun != whole and whole.startswith(begun)


def _table(lines: ChecksummedCsv) -> DataFrame:
    """All lines as one table; only `_AT_ONCE` of them are text at a time."""
    rows = _cells(lines)
    texts: dict[str, str] = {}
    parts = [_columns(list(islice(rows, _AT_ONCE)), lines.columns, texts)]
    while some := list(islice(rows, _AT_ONCE)):
        parts.append(_columns(some, lines.columns, texts))
        if len(parts) * _AT_ONCE > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS} rows")
        if len(texts) > MOST_TEXTS:
            raise ValueError(f"more than {MOST_TEXTS} different texts")
    frame = _joined(parts)
    _require_valid_values(frame)
    return frame


def _cells(lines: ChecksummedCsv) -> Iterator[list[str]]:
    """The cells of every line, once nothing speaks against it."""
    rest = iter(lines)
    first = next(rest, None)
    if first is not None:  # another schema version has other columns
        _require_known_schema(lines.columns, first.cells)
    _require_columns(lines)
    for line in chain([] if first is None else [first], rest):
        cells = line.cells
        _require_known_schema(lines.columns, cells)
        line.require_intact(checked=lines.checked)
        if len(cells) != len(lines.columns):
            raise ValueError(f"line {line.number} has {len(cells)} cells, not {len(lines.columns)}")
        yield cells


def _require_known_schema(columns: Sequence[str], cells: Sequence[str]) -> None:
    place = columns.index("schema_version") if "schema_version" in columns else len(cells)
    version = "".join(cells[place : place + 1])
    if version.isdecimal() and int(version) != SCHEMA_VERSION:
        raise ValueError(f"its schema is version {version}, this convsweep reads {SCHEMA_VERSION}")


def _require_columns(lines: ChecksummedCsv) -> None:
    """Raise `ValueError` unless the header is that of this schema version."""
    if lines.checked:
        return
    names, expected = lines.columns, (*COLUMNS, CHECKSUM)
    if missing := [name for name in expected if name not in names]:
        raise ValueError(f"no column {missing[0]!r}")
    if unknown := [name for name in names if name not in expected]:
        raise ValueError(f"unknown column {unknown[0]!r}")
    raise ValueError("its columns are in another order, or some are there twice")


def _columns(
    rows: Sequence[Sequence[str]], names: Sequence[str], texts: dict[str, str]
) -> dict[str, Series[Any]]:
    """Rows of text as `Row`'s columns, each of its type; `texts` holds each text once."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    return {
        name: _column(columns.get(name, []), kind, texts) for name, kind in pandas_types().items()
    }


def _column(cells: Sequence[str], kind: str, texts: dict[str, str]) -> Series[Any]:
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    if kind == "boolean":
        return pd.Series([{"True": True, "False": False}.get(cell) for cell in cells], dtype=kind)
    if kind == "string":  # most rows say what others say
        cells = [texts.setdefault(cell, cell) for cell in cells]
    found = pd.Series([cell or None for cell in cells], dtype="string")
    return found.astype(pd.api.types.pandas_dtype(kind))


def _joined(parts: Sequence[dict[str, Series[Any]]]) -> DataFrame:
    """Parts of a table below each other; they are taken apart, so that no cell is held twice."""
    import pandas as pd

    columns = {
        name: pd.concat([part.pop(name) for part in parts], ignore_index=True) for name in COLUMNS
    }
    return pd.DataFrame(columns, copy=False)


def _require_valid_values(frame: DataFrame) -> None:
    """Raise `ValueError` where a cell can't have come from a run."""
    frame["status"] = frame["status"].where(frame["status"].isin(STATUSES))
    empty = [name for name in REQUIRED if frame[name].isna().any()]
    if empty:
        raise ValueError(f"a cell of column {empty[0]!r} is empty or unknown")
    timed = frame.loc[(frame["status"] == "ok") & frame["median_s"].notna(), "median_s"]
    if not ((timed > 0) & (timed < math.inf)).all():
        raise ValueError("a median_s is not a time above zero")
