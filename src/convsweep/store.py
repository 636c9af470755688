"""A run's files: rows appended one by one, and loaded back. Nothing else touches results."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from convsweep.journal import Journal
from convsweep.lines import CHECKSUM, Lines, encode, header
from convsweep.lock import LOCK

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 2
STATUSES = ("mismatch", "crash", "error", "out_of_memory", "timeout", "skipped", "ok")
"""How a case can end, the worst first."""
MEASUREMENTS, SUMMARY, ENVIRONMENT = "measurements.csv", "summary.csv", "environment.json"
_UNFINISHED = ".part"
BASELINE = "torch_conv"
"""What speedups divide by where a run does not say."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case in one pass; seconds, bytes and counts. What is missing is None, never 0."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    pass_index: int
    started_at: str
    environment_id: str
    problem: str
    batch_size: int
    in_channels: int
    out_channels: int
    input_size: str
    kernel_size: str
    stride: str
    padding: str
    dilation: str
    groups: int
    bias: bool
    weight_kind: str
    workload: str | None = None
    layer: str | None = None
    count: int = 1
    backend: str
    backend_version: str | None = None
    device: str
    device_name: str | None = None
    dtype: str
    memory_format: str
    threads: int
    cache: str = "hot"
    driver: str = "convsweep"
    status: str
    reason: str | None = None
    max_abs_err: float | None = None
    error_ratio: float | None = None
    prepare_s: float | None = None
    first_call_s: float | None = None
    samples: int | None = None
    iterations: int | None = None
    min_s: float | None = None
    p05_s: float | None = None
    median_s: float | None = None
    p95_s: float | None = None
    mad_s: float | None = None
    peak_memory_bytes: int | None = None
    page_faults_per_call: float | None = None
    context_switches: int | None = None
    load: float | None = None
    clock_hz: float | None = None
    flags: str | None = None
    macs: int
    backend_macs: int | None = None
    min_bytes: int


COLUMNS = tuple(field.name for field in fields(Row))
_ADDED = {"cache": "hot", "load": None, "clock_hz": None, "flags": None}
"""What schema version 1 had no columns for, and how it was."""
_REQUIRED = tuple(field.name for field in fields(Row) if "None" not in str(field.type))

# What makes two rows the same case, in the order of the file.
CASE_COLUMNS = (*COLUMNS[COLUMNS.index("environment_id") : COLUMNS.index("status")],)
# What two cases must share for their times to be divided by each other.
PROBLEM_COLUMNS = tuple(
    c for c in CASE_COLUMNS if c not in ("backend", "backend_version", "device_name")
)

_AT_ONCE = 10_000
"""Lines that `load` holds as text."""
_PANDAS_TYPES = {int: "Int64", float: "float64", str: "string", bool: "boolean"}


def pandas_types() -> dict[str, str]:
    """The pandas dtype of every column, read off `Row`'s annotations."""
    hints = get_type_hints(Row)
    return {
        name: next(t for kind, t in _PANDAS_TYPES.items() if hints[name] in (kind, kind | None))
        for name in COLUMNS
    }


class Measurements:
    """The open `measurements.csv` of a run; a row is on the disk when `append` returns."""

    def __init__(self, run_dir: Path, resume: bool = False) -> None:
        """Make the file, or with `resume` go on with one; its torn last line is cut off.

        Raises:
            ValueError: in one line, where `resume` finds a file that it can't go on with.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / MEASUREMENTS
        rows, end = _whole_rows(path) if resume else ((), 0)
        self.rows = len(rows)
        self._journal = Journal(path, end if resume and path.exists() else None)
        if not end:
            self._journal.append(header(COLUMNS), sync=True)

    def append(self, *rows: Row) -> None:
        """Write rows, all of them in one write, and wait until the disk has them.

        Raises:
            OSError: as a full disk gives it; the file is then as it was before.
        """
        cells = ([getattr(row, name) for name in COLUMNS] for row in rows)
        self._journal.append(b"".join(map(encode, cells)), sync=True)
        self.rows += len(rows)

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._journal.close()


def refuse_unless_new(run_dir: Path) -> None:
    """Raise `ValueError` where a run can't be written to `run_dir`; write nothing."""
    if os.path.lexists(run_dir) and (not run_dir.is_dir() or _used(run_dir)):
        raise ValueError(f"{str(run_dir)!r} is not an empty or new folder: it may hold another run")
    refuse_unless_writable(run_dir)


