"""Merging runs into a new one, which is complete on the disk or not there."""

from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame

from convsweep.analysis.cases import split
from convsweep.results import store
from convsweep.results.csv_table import MOST_ROWS
from convsweep.results.files import complete_or_absent
from convsweep.results.metadata import FINISHED, MACHINE_KEYS, MACHINE_SETTINGS
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.samples import LARGEST_FILE, SAMPLES, SampleWriter
from convsweep.results.schema import MEASUREMENTS_TABLE
from convsweep.results.store import RunFolder
from convsweep.sweep.merge_checks import kept_rows, read_finished, require_mergeable, shard_of
from convsweep.sweep.run_writer import write_summary

_UNIONS = (
    "dtypes", "memory_formats", "threads", "caches", "directions", "blocks", "weight_kinds",
)  # fmt: skip
"""Lists in the request of which the merged run has the union."""


class Merged(NamedTuple):
    """Content of a merged run."""

    environment: dict[str, Any]  # Its environment.json
    cases: int  # Number of its requested cases, counted per machine


def merge(run_dirs: Sequence[Path], out: Path, command: str) -> Merged:
    """Merge runs of one request into a new run in `out`.

    Raises:
        ValueError: in one line, if they can't be merged or `out` can't be written; then nothing is.
    """
    if len(run_dirs) < 2:
        raise ValueError("merge takes two runs or more")
    resolved = [run_dir.resolve() for run_dir in run_dirs]
    if repeated := [one for i, one in enumerate(run_dirs) if resolved[i] in resolved[:i]]:
        raise ValueError(f"{str(repeated[0])!r} is named twice")
    store.require_new(out)
    runs = [read_finished(run_dir) for run_dir in run_dirs]
    require_mergeable(runs)
    rows = kept_rows(runs)
    _require_within_limits(runs, rows)
    try:
        with complete_or_absent(out) as folder:
            _write_tables(folder, runs, rows)
            environment = _merged_metadata(runs, out.resolve().name, command, len(rows))
            store.write_environment(folder, environment)
            summary = write_summary(RunFolder(folder))
    except OSError as error:
        raise ValueError(f"{str(out)!r} can't be written: {error.strerror or error}") from None
    return Merged(environment, len(split(summary).requested))


def _require_within_limits(runs: Sequence[RunFolder], rows: DataFrame) -> None:
    """Raise `ValueError` if no reader would accept the merged run."""
    if len(rows) > MOST_ROWS:
        raise ValueError(f"{len(rows)} rows are more than a run may have, {MOST_ROWS}")
    limits = {store.MEASUREMENTS: MEASUREMENTS_TABLE.largest_file, SAMPLES: LARGEST_FILE}
    for name, most in limits.items():
        paths = [run.path / name for run in runs]
        size = sum(path.stat().st_size for path in paths if path.exists())
        if size > most:
            raise ValueError(f"{name} would have {size} bytes, more than {most}")


def _write_tables(folder: Path, runs: Sequence[RunFolder], rows: DataFrame) -> None:
    """Write measurements, samples, and networks.csv if a run has it."""
    offset = 0
    with (
        closing(MEASUREMENTS_TABLE.open(folder)) as measurements,
        closing(SampleWriter(folder)) as samples,
    ):
        for index, run in enumerate(runs):
            own = rows[rows["run"] == index]
            numbers = dict(zip(own.index - offset, count(measurements.rows)))
            measurements.append(*MEASUREMENTS_TABLE.rows_of(own.drop(columns="run")))
            samples.copy(run.path, numbers)
            offset += len(run.measurements)
    networks = [row for run in runs for row in NETWORKS_TABLE.rows_of(run.networks)]
    if networks:
        with closing(NETWORKS_TABLE.open(folder)) as table:
            table.append(*networks)


def _merged_metadata(
    runs: Sequence[RunFolder], run_id: str, command: str, rows: int
) -> dict[str, Any]:
    """Return environment.json of the merged run.

    With one machine it is that of a plain run; with several it has `environments` by id.
    """
    first = runs[0].environment
    by_id: dict[str, list[RunFolder]] = {}
    for run in runs:
        by_id.setdefault(run.environment["environment_id"], []).append(run)
    settings = dict(first.get("settings", {}))
    if len(by_id) == 1:
        machine = _machine_metadata(runs)
        settings |= machine.pop("settings")
        if any(run.environment["settings"].get("cores") != settings.get("cores") for run in runs):
            settings.pop("cores", None)
        machine |= {"environment_id": runs[0].environment["environment_id"]}
    else:
        machine = {"environments": {name: _machine_metadata(own) for name, own in by_id.items()}}
        settings = {k: v for k, v in settings.items() if k not in MACHINE_SETTINGS}
    ends = {run.environment["end_reason"] for run in runs}
    missing = {name: shards for name, own in by_id.items() if (shards := _missing_shards(own))}
    return {
        "run_id": run_id,
        "command": command,
        "started_at": min(str(run.environment.get("started_at")) for run in runs),
        "baseline": first.get("baseline"),
        "margin": first.get("margin"),
        **machine,
        "request": _merged_request([run.environment["request"] for run in runs]),
        "settings": settings,
        "merged": [_origin(run) for run in runs],
        **({"missing_shards": missing} if missing else {}),
        "end_reason": next(end for end in FINISHED if end in ends),
        "rows": rows,
    }


def _machine_metadata(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return the metadata of one machine; its runs differ at most in warnings and cores."""
    metadata = runs[0].environment
    warnings = (text for run in runs for text in run.environment.get("warnings") or [])
    settings = {k: v for k, v in metadata["settings"].items() if k in MACHINE_SETTINGS}
    machine = {name: metadata[name] for name in MACHINE_KEYS if name in metadata}
    return machine | {"warnings": [*dict.fromkeys(warnings)], "settings": settings}


def _merged_request(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the full request that the runs are shards of."""
    unions = {name: sorted({v for one in requests for v in one.get(name, [])}) for name in _UNIONS}
    shared = {k: v for k, v in requests[0].items() if k not in ("problems", "case_hash")}
    return shared | unions | {"shard": None, "case_count": shared["full_case_count"]}


def _origin(run: RunFolder) -> dict[str, Any]:
    names = ("run_id", "environment_id", "command", "started_at")
    return {name: run.environment.get(name) for name in names} | {"shard": shard_of(run)}


def _missing_shards(runs: Sequence[RunFolder]) -> list[str]:
    """Return the shards of one machine that no run is; none if a run is of the full request."""
    known = [shard for run in runs if (shard := shard_of(run))]
    if len(known) < len(runs):
        return []
    count = int(known[0].rpartition("/")[2])
    return [shard for k in range(1, count + 1) if (shard := f"{k}/{count}") not in known]
