"""A run's files: rows appended one by one, and loaded back. Nothing else touches results."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, get_type_hints

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SCHEMA_VERSION = 1
STATUSES = ("mismatch", "crash", "error", "out_of_memory", "timeout", "skipped", "ok")
"""How a case can end, the worst first."""
MEASUREMENTS, SUMMARY, ENVIRONMENT = "measurements.csv", "summary.csv", "environment.json"
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
    macs: int
    backend_macs: int | None = None
    min_bytes: int


COLUMNS = tuple(field.name for field in fields(Row))
_REQUIRED = tuple(field.name for field in fields(Row) if "None" not in str(field.type))

# What makes two rows the same case, in the order of the file.
CASE_COLUMNS = (*COLUMNS[COLUMNS.index("environment_id") : COLUMNS.index("status")],)
# What two cases must share for their times to be divided by each other.
PROBLEM_COLUMNS = tuple(
    c for c in CASE_COLUMNS if c not in ("backend", "backend_version", "device_name")
)

_PANDAS_TYPES = {int: "Int64", float: "float64", str: "string", bool: "boolean"}


def pandas_types() -> dict[str, str]:
    """The pandas dtype of every column, read off `Row`'s annotations."""
    hints = get_type_hints(Row)
    return {
        name: next(t for kind, t in _PANDAS_TYPES.items() if hints[name] in (kind, kind | None))
        for name in COLUMNS
    }


class Measurements:
    """The open `measurements.csv` of a new run; each row is on the disk when `append` returns."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = (run_dir / MEASUREMENTS).open("x", newline="", encoding="utf-8")
        self._write(COLUMNS)

    def append(self, row: Row) -> None:
        """Write one row and wait until the disk has it."""
        self._write([getattr(row, name) for name in COLUMNS])

    def _write(self, cells: Sequence[object]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line).writerow(cells)  # its own line end makes it quote both "\r" and "\n"
        self._file.write(line.getvalue().removesuffix("\r\n") + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._file.close()


def refuse_unless_new(run_dir: Path) -> None:
    """Raise `ValueError` where a run can't be written to `run_dir`; write nothing."""
    if os.path.lexists(run_dir) and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise ValueError(f"{str(run_dir)!r} is not an empty or new folder: it may hold another run")
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
    unfinished = path.with_suffix(path.suffix + ".part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _refuse_newer(versions: Series[str]) -> None:
    newer = versions[versions.astype("Int64") > SCHEMA_VERSION]
    if len(newer):
        raise ValueError(
            f"its schema is version {newer.iloc[0]}, this convsweep reads {SCHEMA_VERSION}"
        )


def load(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Every row of a run, one column for each field of `Row`.

    Args:
        run_dir: the run's folder.

    Raises:
        ValueError: in one line, where the folder holds no run or one of a newer schema.
    """
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    path = Path(run_dir) / MEASUREMENTS
    if not path.is_file():
        raise ValueError(f"{str(run_dir)!r} is not a run: it has no {MEASUREMENTS}")
    try:
        whole = path.read_bytes()
        whole = whole[: whole.rfind(b"\n") + 1]  # a last line that was cut off was never a row
        frame = pd.read_csv(
            io.BytesIO(whole), dtype="string", keep_default_na=False, na_values=[""]
        )
        if "schema_version" in frame.columns:
            _refuse_newer(frame["schema_version"])
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise ValueError(f"no column {missing[0]!r}")
        frame["bias"] = frame["bias"].map({"True": True, "False": False})
        frame = frame[list(COLUMNS)].astype(pandas_types())
        frame["status"] = frame["status"].where(frame["status"].isin(STATUSES))
        timed = frame.loc[(frame["status"] == "ok") & frame["median_s"].notna(), "median_s"]
        if not ((timed > 0) & (timed < math.inf)).all():
            raise ValueError("a median_s is not a time above zero")
        empty = [name for name in _REQUIRED if frame[name].isna().any()]
        if empty:
            raise ValueError(f"a cell of column {empty[0]!r} is empty or unknown")
        return frame
    except (ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{str(path)!r} is not a measurements file: {reason}") from None
