"""accuracy.csv: rows appended a group at a time, and loaded back; what was changed is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convsweep.results.accuracy_schema import (
    COLUMNS,
    REQUIRED,
    SCHEMA_VERSION,
    STATUSES,
    VARIANTS,
    AccuracyRow,
    pandas_types,
)
from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.checksummed_csv import ChecksummedCsv, encode_row, header_line
from convsweep.results.files import open_checked

if TYPE_CHECKING:
    from pandas import DataFrame

ACCURACY = "accuracy.csv"
LARGEST_FILE = 16_777_216
"""Bytes: some 50,000 rows."""
_KIND = "an accuracy file"


class Unit(NamedTuple):
    """What is trained, timed and written together: all variants of a data set from one seed."""

    dataset: str
    seed: int


class Records:
    """The open `accuracy.csv` of a run; rows are on the disk when `append` returns."""

    def __init__(self, run_dir: Path, resume: bool = False) -> None:
        """Make the file, or with `resume` go on behind its last whole unit.

        Raises:
            ValueError: in one line, where `resume` finds a file that it can't go on with.
        """
        path = run_dir / ACCURACY
        self.done, end = _begun(path) if resume else (frozenset(), None)
        self._journal = AppendOnlyFile(path, header_line(COLUMNS), end)

    def append(self, rows: Sequence[AccuracyRow]) -> None:
        """Write the rows of one unit in one write, and wait until the disk has them.

        Raises:
            OSError: as a full disk gives it; the file is then as it was before.
        """
        cells = ([getattr(row, name) for name in COLUMNS] for row in rows)
        self._journal.append(b"".join(map(encode_row, cells)), sync=True)

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._journal.close()


def load(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Every row of a run, one column for each field of `AccuracyRow`.

    Raises:
        ValueError: in one line, where the folder holds no such run, one of a newer schema, or a
            file that was changed or is damaged.
    """
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    path = Path(run_dir) / ACCURACY
    if not os.path.lexists(path):
        raise ValueError(f"{str(run_dir)!r} is not an accuracy run: it has no {ACCURACY}")
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        rows = [
            [cell or None for cell in cells] for cells, _ in _cells(ChecksummedCsv(file, [COLUMNS]))
        ]
        frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype="string").astype(pandas_types())
        _require_valid_values(frame)
        return frame


def _begun(path: Path) -> tuple[frozenset[Unit], int]:
    """The units that a file holds whole, and the bytes up to the end of the last of them."""
    whole = header_line(COLUMNS)
    if not os.path.lexists(path):
        return frozenset(), 0
    with open_checked(path, _KIND, LARGEST_FILE) as file:
        begun = file.read(len(whole))
        if begun != whole and whole.startswith(begun):
            return frozenset(), 0
        file.seek(0)
        lines = ChecksummedCsv(file, [COLUMNS])
        variants: dict[Unit, set[str]] = {}
        end = lines.end
        for cells, place in _cells(lines):
            row = dict(zip(COLUMNS, cells, strict=True))
            unit = Unit(row["dataset"], int(row["seed"]))
            variants.setdefault(unit, set()).add(row["variant"])
            end = place if variants[unit] == {*VARIANTS} else end
        return frozenset(unit for unit, seen in variants.items() if seen == {*VARIANTS}), end


def _cells(lines: ChecksummedCsv) -> Iterator[tuple[list[str], int]]:
    """The cells of every line but the checksum, and the bytes up to its end."""
    for line in lines:
        _require_known_schema(lines.columns, line.cells)
        if lines.checked:
            line.require_intact(checked=True)
            yield line.cells[: len(COLUMNS)], lines.end
    if not lines.checked:
        raise ValueError(f"its columns are not those of {ACCURACY}")


def _require_known_schema(columns: Sequence[str], cells: Sequence[str]) -> None:
    """Raise `ValueError` where a row is of a newer schema, which may have other columns."""
    version = cells[0] if columns[:1] == COLUMNS[:1] else ""
    if version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise ValueError(f"its schema is version {version}, this convsweep reads {SCHEMA_VERSION}")


def _require_valid_values(frame: DataFrame) -> None:
    """Raise `ValueError` where a cell can't have come from a run."""
    known = frame["status"].isin(STATUSES) & frame["variant"].isin(VARIANTS)
    if not known.all() or (frame["schema_version"] != SCHEMA_VERSION).any():
        raise ValueError("a status, variant or schema version is unknown")
    if empty := [name for name in REQUIRED if frame[name].isna().any()]:
        raise ValueError(f"a cell of column {empty[0]!r} is empty")
    if frame.duplicated(["dataset", "variant", "seed"]).any():
        raise ValueError("two rows are of one data set, variant and seed")
    ok = frame[frame["status"] == "ok"]
    if not ok["accuracy"].between(0, 1).all():
        raise ValueError("an accuracy is not between 0 and 1")
    if not (ok[["training_s", "inference_s", "batch_inference_s"]] > 0).all(axis=None):
        raise ValueError("a time is not above zero")
