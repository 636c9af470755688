"""Checks that runs can be merged: shards or machines of one request, no case and pass twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from convsweep.results import store
from convsweep.results.lock import require_unlocked
from convsweep.results.metadata import Use, select
from convsweep.results.run_folder import RunFolder
from convsweep.results.schema import MACHINE_COLUMNS, NOISE, PROBLEM_COLUMNS, ROOFLINE

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame, Series

END_REASONS = ("budget", "converged", "all_passes")
"""Ends of runs that can be merged; the merged run has the first of those of its inputs."""


@dataclass(frozen=True)
class MergeInput:
    """One of the runs that are merged."""

    folder: RunFolder

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Content of environment.json."""
        return self.folder.environment

    @property
    def environment_id(self) -> str:
        """Id of the machine."""
        return str(self.metadata["environment_id"])

    @property
    def shard(self) -> str | None:
        """`2/3`; None for a run of the full request."""
        shard = self.metadata["request"].get("shard")
        return None if shard is None else str(shard)

    @property
    def shard_count(self) -> str | None:
        """Number of shards; None for a run of the full request."""
        return self.shard and self.shard.rpartition("/")[2]

    def __str__(self) -> str:
        """Return the folder for error messages."""
        return str(self.folder)


def read_input(run_dir: Path) -> MergeInput:
    """Return the finished run in `run_dir`.

    Raises:
        ValueError: in one line, if it can't be merged with any other.
    """
    if run_dir.is_dir():
        require_unlocked(run_dir)
    folder = RunFolder(run_dir)
    rows = folder.measurements
    if reason := _rejection(folder.environment) or _incompleteness(rows, folder.environment):
        raise ValueError(f"{folder} {reason}")
    return MergeInput(folder)


def _rejection(metadata: Mapping[str, Any]) -> str | None:
    """Return why no run with this metadata is merged, or None."""
    if not metadata:
        return f"can't be merged: it has no {store.ENVIRONMENT}"
    if "merged" in metadata:
        return "is a merged run: name the runs that it was merged from"
    request = metadata.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("full_request_hash"), str):
        return f"can't be merged: its {store.ENVIRONMENT} has no request.full_request_hash"
    if "model" in metadata or request.get("name") == NOISE:
        return "is no sweep: only runs of `convsweep run` are merged"
    if not re.fullmatch(r"None|[0-9]{1,5}/[0-9]{1,5}", str(request.get("shard"))):
        return f"can't be merged: request.shard is {request.get('shard')!r}, not k/n"
    return None


def _incompleteness(rows: DataFrame, metadata: Mapping[str, Any]) -> str | None:
    """Return how a run is incomplete, or None."""
    if (end := metadata.get("end_reason")) not in END_REASONS:
        how = "interrupted" if end == "interrupted" else "cut off"
        return f"was {how}: finish it first by its own command with --resume"
    if (recorded := metadata.get("rows")) != len(rows):
        return f"has {len(rows)} rows, but its {store.ENVIRONMENT} records {recorded}"
    if "environments" in metadata:
        return "has rows of several machines: only runs of one machine are merged"
    if set(rows["environment_id"]) - {metadata.get("environment_id")}:
        return f"has rows of another environment than its {store.ENVIRONMENT}"
    return None


def require_mergeable(inputs: Sequence[MergeInput]) -> None:
    """Raise `ValueError` in one line that names the runs, if two of them can't be merged."""
    first_of: dict[str, MergeInput] = {}
    for one in inputs:
        first = first_of.setdefault(one.environment_id, one)
        _require_equal(inputs[0], one, Use.MERGE, Use.PER_MACHINE)
        _require_equal(first, one, Use.MERGE | Use.PER_MACHINE)
        if None not in (one.shard, first.shard) and one.shard_count != first.shard_count:
            raise ValueError(f"{first} is shard {first.shard} and {one} is shard {one.shard}")
    cases = joined_rows(inputs)
    cases = cases[cases["role"].ne(ROOFLINE)].reset_index(drop=True)
    _require_distinct(inputs, cases)
    _require_one_version(inputs, cases)


def joined_rows(inputs: Sequence[MergeInput]) -> DataFrame:
    """Return the rows of all runs; the column `input` has the index of the run."""
    return pd.concat(
        [one.folder.measurements.assign(input=index) for index, one in enumerate(inputs)],
        ignore_index=True,
    )


def kept_rows(rows: DataFrame) -> Series[bool]:
    """Return which of the joined rows the merged run keeps.

    The roofline of one machine and setting is that of the first run that measured it.
    """
    first = rows.groupby([*MACHINE_COLUMNS, "role"])["input"].transform("min")
    return rows["role"].ne(ROOFLINE) | rows["input"].eq(first)


def _require_equal(
    first: MergeInput, one: MergeInput, use: Use, without: Use | None = None
) -> None:
    before, now = (select(each.metadata, use, without) for each in (first, one))
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old != new and name in ("request.full_request_hash", "request.full_case_count"):
            raise ValueError(f"{first} and {one} are of different requests: their cases differ")
        if old != new:
            raise ValueError(f"{first} and {one} differ in {name}: {old!r} against {new!r}")


def _require_distinct(inputs: Sequence[MergeInput], cases: DataFrame) -> None:
    keys = [*PROBLEM_COLUMNS, "backend", "pass_index"]
    group = cases.groupby(keys, dropna=False, sort=False).ngroup()
    repeated = group[group.duplicated()]
    if repeated.empty:
        return
    first, second = cases[group == repeated.iloc[0]].to_dict("records")[:2]
    raise ValueError(
        f"{inputs[first['input']]} and {inputs[second['input']]} both have {first['backend']} on "
        f"{first['problem']} in pass {first['pass_index']}, in one environment"
    )


def _require_one_version(inputs: Sequence[MergeInput], cases: DataFrame) -> None:
    """Raise `ValueError` if a backend was updated between runs on one machine."""
    versions = cases.drop_duplicates(["environment_id", "backend", "backend_version"])
    for _, own in versions.groupby(["environment_id", "backend"], sort=False):
        if len(own) > 1:
            early, late = own.to_dict("records")[:2]
            raise ValueError(
                f"{inputs[early['input']]} and {inputs[late['input']]} differ in the version of "
                f"{late['backend']}: {early['backend_version']} against {late['backend_version']}"
            )
