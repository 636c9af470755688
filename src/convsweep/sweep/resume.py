"""Resuming a run: the same request on the same machine, and no case is measured twice."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.measure.outcome import MEASURED_COLUMNS, Outcome
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.results import store
from convsweep.results.lock import require_unlocked
from convsweep.results.machines import machines
from convsweep.results.metadata import Use, select
from convsweep.results.schema import CASE, MEASUREMENTS_TABLE, pass_times
from convsweep.sweep.environment import Environment
from convsweep.sweep.request import Request

if TYPE_CHECKING:
    from pandas import DataFrame

_OPTIONS = {
    "baseline": "--baseline", "margin": "--margin", "settings.case_timeout_s": "--case-timeout",
    "settings.allocator": "--allocator", "request.allocator": "--allocator",
    "request.backends": "--backend",
    "request.blocks": "--block", "request.caches": "--cache", "request.devices": "--device",
    "request.directions": "--direction", "request.dtypes": "--dtype",
    "request.memory_formats": "--memory-format", "request.precision": "--precision",
    "request.shard": "--shard", "request.threads": "--threads",
    "request.weight_kinds": "--weight-kind",
}  # fmt: skip
"""Options by their keys in environment.json."""
_BUDGET, _CASE_TIMEOUT = "--budget", "--case-timeout"
_CHOSEN_BY_BUDGET = {f"settings.{field.name}" for field in fields(MeasurementConfig)}
_PROBLEM_OPTIONS = ("--grid", "--workload", "--problem", "--problems", "--layer", "--axis",
                    "--batch-size")  # fmt: skip


def require_same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming the options that differ, if a run can't be resumed.

    `earlier` is its environment.json, `now` the metadata of the same command without --resume.
    """
    if "run_id" not in earlier:
        raise ValueError("can't resume: environment.json names no run_id")
    ids_before, ids = (", ".join(map(repr, sorted(machines(one)))) for one in (earlier, now))
    if ids_before != ids:
        hint = "; --nodes chooses nodes" if "ray" in earlier else ""
        raise ValueError(f"can't resume: environment_id was {ids_before} and is {ids} now{hint}")
    for environment_id in machines(now):
        before, after = (
            select(_of_environment(one, environment_id), Use.RESUME) for one in (earlier, now)
        )
        if differ := [name for name, value in after.items() if before.get(name) != value]:
            by_budget = _chosen_by_budget(earlier, now)
            pairs = {
                "the choice of problems": (_problem_options(earlier), _problem_options(now))
            } | {
                _BUDGET if name in by_budget else _OPTIONS.get(name, name): by_budget.get(
                    name, (before.get(name), after[name])
                )
                for name in differ
                if (name in _OPTIONS or not name.startswith("request."))
                and not (name == "settings.cores" and "request.threads" in differ)
            }
            texts = [f"{name} was {_typed(old)} and is {_typed(new)} now"
                     for name, (old, new) in pairs.items() if old != new]  # fmt: skip
            others = f"the problems, layers or counts differ ({', '.join(differ)})"
            raise ValueError(f"can't resume: {'; '.join(texts) or others}")


def require_resumable(
    run_dir: Path, environments: Sequence[Environment], command: str
) -> dict[str, Any]:
    """Return environment.json of a run that `command` continues on these machines.

    It imports neither torch nor pandas. Raises `ValueError` if another run writes there, or naming
    the options that differ.
    """
    require_unlocked(run_dir)
    earlier = store.read_environment(run_dir)
    first = environments[0].request
    # A run with a budget keeps its settings.
    own = {} if first.budget_s else {"case_timeout_s": first.case_timeout_s}
    settings = dict.fromkeys((one.id for one in environments), own)
    require_same(earlier, metadata_of(environments, settings, command))
    return earlier


def metadata_of(
    environments: Sequence[Environment], settings: Mapping[str, Mapping[str, object]], command: str
) -> dict[str, Any]:
    """Return the part of environment.json that is known before measuring.

    Several environments have a part each; `settings` are those of each by its id.
    """
    first = environments[0].request
    run = {"command": command, "baseline": first.baseline, "margin": first.margin}
    parts = {
        one.id: {**one.metadata, "request": one.request.to_metadata(), "settings": settings[one.id]}
        for one in environments
    }
    if len(parts) == 1:
        return run | parts[environments[0].id]
    return run | {"request": first.to_metadata(), "environments": parts}


