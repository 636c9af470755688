"""Rows of a run and tables of the cluster trials."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from convsweep.measure.outcome import utc_now
from convsweep.results.schema import MEASUREMENTS_TABLE
from convsweep.results.store import MEASUREMENTS
from convsweep.system.environment import describe
from convsweep.system.processor import cpu_name

ROOT = Path(__file__).parents[2]


def rows_in(out: Path) -> list[bytes]:
    """Return the complete lines below the header of a file that may be growing."""
    path = out / MEASUREMENTS
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines()[1:]


def count_row_errors(out: Path, measurements: int) -> tuple[int, int]:
    """Return the number of missing and of repeated rows of a run."""
    table = MEASUREMENTS_TABLE.load_completed(out).rows
    counted = Counter(zip(table["problem"], table["backend"], table["pass_index"], strict=True))
    return measurements - len(counted), len(table) - len(counted)


def write_rows(path: Path, kind: Any, rows: Iterable[Any]) -> None:
    """Write and print rows of dataclass `kind`, each with its time and commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    commit = describe({"cpu": cpu_name()})["commit"]
    names = ["started_at", "commit", *(field.name for field in fields(kind))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({"started_at": utc_now(), "commit": commit, **asdict(row)})
            file.flush()
            click.echo(row)
