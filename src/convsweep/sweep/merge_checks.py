"""Checks that runs can be merged: shards or machines of one request, no case and pass twice."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame

from convsweep.results import store
from convsweep.results.lock import require_unlocked
from convsweep.results.metadata import Use, select
from convsweep.results.schema import MACHINE_COLUMNS, NOISE, PROBLEM_COLUMNS, ROOFLINE
from convsweep.results.store import RunFolder

_NEEDED = ("baseline", "margin", "environment_id", "settings", "rows", "end_reason")
"""Keys of environment.json that runs to be merged have, besides their request."""


def shard_of(run: RunFolder) -> str | None:
    """Return `2/3`, or None for a run of the full request."""
    shard: str | None = run.environment["request"].get("shard")
    return shard


def read_finished(run_dir: Path) -> RunFolder:
    """Return the finished run in `run_dir`; raise `ValueError` if it can never be merged."""
    if run_dir.is_dir():
        require_unlocked(run_dir)
    run = RunFolder(run_dir)
    if len(run.measurements) and (reason := _rejection(run.environment)):
        raise ValueError(f"{run} {reason}")
    if run.unfinished:
        how = f"is unfinished ({run.unfinished})"
        raise ValueError(f"{run} {how}: finish it first by its own command with --resume")
    return run


def _rejection(metadata: Mapping[str, Any]) -> str | None:
    """Return why no run with this metadata is merged, or None."""
    if not metadata:
        return f"can't be merged: it has no {store.ENVIRONMENT}"
    if "merged" in metadata:
        return "is a merged run: name the runs that it was merged from"
    request = metadata.get("request", {})
    if "full_request_hash" not in request:
        return f"can't be merged: its {store.ENVIRONMENT} has no request.full_request_hash"
    if missing := [name for name in _NEEDED if name not in metadata]:
        return f"can't be merged: its {store.ENVIRONMENT} has no {missing[0]}"
    if "environments" in metadata:
        return "has rows of several machines: only runs of one machine are merged"
    if "model" in metadata or request.get("name") == NOISE:
        return "is no sweep: only runs of `convsweep run` are merged"
    if not re.fullmatch(r"None|[0-9]{1,5}/[0-9]{1,5}", str(request.get("shard"))):
        return f"can't be merged: request.shard is {request.get('shard')!r}, not k/n"
    return None


def require_mergeable(runs: Sequence[RunFolder]) -> None:
    """Raise `ValueError` in one line that names the runs, if two of them can't be merged."""
    first_of: dict[str, RunFolder] = {}
    for run in runs:
        first = first_of.setdefault(run.environment["environment_id"], run)
        _require_equal(runs[0], run, Use.MERGE, Use.PER_MACHINE)
        _require_equal(first, run, Use.MERGE | Use.PER_MACHINE)
        before, now = shard_of(first), shard_of(run)
        if before and now and before.rpartition("/")[2] != now.rpartition("/")[2]:
            raise ValueError(f"{first} is shard {before} and {run} is shard {now}")
    cases = _joined_rows(runs)
    cases = cases[cases["role"].ne(ROOFLINE)].reset_index(drop=True)
    _require_distinct(runs, cases)
    _require_one_version(runs, cases)


def _joined_rows(runs: Sequence[RunFolder]) -> DataFrame:
    """Return the rows of all runs; the column `run` has the index of the run."""
    parts = [run.measurements.assign(run=index) for index, run in enumerate(runs)]
    return pd.concat(parts, ignore_index=True)


def kept_rows(runs: Sequence[RunFolder]) -> DataFrame:
    """Return the rows that the merged run keeps; the column `run` has the index of the run.

    The roofline of one machine and setting is that of the first run that measured it.
    """
    rows = _joined_rows(runs)
    first = rows.groupby([*MACHINE_COLUMNS, "role"])["run"].transform("min")
    return rows[rows["role"].ne(ROOFLINE) | rows["run"].eq(first)]


def _require_equal(first: RunFolder, run: RunFolder, use: Use, without: Use | None = None) -> None:
    before, now = (select(each.environment, use, without) for each in (first, run))
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old != new and name in ("request.full_request_hash", "request.full_case_count"):
            raise ValueError(f"{first} and {run} are of different requests: their cases differ")
        if old != new:
            raise ValueError(f"{first} and {run} differ in {name}: {old!r} against {new!r}")


def _require_distinct(runs: Sequence[RunFolder], cases: DataFrame) -> None:
    keys = [*PROBLEM_COLUMNS, "backend", "pass_index"]
    group = cases.groupby(keys, dropna=False, sort=False).ngroup()
    repeated = group[group.duplicated()]
    if repeated.empty:
        return
    first, second = cases[group == repeated.iloc[0]].to_dict("records")[:2]
    raise ValueError(
        f"{runs[first['run']]} and {runs[second['run']]} both have {first['backend']} on "
        f"{first['problem']} in pass {first['pass_index']}, in one environment"
    )


def _require_one_version(runs: Sequence[RunFolder], cases: DataFrame) -> None:
    """Raise `ValueError` if a backend was updated between runs on one machine."""
    backend = ["environment_id", "backend"]
    versions = cases.drop_duplicates([*backend, "backend_version"])
    several = versions[versions.duplicated(backend, keep=False)]
    for _, own in several.groupby(backend, sort=False):
        early, late = own.to_dict("records")[:2]
        raise ValueError(
            f"{runs[early['run']]} and {runs[late['run']]} differ in the version of "
            f"{late['backend']}: {early['backend_version']} against {late['backend_version']}"
        )