def _used(run_dir: Path) -> bool:
    """Whether there is more than what a run leaves that ended before it began."""
    return any(path.name not in (LOCK, ENVIRONMENT + _UNFINISHED) for path in run_dir.iterdir())


def refuse_unless_run(run_dir: Path) -> None:
    """Raise `ValueError` where `run_dir` holds no run to be resumed; write nothing."""
    if not run_dir.is_dir():
        raise ValueError(f"{str(run_dir)!r} is not a run: no such folder")
    if not read_environment(run_dir):
        told = f"{str(run_dir)!r} is not a run to be resumed: it has no {ENVIRONMENT}"
        unmeasured = (run_dir / MEASUREMENTS).is_file() and not len(recorded(run_dir))
        raise ValueError(told + "; it ended before it measured anything" * unmeasured)
    refuse_unless_writable(run_dir)


def refuse_unless_writable(folder: Path) -> None:
    """Raise `ValueError` where files can't be written to `folder`; write nothing."""
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{str(folder)!r} can't be a folder: {str(parent)!r} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{str(folder)!r} can't be written: no permission in {str(parent)!r}")


def write_environment(run_dir: Path, environment: dict[str, Any]) -> None:
    """Write `environment.json`."""
    _replace(run_dir / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")


def read_environment(run_dir: Path) -> dict[str, Any]:
    """Read `environment.json`; a run without one gives an empty dictionary."""
    path = run_dir / ENVIRONMENT
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not an environment file: {error}") from None
    if not isinstance(environment, dict):
        raise ValueError(f"{str(path)!r} is not an environment file: no object in it")
    return environment


def write_summary(run_dir: Path, summary: DataFrame) -> None:
    """Write `summary.csv` in one step."""
    _replace(run_dir / SUMMARY, summary.to_csv(index=False, lineterminator="\n"))


def _replace(path: Path, text: str) -> None:
    """Write the whole file or leave the old one."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Every row of a run, one column for each field of `Row`.

    Args:
        run_dir: the run's folder.

    Raises:
        ValueError: in one line, where the folder holds no run, one of a newer schema, or a file
            that was changed, is damaged, or larger than any run's.
    """
    path = Path(run_dir) / MEASUREMENTS
    if not os.path.lexists(path):
        raise ValueError(f"{str(run_dir)!r} is not a run: it has no {MEASUREMENTS}")
    frame, _ = _read(path)
    return frame


def recorded(run_dir: Path) -> DataFrame:
    """The rows that a run to be resumed has already, as `load` gives them; often none.

    Raises:
        ValueError: in one line, where there is a file that can't be gone on with.
    """
    frame, _ = _whole_rows(run_dir / MEASUREMENTS)
    return frame


def _whole_rows(path: Path) -> tuple[DataFrame, int]:
    """The rows there are, and where the last one ends; 0 where the run ended before its header."""
    if not os.path.lexists(path) or _ended_in_its_header(path):
        return _typed([], COLUMNS), 0
    frame, lines = _read(path)
    if not lines.checked:
        raise ValueError(
            f"{str(path)!r} is of schema version 1: no row of version {SCHEMA_VERSION} fits into it"
        )
    return frame, lines.end


def _ended_in_its_header(path: Path) -> bool:
    whole = header(COLUMNS)
    if not path.is_file() or path.stat().st_size >= len(whole):
        return False
    return whole.startswith(path.read_bytes())


def _read(path: Path) -> tuple[DataFrame, Lines]:
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            lines = Lines(file, COLUMNS)
            frame = _table(lines)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ValueError(f"{str(path)!r} is not a measurements file: {reason}") from None
    return frame, lines


def _table(lines: Lines) -> DataFrame:
    """All lines as one table; only `_AT_ONCE` of them are text at a time."""
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    rows = _cells(lines)
    first = list(islice(rows, _AT_ONCE))
    parts = [_typed(first, lines.columns)]
    while some := list(islice(rows, _AT_ONCE)):
        parts.append(_typed(some, lines.columns))
    frame = pd.concat(parts, ignore_index=True)
    _refuse_bad_values(frame, SCHEMA_VERSION if lines.checked else 1)
    return frame


def _cells(lines: Lines) -> Iterator[list[str]]:
    """The cells of every line, once nothing speaks against it."""
    rest = iter(lines)
    first = next(rest, None)
    if first is not None:  # a newer schema may have other columns
        _refuse_newer(lines.columns, first.cells)
    _refuse_other_columns(lines)
    for line in chain([] if first is None else [first], rest):
        cells = line.cells
        _refuse_newer(lines.columns, cells)
        line.refuse_damaged(checked=lines.checked)
        if len(cells) != len(lines.columns):
            raise ValueError(f"line {line.number} has {len(cells)} cells, not {len(lines.columns)}")
        yield cells


def _refuse_newer(columns: Sequence[str], cells: Sequence[str]) -> None:
    versions = [c for name, c in zip(columns, cells, strict=False) if name == "schema_version"]
    newer = [
        version for version in versions if version.isdecimal() and int(version) > SCHEMA_VERSION
    ]
    if newer:
        raise ValueError(f"its schema is version {newer[0]}, this convsweep reads {SCHEMA_VERSION}")


def _refuse_other_columns(lines: Lines) -> None:
    """Raise `ValueError` where the header is that of no schema version."""
    if lines.checked:
        return
    names = lines.columns
    first_schema = tuple(name for name in COLUMNS if name not in _ADDED)
    expected = (*COLUMNS, CHECKSUM) if {*_ADDED, CHECKSUM} & {*names} else first_schema
    if missing := [name for name in expected if name not in names]:
        raise ValueError(f"no column {missing[0]!r}")
    if unknown := [name for name in names if name not in expected]:
        raise ValueError(f"a column {unknown[0]!r} that no schema version has")
    if names != first_schema:
        raise ValueError("its columns are in another order, or some are there twice")


def _typed(rows: Sequence[Sequence[str]], names: Sequence[str]) -> DataFrame:
    """Rows of text as a table of `Row`'s columns and types."""
    import pandas as pd

    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    shared: dict[str, str] = {}  # most cells of a run say what others say: one text is enough

    def texts(name: str) -> list[str | None]:
        cells = columns.get(name) or [_ADDED.get(name)] * len(rows)
        return [shared.setdefault(cell, cell) if cell else None for cell in cells]

    frame = pd.DataFrame({name: pd.array(texts(name), dtype="string") for name in COLUMNS})
    frame["bias"] = frame["bias"].map({"True": True, "False": False})
    return frame.astype(pandas_types())


def _refuse_bad_values(frame: DataFrame, schema_version: int) -> None:
    """Raise `ValueError` where a cell can't have come from a run."""
    frame["status"] = frame["status"].where(frame["status"].isin(STATUSES))
    empty = [name for name in _REQUIRED if frame[name].isna().any()]
    if empty:
        raise ValueError(f"a cell of column {empty[0]!r} is empty or unknown")
    if (frame["schema_version"] != schema_version).any():
        raise ValueError(f"a row is not of schema version {schema_version}, as its header is")
    timed = frame.loc[(frame["status"] == "ok") & frame["median_s"].notna(), "median_s"]
    if not ((timed > 0) & (timed < math.inf)).all():
        raise ValueError("a median_s is not a time above zero")
