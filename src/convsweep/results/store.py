"""A run's files: rows appended one by one, and loaded back. Nothing else touches results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.checksummed_csv import encode_row, header_line
from convsweep.results.csv_reader import read, read_begun
from convsweep.results.files import open_checked
from convsweep.results.lock import LOCK
from convsweep.results.schema import (
    CASE_COLUMNS,
    COLUMNS,
    PROBLEM_COLUMNS,
    SCHEMA_VERSION,
    STATUSES,
    Row,
)

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "BASELINE",
    "CASE_COLUMNS",
    "COLUMNS",
    "ENVIRONMENT",
    "LAYERS",
    "MARGIN",
    "MEASUREMENTS",
    "PROBLEM_COLUMNS",
    "SCHEMA_VERSION",
    "STATUSES",
    "SUMMARY",
    "Measurements",
    "Row",
    "flat",
    "load",
    "load_completed",
    "read_environment",
    "require_new",
    "require_run",
    "require_writable",
    "write_environment",
    "write_layers",
    "write_summary",
]

MEASUREMENTS, SUMMARY, ENVIRONMENT = "measurements.csv", "summary.csv", "environment.json"
LAYERS = "layers.csv"
"""Of a run that advises on a model: one row a distinct layer."""
LARGEST_ENVIRONMENT = 1_048_576
"""Bytes."""
_UNFINISHED = ".part"
BASELINE = "torch_conv"
"""What speedups divide by where a run does not say."""
MARGIN = 0.02
"""What differs by less is the same, where a run does not say."""


class Measurements:
    """The open `measurements.csv` of a run; a row is on the disk when `append` returns."""

    def __init__(self, run_dir: Path, resume: bool = False) -> None:
        """Make the file, or with `resume` go on with one; its torn last line is cut off.

        Raises:
            ValueError: in one line, where `resume` finds a file that it can't go on with.
        """
        path = run_dir / MEASUREMENTS
        rows, end = read_begun(path) if resume else ((), None)
        self.rows = len(rows)
        self._journal = AppendOnlyFile(path, header_line(COLUMNS), end)

    def append(self, *rows: Row) -> None:
        """Write rows, all of them in one write, and wait until the disk has them.

        Raises:
            OSError: as a full disk gives it; the file is then as it was before.
        """
        cells = ([getattr(row, name) for name in COLUMNS] for row in rows)
        self._journal.append(b"".join(map(encode_row, cells)), sync=True)
        self.rows += len(rows)

    def append_cells(self, rows: Sequence[Sequence[str]]) -> None:
        """Write rows as another file of this schema spells them, as `append` does."""
        self._journal.append(b"".join(map(encode_row, rows)), sync=True)
        self.rows += len(rows)

    def close(self) -> None:
        """Close the file; every row is in it already."""
        self._journal.close()


def require_new(run_dir: Path) -> None:
    """Raise `ValueError` where a run can't be written to `run_dir`; write nothing."""
    if os.path.lexists(run_dir) and (not run_dir.is_dir() or _used(run_dir)):
        raise ValueError(f"{str(run_dir)!r} is not an empty or new folder: it may hold another run")
    require_writable(run_dir)


def _used(run_dir: Path) -> bool:
    """Whether there is more than what a run leaves that ended before it began."""
    return any(path.name not in (LOCK, ENVIRONMENT + _UNFINISHED) for path in run_dir.iterdir())


def require_run(run_dir: Path) -> None:
    """Raise `ValueError` where `run_dir` holds no run to be resumed; write nothing."""
    if not run_dir.is_dir():
        raise ValueError(f"{str(run_dir)!r} is not a run: it is no folder")
    told = read_environment(run_dir)
    if not told:  # a run writes it before its first row
        raise ValueError(f"{str(run_dir)!r} is not a run to be resumed: it has no {ENVIRONMENT}")
    if "merged" in told:
        raise ValueError(f"{str(run_dir)!r} was merged from other runs: resume those, merge again")
    require_writable(run_dir)


def require_writable(folder: Path) -> None:
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
    if not os.path.lexists(path):
        return {}
    with open_checked(path, "an environment file", LARGEST_ENVIRONMENT) as file:
        environment = json.loads(file.read().decode())
        if not isinstance(environment, dict):
            raise ValueError("no object in it")
        return environment


def flat(told: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"settings": {"seed": 0}}` as `{"settings.seed": 0}`: what environments are compared by."""
    found: dict[str, Any] = {}
    for key, value in told.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def write_summary(run_dir: Path, summary: DataFrame) -> None:
    """Write `summary.csv` in one step."""
    _replace(run_dir / SUMMARY, summary.to_csv(index=False, lineterminator="\n"))


def write_layers(run_dir: Path, layers: DataFrame) -> None:
    """Write `layers.csv` in one step."""
    _replace(run_dir / LAYERS, layers.to_csv(index=False, lineterminator="\n"))


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
    frame, _ = read(path)
    return frame


def load_completed(run_dir: Path) -> DataFrame:
    """The rows that a run to be resumed has already, as `load` gives them; often none.

    Raises:
        ValueError: in one line, where there is a file that can't be gone on with.
    """
    frame, _ = read_begun(run_dir / MEASUREMENTS)
    return frame
