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
    ADDED,
    COLUMNS,
    REQUIRED,
    SCHEMA_VERSION,
    STATUSES,
    columns_of,
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
_VERSIONS = {columns_of(version): version for version in range(1, SCHEMA_VERSION + 1)}
_CHECKED = [columns for columns, version in _VERSIONS.items() if version > 1]
_EARLIER = {name: was or "" for names in ADDED.values() for name, was in names.items()}
_AT_ONCE = 10_000  # lines that are text in memory


def read(path: Path) -> tuple[DataFrame, ChecksummedCsv]:
    """All rows of the file at `path`, and its lines, read to their end.

    Raises:
        ValueError: in one line that names the file and what is wrong with it.
    """
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        lines = ChecksummedCsv(file, _CHECKED)
        return _table(lines), lines


def read_begun(path: Path) -> tuple[DataFrame, int]:
    """All rows of a file that is to be gone on with, and the bytes up to the end of the last one.

    A run that ended before its header was whole has no rows and no bytes.

    Raises:
        ValueError: as `read`, and where the schema is an older one.
    """
    if not os.path.lexists(path) or _ended_in_its_header(path):
        return _joined([_columns([], COLUMNS, {})]), 0
    frame, lines = read(path)
    version = _version(lines)
    if version < SCHEMA_VERSION:
        raise ValueError(
            f"{str(path)!r} is of schema version {version}: no row of version {SCHEMA_VERSION} "
            "fits into it"
        )
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
    _require_valid_values(frame, _version(lines))
    return frame


def _version(lines: ChecksummedCsv) -> int:
    return _VERSIONS[tuple(name for name in lines.columns if name != CHECKSUM)]


def _cells(lines: ChecksummedCsv) -> Iterator[list[str]]:
    """The cells of every line, once nothing speaks against it."""
    rest = iter(lines)
    first = next(rest, None)
    if first is not None:  # a newer schema may have other columns
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
    if version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise ValueError(f"its schema is version {version}, this convsweep reads {SCHEMA_VERSION}")


def _require_columns(lines: ChecksummedCsv) -> None:
    """Raise `ValueError` where the header is that of no schema version."""
    if lines.checked:
        return
    names = lines.columns
    first_schema = columns_of(1)
    expected = (*COLUMNS, CHECKSUM) if {*_EARLIER, CHECKSUM} & {*names} else first_schema
    if missing := [name for name in expected if name not in names]:
        raise ValueError(f"no column {missing[0]!r}")
    if unknown := [name for name in names if name not in expected]:
        raise ValueError(f"a column {unknown[0]!r} that no schema version has")
    if names != first_schema:
        raise ValueError("its columns are in another order, or some are there twice")


def _columns(
    rows: Sequence[Sequence[str]], names: Sequence[str], texts: dict[str, str]
) -> dict[str, Series[Any]]:
    """Rows of text as `Row`'s columns, each of its type; `texts` holds each text once."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    return {
        name: _column(columns.get(name) or [_EARLIER.get(name, "")] * len(rows), kind, texts)
        for name, kind in pandas_types().items()
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


def _require_valid_values(frame: DataFrame, schema_version: int) -> None:
    """Raise `ValueError` where a cell can't have come from a run."""
    frame["status"] = frame["status"].where(frame["status"].isin(STATUSES))
    empty = [name for name in REQUIRED if frame[name].isna().any()]
    if empty:
        raise ValueError(f"a cell of column {empty[0]!r} is empty or unknown")
    if (frame["schema_version"] != schema_version).any():
        raise ValueError(f"a row is not of schema version {schema_version}, as its header is")
    timed = frame.loc[(frame["status"] == "ok") & frame["median_s"].notna(), "median_s"]
    if not ((timed > 0) & (timed < math.inf)).all():
        raise ValueError("a median_s is not a time above zero")
