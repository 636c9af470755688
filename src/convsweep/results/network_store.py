"""networks.csv: whole networks and their parts, pass by pass, in lines with a checksum each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.checksummed_csv import ChecksummedCsv, encode_row, header_line
from convsweep.results.files import open_checked
from convsweep.results.schema import STATUSES

if TYPE_CHECKING:
    from pandas import DataFrame

NETWORKS = "networks.csv"
SCHEMA_VERSION = 1
LARGEST_FILE = 33_554_432
"""Bytes."""

WHOLE, INSTRUMENTED = "whole", "instrumented"
"""The forward pass as it is; and while its parts are timed."""
CONVOLUTION, OTHER = "convolution", "other"
"""Calls of one problem; and calls of no kind that has a name here."""

_KIND_OF_FILE = "a file of networks"
_DTYPES = {int: "Int64", float: "float64", str: "string"}


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """One kind of call within one network in one pass; what is missing is None."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    pass_index: int
    started_at: str
    environment_id: str
    network: str
    device: str
    dtype: str
    memory_format: str
    threads: int
    kind: str
    """`whole`, `instrumented`, `convolution`, or another kind of call."""
    layer: str | None = None
    """The workload's layer of that problem."""
    problem: str | None = None
    count: int | None = None
    """Calls of this kind, and this problem, in one forward pass."""
    calls: int | None = None
    """Forward passes that were timed."""
    call_s: float | None = None
    """Of one call of this kind, in the mean over its places and the usual half of the passes."""
    total_s: float | None = None
    """Of all of them in one forward pass."""
    status: str
    reason: str | None = None


COLUMNS = tuple(field.name for field in fields(NetworkRow))
_NEEDED = tuple(field.name for field in fields(NetworkRow) if "None" not in str(field.type))


class Networks:
    """The open `networks.csv` of a run; rows are on the disk when `append` returns."""

    def __init__(self, run_dir: Path, resume: bool = False) -> None:
        """Make the file, or with `resume` go on with one behind its last whole visit.

        Raises:
            ValueError: in one line, where `resume` finds a file that it can't go on with.
        """
        path = run_dir / NETWORKS
        there = resume and os.path.lexists(path)
        has_header = there and path.stat().st_size >= len(header_line(COLUMNS))
        self.known, end = _read(path) if has_header else ([], 0)
        self._journal = AppendOnlyFile(path, header_line(COLUMNS), end if there else None)

    def append(self, rows: Sequence[NetworkRow]) -> None:
        """Write the rows of one visit, the row of the whole network last."""
        assert rows[-1].kind == WHOLE, "a visit ends with the whole network"
        cells = ([getattr(row, name) for name in COLUMNS] for row in rows)
        self._journal.append(b"".join(map(encode_row, cells)), sync=True)

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._journal.close()


def load_networks(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Every row of a run's networks, a column for each field of `NetworkRow`; often none.

    Raises:
        ValueError: in one line, where the file was changed, is damaged, or of a newer schema.
    """
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    rows = network_rows(run_dir)
    return pd.DataFrame([vars(row) for row in rows], columns=list(COLUMNS)).astype(_dtypes())


def network_rows(run_dir: str | os.PathLike[str]) -> list[NetworkRow]:
    """The rows of all whole visits of a run; raises as `load_networks`."""
    path = Path(run_dir) / NETWORKS
    return _read(path)[0] if os.path.lexists(path) else []


def _read(path: Path) -> tuple[list[NetworkRow], int]:
    """The rows of all whole visits, and the bytes up to the end of the last one."""
    with open_checked(path, _KIND_OF_FILE, LARGEST_FILE) as file:
        lines = ChecksummedCsv(file, [COLUMNS])
        if not lines.checked:
            raise ValueError(f"its header is not that of version {SCHEMA_VERSION}")
        rows: list[NetworkRow] = []
        whole, end = 0, lines.end
        for row in _rows(lines):
            rows.append(row)
            if row.kind == WHOLE:
                whole, end = len(rows), lines.end
        return rows[:whole], end


def _rows(lines: ChecksummedCsv) -> Iterator[NetworkRow]:
    hints = get_type_hints(NetworkRow)
    for line in lines:
        line.require_intact(checked=True)
        *cells, _ = line.cells
        texts = dict(zip(COLUMNS, cells, strict=True))
        if texts["schema_version"] != str(SCHEMA_VERSION):
            raise ValueError(f"line {line.number} is not of version {SCHEMA_VERSION}")
        if empty := [name for name in _NEEDED if not texts[name]]:
            raise ValueError(f"line {line.number} has no {empty[0]}")
        if texts["status"] not in STATUSES:
            raise ValueError(f"line {line.number} has an unknown status")
        yield NetworkRow(**{name: _value(text, hints[name]) for name, text in texts.items()})


def _value(text: str, hint: Any) -> Any:
    """A cell as its column's type; None where it is empty."""
    return _type(hint)(text) if text else None


def _type(hint: Any) -> Any:
    return next(kind for kind in (int, float, str) if hint in (kind, kind | None))


def _dtypes() -> dict[str, str]:
    return {name: _DTYPES[_type(hint)] for name, hint in get_type_hints(NetworkRow).items()}
