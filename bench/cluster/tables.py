"""What the trials of a cluster share: the rows of a run, and their own tables."""

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
from convsweep.system.devices import cpu_name
from convsweep.system.environment import describe

ROOT = Path(__file__).parents[2]


def rows_in(out: Path) -> list[bytes]:
    """The whole lines below the header, while somebody writes."""
    path = out / MEASUREMENTS
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines()[1:]


def count_row_errors(out: Path, visits: int) -> tuple[int, int]:
    """How many of a run's visits have no row, and how many rows there are too many."""
    table = MEASUREMENTS_TABLE.load_completed(out).rows
    found = Counter(zip(table["problem"], table["backend"], table["pass_index"], strict=True))
    return visits - len(found), len(table) - len(found)


def write_rows(path: Path, kind: Any, rows: Iterable[Any]) -> None:
    """Write rows, instances of the dataclass `kind`, as they come, and show them.

    Each says when, and of which commit.
    """
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
