"""Whether runs belong together: parts of one request, measured alike, no case and pass twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from convsweep.results import store
from convsweep.results.lock import require_unlocked
from convsweep.results.schema import MACHINE_COLUMNS, NOISE, ROOFLINE

if TYPE_CHECKING:
    from pandas import DataFrame

_ENDED = ("all_passes", "converged", "budget")
_OF_A_SHARD = ("shard", "case_count", "problems", "case_hash", "dtypes", "memory_formats", "threads",
               "caches", "weight_kinds")  # fmt: skip
"""What of a request only tells which of its cases a shard has."""
FOUND = ("allocator", "address_randomization", "cores", "niceness")
"""The settings that a machine has, whatever is asked of it."""
_CASE = [*store.PROBLEM_COLUMNS, "backend"]


@dataclass(frozen=True)
class MergeInput:
    """One of the runs that are to be merged."""

    folder: Path
    told: Mapping[str, Any]
    """Its environment.json."""
    visits: DataFrame
    """Which case and pass each of its rows is of."""

    @property
    def environment_id(self) -> str:
        """What it was measured in."""
        return str(self.told["environment_id"])

    @property
    def shard(self) -> str | None:
        """`2/3`; None where it is of the whole request."""
        shard = self.told["request"].get("shard")
        return None if shard is None else str(shard)

    def __str__(self) -> str:
        """Its folder, as messages name it."""
        return repr(str(self.folder))


def read_part(run_dir: Path) -> MergeInput:
    """The run in `run_dir`, which has come to its end.

    Raises:
        ValueError: in one line, where there is none that can be merged.
    """
    if run_dir.is_dir():
        require_unlocked(run_dir)
    rows = store.load(run_dir)
    told = store.read_environment(run_dir)
    if reason := _load_failure(rows, told):
        raise ValueError(f"{str(run_dir)!r} {reason}")
    columns = [*_CASE, "backend_version", "pass_index"]
    return MergeInput(run_dir, told, rows[columns])


def _load_failure(rows: DataFrame, told: Mapping[str, Any]) -> str | None:
    """Why a run can't be merged, to follow its name, or None."""
    versions = set(rows["schema_version"]) - {store.SCHEMA_VERSION}
    if versions:
        return f"is of schema version {versions.pop()}, and only {store.SCHEMA_VERSION} is merged"
    return _not_mergeable_reason(told) or _incomplete_reason(rows, told)


def _not_mergeable_reason(told: Mapping[str, Any]) -> str | None:
    """What keeps a run from being a part of any request."""
    if not told:
        return f"can't be merged: it has no {store.ENVIRONMENT}"
    if "merged" in told:
        return "was merged itself: name the runs that it was merged from"
    request = told.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("full_request_hash"), str):
        return "does not tell which cases were asked for in all: it is of an older convsweep"
    if "model" in told or request.get("name") == NOISE:
        return "is no sweep: only what convsweep run has measured is merged"
    if not re.fullmatch(r"None|[0-9]{1,5}/[0-9]{1,5}", str(request.get("shard"))):
        return f"can't be merged: its {store.ENVIRONMENT} tells of shard {request.get('shard')!r}"
    return None


def _incomplete_reason(rows: DataFrame, told: Mapping[str, Any]) -> str | None:
    """What is missing of a run."""
    if told.get("end_reason") not in _ENDED:
        how = "interrupted" if told.get("end_reason") == "interrupted" else "cut off"
        return f"was {how}: go on with it first, by its own command and --resume"
    if (written := told.get("rows")) != len(rows):
        return f"has {len(rows)} rows, and its {store.ENVIRONMENT} tells of {written}"
    if "environments" in told:
        return "has rows of several machines: runs of one machine each can be merged"
    if set(rows["environment_id"]) - {told.get("environment_id")}:
        return f"has rows of another environment than its {store.ENVIRONMENT}"
    return None


