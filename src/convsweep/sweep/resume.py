"""Going on with a run: only with the same request on the same machine, and nothing done twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from convsweep.measure.outcome import MEASURED_COLUMNS, Outcome
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.results.store import flat

if TYPE_CHECKING:
    from pandas import DataFrame

_MUST_MATCH = ("environment_id", "baseline", "margin", "request", "settings")


def require_same(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming what differs, where a run can't be gone on with.

    Args:
        there: environment.json of the run.
        here: what it would say if the run were begun now.
    """
    if not isinstance(there.get("run_id"), str):
        raise ValueError("can't resume: environment.json names no run_id")
    before, now = ({k: e.get(k) for k in _MUST_MATCH} for e in (there, here))
    recorded = flat(before)
    for name, value in flat(now).items():
        old = recorded.get(name)
        if old != value and name == "request.case_hash":
            raise ValueError(
                "can't resume: the problems, their names or how often they count differ from the "
                "run's (request.case_hash)"
            )
        if old != value:
            raise ValueError(f"can't resume: {name} was {old!r} and is {value!r} now")


def earlier_settings(there: Mapping[str, Any], here: Settings) -> Settings:
    """How much of a case the run has timed in a pass, and how long it might take, with a budget.

    What is added is timed alike. Where environment.json does not tell it, it is that of `here`.
    """
    told = there.get("settings")
    names = [field.name for field in fields(MeasurementConfig)]
    if not isinstance(told, Mapping) or not all(
        _is_number(told, name) for name in (*names, "case_timeout_s")
    ):
        return here
    effort = MeasurementConfig(**{name: told[name] for name in names})
    return replace(here, effort=effort, case_timeout_s=float(told["case_timeout_s"]))


def _is_number(told: Mapping[str, Any], name: str) -> bool:
    value = told.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def completed_results(rows: DataFrame, cases: Sequence[Case]) -> dict[tuple[int, Case], Outcome]:
    """The outcome of every case and pass that has a row.

    Raises:
        ValueError: a row is of no case, or two are of one case and pass.
    """
    by_key = {_key(case): case for case in cases}
    known: dict[tuple[int, Case], Outcome] = {}
    for row in rows.to_dict("records"):
        case = by_key.get(tuple(_plain(row[name]) for name in _KEY))
        if case is None:
            raise ValueError(
                f"can't resume: {row['backend']} on {row['problem']} is in the run alone"
            )
        visit = (int(row["pass_index"]), case)
        if visit in known:
            raise ValueError(f"can't resume: {row['backend']} on {row['problem']} is there twice")
        known[visit] = Outcome(**{name: _plain(row[name]) for name in MEASURED_COLUMNS})
    return known


_KEY = ("problem", "weight_kind", "workload", "layer", "layer_count", "role", "backend", "device", "dtype",
        "memory_format", "threads", "cache")  # fmt: skip


def _key(case: Case) -> tuple[object, ...]:
    layer = case.layer
    return (
        case.problem.label, case.weight_kind, layer.workload, layer.name, layer.count, layer.role,
        case.backend, case.device, case.dtype, case.memory_format, case.threads, case.cache,
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """A cell as Python's own: missing is None, a whole number an int."""
    import pandas as pd

    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value