def _typed(value: object) -> str:
    """Return a value as on the command line, quoted for a shell."""
    if value is None:
        return "not given"
    if isinstance(value, list):
        return shlex.join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else shlex.quote(str(value))


def _problem_options(metadata: Mapping[str, Any]) -> str:
    """Return the options of a run's command that choose problems; empty: the default ones."""
    given = _given_options(metadata)
    return " ".join(sorted(" ".join(pair) for pair in given if pair[0] in _PROBLEM_OPTIONS))


def _given_options(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the options of a run's command, each with its value."""
    try:
        words = shlex.split(str(metadata.get("command") or ""))
    except ValueError:  # a program of its own
        return []
    pairs = ((word.partition("="), value) for word, value in pairwise([*words, ""]))
    return [(name, own if sign else value) for (name, sign, own), value in pairs if name[:1] == "-"]


def _chosen_by_budget(
    earlier: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[str | None, str | None]]:
    """Return the budgets of both commands by each setting that differs because they do."""
    before, after = (dict(_given_options(one)) for one in (earlier, now))
    budgets = before.get(_BUDGET), after.get(_BUDGET)
    if budgets[0] == budgets[1]:
        return {}
    is_limited = _CASE_TIMEOUT in before or _CASE_TIMEOUT in after
    limit = set() if is_limited else {"settings.case_timeout_s"}
    return dict.fromkeys(_CHOSEN_BY_BUDGET | limit, budgets)


def _of_environment(metadata: Mapping[str, Any], environment_id: str) -> dict[str, Any]:
    """Return environment.json as that of a run on one environment alone."""
    part = machines(metadata).get(environment_id, {})
    return {**metadata, **part, "environment_id": environment_id}


def is_finished(run_dir: Path, earlier: Mapping[str, Any], request: Request) -> bool:
    """Return whether a resumable run has all rows of the request already.

    `earlier` is its environment.json.
    """
    path = run_dir / store.MEASUREMENTS
    # Without a criterion, cases that a budget or a precision has ended lack passes.
    ends = ("all_passes", "converged") if request.adaptive else ("all_passes",)
    return (
        earlier.get("end_reason") in ends
        and request.passes <= earlier.get("request", {}).get("passes", 0)
        and path.is_file()
        and (run_dir / store.SUMMARY).is_file()
        and path.read_bytes().count(b"\n") - 1 == earlier.get("rows")
    )


def earlier_settings(earlier: Mapping[str, Any], environment_id: str, now: Settings) -> Settings:
    """Return the settings that a run with a budget was measured with; `now` if not stored."""
    known = _of_environment(earlier, environment_id).get("settings", {})
    names = (*(field.name for field in fields(MeasurementConfig)), "case_timeout_s")
    stored = {name: known.get(name) for name in names}
    if not all(type(value) in (int, float) and value > 0 for value in stored.values()):
        return now
    case_timeout_s = float(stored.pop("case_timeout_s"))
    return replace(now, effort=MeasurementConfig(**stored), case_timeout_s=case_timeout_s)


def completed_results(rows: "DataFrame", cases: Sequence[Case]) -> dict[tuple[int, Case], Outcome]:
    """Return the outcome of every case and pass that has a row.

    Raises:
        ValueError: a row is of no case.
    """
    requested = {*cases}
    problems = {label: ConvProblem.parse(label) for label in rows["problem"].unique()}
    known: dict[tuple[int, Case], Outcome] = {}
    for row in MEASUREMENTS_TABLE.rows_of(rows.assign(time_s=pass_times(rows))):
        layer = Layer(problems[row.problem], row.workload, row.layer, row.layer_count, row.role)
        how = (row.device, row.dtype, row.memory_format, row.threads, row.cache)
        case = Case(layer, row.weight_kind, *how, row.backend, row.direction, row.block)
        if case not in requested and row.role != CASE:
            continue  # a shorter budget leaves out the roofline and separable parts
        if case not in requested:
            raise ValueError(f"can't resume: {row.backend} on {row.problem} is not in the request")
        measured = {name: getattr(row, name) for name in MEASURED_COLUMNS}
        known[row.pass_index, case] = Outcome(**measured)
    return known
