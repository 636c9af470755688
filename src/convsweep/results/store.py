"""Files of a run's folder: checks before writing, environment.json, summary.csv, layers.csv."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.results.files import open_checked
from convsweep.results.lock import LOCK
from convsweep.results.schema import MEASUREMENTS_TABLE

if TYPE_CHECKING:
    from pandas import DataFrame

MEASUREMENTS, SUMMARY, ENVIRONMENT = "measurements.csv", "summary.csv", "environment.json"
LAYERS = "layers.csv"
"""File of `convsweep advise`: one row per distinct layer."""
LARGEST_ENVIRONMENT = 1_048_576
"""Bytes."""
_UNFINISHED = ".part"


def require_new(run_dir: Path) -> None:
    """Raise `ValueError` if `run_dir` is not new or empty, or can't be written."""
    if os.path.lexists(run_dir) and (not run_dir.is_dir() or _is_used(run_dir)):
        raise ValueError(f"{str(run_dir)!r} is not an empty or new folder: it may hold another run")
    require_writable(run_dir)


def _is_used(run_dir: Path) -> bool:
    """Return whether the folder has more files than a run leaves that ended before it began."""
    return any(path.name not in (LOCK, ENVIRONMENT + _UNFINISHED) for path in run_dir.iterdir())


def require_run(run_dir: Path) -> None:
    """Raise `ValueError` if `run_dir` is not a run that can be resumed."""
    if not run_dir.is_dir():
        raise ValueError(f"{str(run_dir)!r} is not a run: it is not a folder")
    environment = read_environment(run_dir)
    if not environment:  # a run writes it before its first row
        raise ValueError(f"{str(run_dir)!r} is not a run to be resumed: it has no {ENVIRONMENT}")
    if "merged" in environment:
        raise ValueError(f"{str(run_dir)!r} was merged from other runs: resume those, merge again")
    require_writable(run_dir)


def require_writable(folder: Path) -> None:
    """Raise `ValueError` if files can't be written to `folder`, which may not exist yet."""
    parent = folder
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{str(folder)!r} can't be a folder: {str(parent)!r} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{str(folder)!r} can't be written: no permission in {str(parent)!r}")


def load(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Return every row of a run, one column per field of `Row`.

    Args:
        run_dir: the run's folder.

    Raises:
        ValueError: in one line, if the folder has no run, or its file was changed or damaged, is of
            another schema version, or is larger than any run's.
    """
    return MEASUREMENTS_TABLE.load(run_dir)


def read_environment(run_dir: Path) -> dict[str, Any]:
    """Read environment.json; return an empty dictionary if there is none."""
    path = run_dir / ENVIRONMENT
    if not os.path.lexists(path):
        return {}
    with open_checked(path, "an environment file", LARGEST_ENVIRONMENT) as file:
        environment = json.loads(file.read().decode())
        if not isinstance(environment, dict):
            raise ValueError("it has no object")
        return environment


def write_environment(run_dir: Path, environment: dict[str, Any]) -> None:
    """Write environment.json in one step."""
    _replace(run_dir / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")


def write_summary(run_dir: Path, summary: DataFrame) -> None:
    """Write summary.csv in one step."""
    _replace(run_dir / SUMMARY, summary.to_csv(index=False, lineterminator="\n"))


def write_layers(run_dir: Path, layers: DataFrame) -> None:
    """Write layers.csv in one step."""
    _replace(run_dir / LAYERS, layers.to_csv(index=False, lineterminator="\n"))


def _replace(path: Path, text: str) -> None:
    """Write the whole file, or leave the old one."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
