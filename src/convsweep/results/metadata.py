"""Keys of environment.json, and how runs are compared by them."""

import math
from collections.abc import Mapping
from enum import Flag, auto
from typing import Any, Literal, get_args, get_origin


class Use(Flag):
    """What a key of environment.json is used for."""

    RESUME = auto()  # Must be equal for a run to be resumed
    COMPARE = auto()  # Must be equal for two runs to be compared without --across-machines
    MERGE = auto()  # Must be equal in merged runs; a key per machine only in runs of one machine
    PER_MACHINE = auto()  # Recorded for each environment of a merged run


_SHARED = Use.RESUME | Use.MERGE
_OF_A_SHARD = ("shard", "case_count", "problems", "case_hash", "dtypes", "memory_formats",
               "threads", "caches", "weight_kinds")  # fmt: skip
_UNUSED_IN_MEASURING = ("matplotlib", "pandas", "pytest-benchmark")
METADATA_KEYS: dict[str, Use] = {
    "environment_id": Use.RESUME,
    "baseline": _SHARED,
    "margin": _SHARED,
    "machine": Use.COMPARE | Use.PER_MACHINE,
    "processor": Use.PER_MACHINE,
    "counters": Use.PER_MACHINE,
    "machine.memory_bytes": Use.PER_MACHINE,
    "versions": Use.COMPARE | Use.PER_MACHINE,
    **{f"versions.{name}": Use.PER_MACHINE for name in _UNUSED_IN_MEASURING},
    "devices": Use.COMPARE | Use.PER_MACHINE,
    "variables": Use.COMPARE | Use.PER_MACHINE,
    "commit": Use.MERGE | Use.PER_MACHINE,
    "warnings": Use.PER_MACHINE,
    "request": _SHARED,
    **{f"request.{name}": Use.RESUME for name in _OF_A_SHARD},
    "request.passes": Use.MERGE,  # A run can be resumed with more passes
    "settings": _SHARED | Use.COMPARE,
    "settings.seed": _SHARED,
    "settings.case_timeout_s": _SHARED,
    "settings.passes": _SHARED,
    "settings.allocator": _SHARED | Use.COMPARE | Use.PER_MACHINE,
    "settings.address_randomization": _SHARED | Use.COMPARE | Use.PER_MACHINE,
    "settings.niceness": _SHARED | Use.COMPARE | Use.PER_MACHINE,
    "settings.blocks": Use.PER_MACHINE,  # chosen during a run with a budget
    "settings.cores": Use.RESUME | Use.COMPARE | Use.PER_MACHINE,
}
"""Keys of environment.json; a nested key that is not listed is used as the one that contains it."""
_PER_MACHINE = [key for key, use in METADATA_KEYS.items() if Use.PER_MACHINE in use]
MACHINE_KEYS = tuple(key for key in _PER_MACHINE if "." not in key)
MACHINE_SETTINGS = tuple(key.removeprefix("settings.") for key in _PER_MACHINE if "." in key)


FINISHED = ("budget", "converged", "all_passes", "done")
"""Ends of runs that lack nothing; `done` is that of accuracy studies."""
_KEYS_BY_TYPE: Mapping[Any, str] = {
    str: "run_id command started_at baseline environment_id request.name request.case_hash "
    "request.full_request_hash",
    str | None: "commit request.shard",
    int: "rows request.case_count request.full_case_count request.passes request.problems",
    float: "margin",
    list[int]: "request.threads",
    list[str]: "warnings resumed_by request.backends request.devices request.dtypes "
    "request.memory_formats request.caches request.directions request.blocks "
    "request.weight_kinds",
    list[dict[str, Any]]: "merged task_losses",
    dict[str, Any]: "machine processor settings request request.datasets request.epochs model ray",
    dict[str, str | None]: "versions devices variables counters",
    dict[str, int | float]: "time_spent",
    dict[str, list[str]]: "missing_shards",
    dict[str, dict[str, Any]]: "environments",
    Literal[*FINISHED, "interrupted", "nodes_lost", None]: "end_reason",
}
_TYPES = {key: kind for kind, keys in _KEYS_BY_TYPE.items() for key in keys.split()}
"""Types of the keys that are read; all are optional."""


def require_types(metadata: Mapping[str, Any], prefix: str = "") -> None:
    """Raise `ValueError` if a key of environment.json has a value that no run writes."""
    for key, value in metadata.items():
        kind = _TYPES.get(name := f"{prefix}{key}", Any)
        if name == "request.threads" and "datasets" in metadata:  # of an accuracy study
            kind = int
        if not _fits(value, kind):
            text = str(kind) if get_args(kind) else kind.__name__
            raise ValueError(f"its {name} is {value!r}, not {text}")
    if not prefix:
        require_types(metadata.get("request", {}), "request.")
    for one in metadata.get("environments", {}).values():
        require_types(one)


def _fits(value: object, kind: Any) -> bool:
    """Return whether a value of JSON has a type; counts and seconds are 0 or more, shares <= 1."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in parts
    if kind is Any:
        return True
    if origin is list:
        return isinstance(value, list) and all(_fits(one, parts[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(one, parts[1]) for one in value.values())
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return not isinstance(value, int | float) or 0 <= value <= (1 if kind is float else math.inf)


def flatten(metadata: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `{"settings": {"seed": 0}}` as `{"settings.seed": 0}`."""
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        nested = isinstance(value, Mapping)
        found |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def select(metadata: Mapping[str, Any], use: Use, without: Use | None = None) -> dict[str, Any]:
    """Return the flattened keys that have all flags of `use` and none of `without`."""

    def is_selected(key: str) -> bool:
        own = METADATA_KEYS.get(key)
        if own is None:
            parent = key.rpartition(".")[0]
            return bool(parent) and is_selected(parent)
        return use in own and (without is None or not own & without)

    return {key: value for key, value in flatten(metadata).items() if is_selected(key)}
