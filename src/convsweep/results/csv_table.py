"""Typed CSV files: a frozen dataclass describes the columns, an instance is one row."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, get_type_hints

from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.checksummed_csv import ChecksummedCsv, CsvLine, encode_row, header_line
from convsweep.results.files import open_checked

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 300_000
"""This limit, the next and the size of the file keep loading within 512 MB of memory."""
MOST_TEXTS = 500_000  # Different ones: the start time of each row, and a few that all rows share
_AT_ONCE = 200  # lines that are text in memory
_MOST, _MOST_S = 2.0**63, 1e8  # largest number; seconds that no run lasts, three years
_DTYPES = {int: "Int64", float: "float64", str: "string", bool: "boolean"}  # all allow missing
_ARRAYS = {int: ("q", -1), float: ("d", math.nan)}  # type code; missing value, which no cell has
_EXPECTED = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
_BOOLS = {"True": True, "False": False}
_PARSERS: dict[type, Callable[[str], Any]] = {
    int: int, float: float, str: str, bool: _BOOLS.__getitem__
}  # fmt: skip

RowT = TypeVar("RowT")


class Column(NamedTuple):
    """One column, as the annotation of a dataclass field describes it."""

    name: str
    type: type  # `int`, `float`, `str` or `bool`
    required: bool  # Whether each row has a value


def columns_of(row_class: type) -> tuple[Column, ...]:
    """Return the columns of a row class, in the order of its fields."""
    hints = get_type_hints(row_class)
    return tuple(
        Column(one.name, kind, hints[one.name] is kind)
        for one in fields(row_class)
        for kind in _DTYPES
        if hints[one.name] in (kind, kind | None)
    )


def parse_column(
    column: Column, cells: Sequence[str], lines: Sequence[int], limits: tuple[float, float]
) -> list[Any]:
    """Return the cells of one column as its type, for `to_frame`; an empty cell is missing.

    Raises:
        ValueError: names the line, the column and the cell that can't be a value of it, also of a
            number outside of the `limits`.
    """
    parse, (low, high) = _PARSERS[column.type], limits
    _, missing = _ARRAYS.get(column.type, ("", None))
    if column.required and "" in cells:
        raise ValueError(f"line {lines[cells.index('')]}, column {column.name!r}: '' is empty")
    values, is_number = [], column.type in (int, float)
    for line, cell in zip(lines, cells, strict=True):
        try:
            value: Any = parse(cell) if cell else missing
        except (ValueError, KeyError):
            raise cell_error(line, column, cell, _EXPECTED[column.type]) from None
        if is_number and cell and not low <= value <= high:
            raise cell_error(line, column, cell, f"a number from {low:g} to {high:g}")
        values.append(value)
    return values


def to_frame(columns: Sequence[Column], values: list[Any]) -> DataFrame:
    """Return values per column as a table; takes the list apart, so that none is held twice."""
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    found = {}
    for column in columns:
        own = pd.Series(values.pop(0), dtype=pd.api.types.pandas_dtype(_DTYPES[column.type]))
        found[column.name] = own.mask(own < 0) if column.type is int else own
    return pd.DataFrame(found, copy=False)


def cell_error(line: int, column: Column, cell: str, expected: str) -> ValueError:
    """Return the error for a cell that its column does not allow."""
    return ValueError(f"line {line}, column {column.name!r}: {cell[:80]!r} is not {expected}")


class Completed(NamedTuple):
    """Rows that a resumed run keeps."""

    rows: DataFrame
    end: int  # Bytes of the file up to the end of the last of them


@dataclass(frozen=True)
class CsvTable(Generic[RowT]):
    """File of a run's folder with one checksummed line per row."""

    row_class: type[RowT]
    file_name: str
    kind: str  # Noun phrase for error messages, such as "a measurements file"
    version: int  # Value of the column `schema_version` in every row
    largest_file: int  # Bytes that a reader accepts
    allowed: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Allowed texts of columns that have a fixed set of them."""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest numbers of columns with other limits than most."""
    check: Callable[[DataFrame], None] = lambda frame: None
    """Raises `ValueError` if a loaded table can't come from a run."""
    later: int = 0
    """Number of last columns that older files of this version lack; there they have defaults."""
    complete_rows: Callable[[DataFrame], int] = len
    """Returns how many rows a resumed run keeps; the others are measured again."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns in the order of the file."""
        return columns_of(self.row_class)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the file."""
        return tuple(column.name for column in self.columns)

    def open(self, run_dir: Path, completed: Completed | None = None) -> TableWriter[RowT]:
        """Create the file, or append to it behind its `completed` rows; the rest is cut off.

        Raises:
            OSError: the file exists and `completed` is None, or it can't be written.
        """
        return TableWriter(self, run_dir / self.file_name, completed)

    def load(self, run_dir: str | os.PathLike[str]) -> DataFrame:
        """Return every row of a run, one column per field of the row class.

        Raises:
            ValueError: in one line, if there is no file, it was changed or damaged, is of another
                schema version, or is larger than any run's.
        """
        path = Path(run_dir) / self.file_name
        if not os.path.lexists(path):
            raise ValueError(f"{str(run_dir)!r} is not a run: it has no {self.file_name}")
        return self._read(path, self.later)[0]

    def load_completed(self, run_dir: str | os.PathLike[str], *, older: bool = False) -> Completed:
        """Return the rows that a resumed run keeps; none if there is no file or no whole header.

        An `older` file, which lacks later columns, can be read but not resumed.

        Raises:
            ValueError: as `load`.
        """
        path = Path(run_dir) / self.file_name
        header, found = header_line(self.names), b""
        if os.path.lexists(path):
            with open_checked(path, self.kind, self.largest_file) as file:
                found = file.read(len(header))
        if found != header and header.startswith(found):
            return Completed(to_frame(self.columns, self._empty()), 0)
        earlier = (header_line(self.names[:-count]) for count in range(1, self.later + 1))
        if not older and any(map(found.startswith, earlier)):
            raise ValueError(f"{str(path)!r} is of an older version: it is read, but not resumed")
        rows, ends = self._read(path, self.later if older else 0)
        count = self.complete_rows(rows)
        return Completed(rows[:count], ends[count])

    def rows_of(self, frame: DataFrame) -> list[RowT]:
        """Return the rows of a loaded table as objects; missing cells are None."""
        columns = (
            [None if lost else cell for cell, lost in zip(own.tolist(), own.isna(), strict=True)]
            for own in (frame[name] for name in self.names)
        )
        rows = zip(*columns, strict=True)
        return [self.row_class(**dict(zip(self.names, own, strict=True))) for own in rows]

    def _read(self, path: Path, later: int = 0) -> tuple[DataFrame, Sequence[int]]:
        """Return all rows, and the bytes up to the end of the header and of each row."""
        texts: dict[str, str] = {}
        values = self._empty()
        with open_checked(path, self.kind, self.largest_file) as file:
            absent = [one.default for one in fields(self.row_class)[-later:]] if later else []  # type: ignore[arg-type]
            cells = ["" if value is None else str(value) for value in absent]
            lines = ChecksummedCsv(file, self.names, self.version, cells)
            rows, ends = iter(lines), array("q", [lines.end])
            while batch := list(islice(rows, _AT_ONCE)):
                self._parse(batch, texts, values)
                ends.extend(line.end for line in batch)
                if len(ends) > MOST_ROWS + 1:
                    raise ValueError(f"more than {MOST_ROWS} rows")
                if len(texts) > MOST_TEXTS:
                    raise ValueError(f"more than {MOST_TEXTS} different texts")
            frame = to_frame(self.columns, values)
            self.check(frame)
        return frame, ends

    def _empty(self) -> list[Any]:
        """Return an empty array or list per column."""
        return [array(_ARRAYS[c.type][0]) if c.type in _ARRAYS else [] for c in self.columns]

    def _parse(self, lines: list[CsvLine], texts: dict[str, str], values: list[Any]) -> None:
        """Add lines to the values per column; `texts` has each text once, as most rows share it."""
        numbers = [line.number for line in lines]
        cells = zip(*(line.cells for line in lines), strict=True)
        for column, own, found in zip(self.columns, cells, values, strict=True):
            if column.type is str:
                own = tuple(texts.setdefault(cell, cell) for cell in own)
            allowed = self.allowed.get(column.name)
            if allowed is not None and not {*own} <= {*allowed}:
                wrong = next(i for i, cell in enumerate(own) if cell not in allowed)
                expected = f"one of {', '.join(allowed)}"
                raise cell_error(numbers[wrong], column, own[wrong], expected)
            largest = _MOST_S if column.name.endswith("_s") else _MOST
            limits = self.limits.get(column.name, (0, largest))
            found.extend(parse_column(column, own, numbers, limits))


class TableWriter(Generic[RowT]):
    """Open file of a table. Rows are on the disk when `append` with `sync` returns."""

    def __init__(self, table: CsvTable[RowT], path: Path, completed: Completed | None) -> None:
        self._names = table.names
        self.rows = len(completed.rows) if completed else 0
        """Number of rows in the file."""
        end = completed.end if completed else None
        self._file = AppendOnlyFile(path, header_line(self._names), end)

    def append(self, *rows: RowT, sync: bool = True) -> None:
        """Write rows in one write; with `sync` wait until the disk has them and those before.

        Raises:
            OSError: such as a full disk; the file is then unchanged.
        """
        lines = [encode_row(getattr(row, name) for name in self._names) for row in rows]
        self._file.append(b"".join(lines), sync=sync)
        self.rows += len(rows)

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._file.close()
