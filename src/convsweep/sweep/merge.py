"""Runs merged into a new one: the rows and samples of all, whole on the disk or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsweep.analysis.cases import split
from convsweep.analysis.summary import SUMMARY_COLUMNS, summarize
from convsweep.results import samples, store
from convsweep.results.csv_reader import LARGEST_FILE, MOST_ROWS, row_cells
from convsweep.results.network_store import Networks, network_rows
from convsweep.results.request_info import read_request_info
from convsweep.sweep.merge_checks import MergeInput, new_places, read_part, require_mergeable
from convsweep.sweep.merge_metadata import merged_environment

_AT_ONCE = 1000
"""Rows that are written together."""


@dataclass(frozen=True)
class Merged:
    """What a merged run holds."""

    environment: dict[str, Any]
    """Its environment.json."""
    cases: int
    """Those asked for that it has, each on each machine."""


def merge(run_dirs: Sequence[Path], out: Path, command: str) -> Merged:
    """Merge runs of one request into a new run in `out`.

    Raises:
        ValueError: in one line, where they don't belong together or `out` can't be written; then
            there is nothing.
    """
    if len(run_dirs) < 2:
        raise ValueError("merge takes two runs or more")
    if twice := [one for i, one in enumerate(run_dirs) if _same(one, run_dirs[:i])]:
        raise ValueError(f"{str(twice[0])!r} is named twice")
    store.require_new(out)
    parts = [read_part(run_dir) for run_dir in run_dirs]
    require_mergeable(parts)
    places = new_places(parts)
    _require_within_limit(parts, places)
    try:
        with _whole_or_nothing(out.resolve()) as folder:
            return _write(folder, parts, places, out.resolve().name, command)
    except OSError as error:
        raise ValueError(f"{str(out)!r} can't be written: {error.strerror or error}") from None


def _same(path: Path, others: Sequence[Path]) -> bool:
    return path.resolve() in [other.resolve() for other in others]


def _require_within_limit(
    parts: Sequence[MergeInput], places: Sequence[Sequence[int | None]]
) -> None:
    """Raise `ValueError` where no reader would take the merged run."""
    rows = sum(place is not None for own in places for place in own)
    if rows > MOST_ROWS:
        raise ValueError(f"{rows} rows are more than a run may have, {MOST_ROWS}")
    for name, most in ((store.MEASUREMENTS, LARGEST_FILE), (samples.SAMPLES, samples.LARGEST_FILE)):
        paths = [part.folder / name for part in parts]
        size = sum(path.stat().st_size for path in paths if path.exists())
        if size > most:
            raise ValueError(f"{name} would have {size} bytes, more than {most}")


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` once all is in it; however that ends before, it goes."""
    ground = out.parent
    while not ground.exists():
        ground = ground.parent
    folder = ground / f".{out.name}.part-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(out)  # over an empty one, too
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    folder: Path,
    parts: Sequence[MergeInput],
    places: Sequence[Sequence[int | None]],
    run_id: str,
    command: str,
) -> Merged:
    with (
        closing(store.Measurements(folder)) as measurements,
        closing(samples.Samples(folder)) as kept,
    ):
        for part, own in zip(parts, places, strict=True):
            _add_rows(measurements, part, own)
            kept.take(part.folder, own)
    _add_networks(folder, parts)
    environment = merged_environment(parts, run_id, command, measurements.rows)
    store.write_environment(folder, environment)
    requested = read_request_info(environment)
    summary = summarize(store.load(folder), requested.baseline, requested.margin)
    store.write_summary(folder, summary[list(SUMMARY_COLUMNS)])
    return Merged(environment, len(split(summary).requested))


def _add_rows(
    measurements: store.Measurements, part: MergeInput, places: Sequence[int | None]
) -> None:
    """The rows of a part that have a place."""
    batch = []
    every = row_cells(part.folder / store.MEASUREMENTS)
    for cells, place in zip(every, places, strict=True):
        if place is not None:
            batch.append(cells)
        if len(batch) == _AT_ONCE:
            measurements.append_cells(batch)
            batch.clear()
    measurements.append_cells(batch)


def _add_networks(folder: Path, parts: Sequence[MergeInput]) -> None:
    """The networks of all parts; where there is none, no file."""
    rows = [row for part in parts for row in network_rows(part.folder)]
    if rows:
        with closing(Networks(folder)) as networks:
            networks.append(rows)