def require_mergeable(parts: Sequence[MergeInput]) -> None:
    """Raise `ValueError` in one line, naming the runs, where two of them can't be merged."""
    first_of: dict[str, MergeInput] = {}
    for part in parts:
        first = first_of.setdefault(part.environment_id, part)
        _require_equal(parts[0], part, *(_asked(one.told) for one in (parts[0], part)))
        _require_equal(first, part, *(_found(one.told) for one in (first, part)))
        if None not in (part.shard, first.shard) and _of(part) != _of(first):
            raise ValueError(f"{first} is shard {first.shard} and {part} is shard {part.shard}")
    every = pd.concat([part.visits.assign(part=i) for i, part in enumerate(parts)])
    every = every[every["role"].ne(ROOFLINE)].reset_index(drop=True)
    _require_distinct(parts, every)
    _require_one_version(parts, every)


def _of(part: MergeInput) -> str:
    return str(part.shard).rpartition("/")[2]


def _asked(told: Mapping[str, Any]) -> dict[str, Any]:
    """What all parts of a whole share, on whatever machine."""
    request = {name: value for name, value in told["request"].items() if name not in _OF_A_SHARD}
    settings = {name: value for name, value in _settings(told).items() if name not in FOUND}
    shared = {"request": request, "settings": settings}
    return store.flat({name: told.get(name) for name in ("baseline", "margin")} | shared)


def _found(told: Mapping[str, Any]) -> dict[str, Any]:
    """What rows of one environment share besides."""
    settings = {name: value for name, value in _settings(told).items() if name != "cores"}
    return store.flat({"commit": told.get("commit"), "settings": settings})


def _settings(told: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = told.get("settings")
    return settings if isinstance(settings, Mapping) else {}


def _require_equal(
    first: MergeInput, part: MergeInput, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old != new and name in ("request.full_request_hash", "request.full_case_count"):
            raise ValueError(f"{first} and {part} are of different requests: their cases differ")
        if old != new:
            raise ValueError(f"{first} and {part} differ in {name}: {old!r} against {new!r}")


def _require_distinct(parts: Sequence[MergeInput], every: DataFrame) -> None:
    visit = every.groupby([*_CASE, "pass_index"], dropna=False, sort=False).ngroup()
    again = visit[visit.duplicated()]
    if again.empty:
        return
    first, second = every[visit == again.iloc[0]].to_dict("records")[:2]
    raise ValueError(
        f"{parts[first['part']]} and {parts[second['part']]} both have {first['backend']} on "
        f"{first['problem']} in pass {first['pass_index']}, in one environment"
    )


def _require_one_version(parts: Sequence[MergeInput], every: DataFrame) -> None:
    """Raise `ValueError` where a backend was updated between runs on one machine."""
    told = every.drop_duplicates(["environment_id", "backend", "backend_version"])
    again = told[told.duplicated(["environment_id", "backend"])]
    for late in again.to_dict("records")[:1]:
        same = (told["environment_id"] == late["environment_id"]) & (
            told["backend"] == late["backend"]
        )
        early = told[same].iloc[0]
        raise ValueError(
            f"{parts[early['part']]} and {parts[late['part']]} differ in the version of "
            f"{late['backend']}: {early['backend_version']} against {late['backend_version']}"
        )


def new_places(parts: Sequence[MergeInput]) -> list[list[int | None]]:
    """The number that each row of each part gets in the merged run; None: it is left out.

    The ceilings of one machine and setting are those of the first part that measured them.
    """
    owners: dict[tuple[object, ...], int] = {}
    places: list[list[int | None]] = []
    number = 0
    for index, part in enumerate(parts):
        ceiling = part.visits["role"].eq(ROOFLINE)
        keys = part.visits[[*MACHINE_COLUMNS]].itertuples(index=False, name=None)
        own: list[int | None] = []
        for is_ceiling, key in zip(ceiling, keys, strict=True):
            kept = not is_ceiling or owners.setdefault(key, index) == index
            own.append(number if kept else None)
            number += kept
        places.append(own)
    return places
