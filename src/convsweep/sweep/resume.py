"""Resuming a run: the same request on the same machine, and no case is measured twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.measure.outcome import MEASURED_COLUMNS, Outcome
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.results import store
from convsweep.results.machines import section
from convsweep.results.metadata import Use, select
from convsweep.results.schema import MEASUREMENTS_TABLE
from convsweep.sweep.request import Request
from convsweep.system.environment import describe

if TYPE_CHECKING:
    from pandas import DataFrame


def require_same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming the difference, if a run can't be resumed.

    `earlier` is its environment.json, `now` the metadata of the same command without --resume.
    """
    if not isinstance(earlier.get("run_id"), str):
        raise ValueError("can't resume: environment.json names no run_id")
    before = select(earlier, Use.RESUME)
    for name, value in select(now, Use.RESUME).items():
        old = before.get(name)
        if old != value and name == "request.case_hash":
            raise ValueError(f"can't resume: the problems, layers or counts differ ({name})")
        if old != value:
            raise ValueError(f"can't resume: {name} was {old!r} and is {value!r} now")


def is_finished(run_dir: Path, request: Request) -> bool:
    """Return whether a run of this request on this machine has all of its rows already.

    It imports neither torch nor pandas.
    """
    earlier, path = store.read_environment(run_dir), run_dir / store.MEASUREMENTS
    now = {
        **describe(dict(request.device_descriptions)),
        "baseline": request.baseline,
        "margin": request.margin,
        "request": request.to_metadata(),
        "settings": {"case_timeout_s": request.case_timeout_s},
    }
    before, rows = select(earlier, Use.RESUME), earlier.get("rows")
    passes = section(earlier, "request").get("passes")
    return (
        earlier.get("end_reason") in ("all_passes", "converged")
        and all(before.get(name) == value for name, value in select(now, Use.RESUME).items())
        and isinstance(passes, int)
        and request.passes <= passes
        and isinstance(rows, int)
        and path.is_file()
        and path.read_bytes().count(b"\n") == 1 + rows
    )


def earlier_settings(earlier: Mapping[str, Any], now: Settings) -> Settings:
    """Return the settings that a run with a budget was measured with; `now` if not stored."""
    stored = earlier.get("settings")
    names = [field.name for field in fields(MeasurementConfig)]
    if not isinstance(stored, Mapping) or not all(
        _is_number(stored.get(name)) for name in (*names, "case_timeout_s")
    ):
        return now
    effort = MeasurementConfig(**{name: stored[name] for name in names})
    return replace(now, effort=effort, case_timeout_s=float(stored["case_timeout_s"]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def completed_results(rows: DataFrame, cases: Sequence[Case]) -> dict[tuple[int, Case], Outcome]:
    """Return the outcome of every case and pass that has a row.

    Raises:
        ValueError: a row is of no case.
    """
    by_key = {_key(case): case for case in cases}
    known: dict[tuple[int, Case], Outcome] = {}
    for row in MEASUREMENTS_TABLE.rows_of(rows):
        case = by_key.get(_row_key(row))
        if case is None:
            raise ValueError(f"can't resume: {row.backend} on {row.problem} is not in the request")
        measured = {name: getattr(row, name) for name in MEASURED_COLUMNS}
        known[row.pass_index, case] = Outcome(**measured)
    return known


def _key(case: Case) -> tuple[object, ...]:
    layer = case.layer
    return (
        case.problem.label, case.weight_kind, layer.workload, layer.name, layer.count, layer.role,
        case.backend, case.device, case.dtype, case.memory_format, case.threads, case.cache,
    )  # fmt: skip


_row_key = attrgetter(
    "problem", "weight_kind", "workload", "layer", "layer_count", "role",
    "backend", "device", "dtype", "memory_format", "threads", "cache",
)  # fmt: skip
"""Identify the case of a row; the values are in the order of `_key`."""
