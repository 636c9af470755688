"""Keys of environment.json, and how runs are compared by them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Flag, auto
from typing import Any


class Use(Flag):
    """What a key of environment.json is used for."""

    RESUME = auto()  # Must be equal for a run to be resumed
    COMPARE = auto()  # Must be equal for two runs to be compared without --across-machines
    MERGE = auto()  # Must be equal in merged runs; a key per machine only in runs of one machine
    PER_MACHINE = auto()  # Recorded for each environment of a merged run


_SHARED = Use.RESUME | Use.MERGE
_OF_A_SHARD = ("shard", "case_count", "problems", "case_hash", "dtypes", "memory_formats",
               "threads", "caches", "weight_kinds")  # fmt: skip
METADATA_KEYS: dict[str, Use] = {
    "environment_id": Use.RESUME,
    "baseline": _SHARED,
    "margin": _SHARED,
    "machine": Use.COMPARE | Use.PER_MACHINE,
    "versions": Use.COMPARE | Use.PER_MACHINE,
    "devices": Use.COMPARE | Use.PER_MACHINE,
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
    "settings.cores": Use.RESUME | Use.COMPARE | Use.PER_MACHINE,
}
"""Keys of environment.json; a nested key that is not listed is used as the one that contains it."""
_PER_MACHINE = [key for key, use in METADATA_KEYS.items() if Use.PER_MACHINE in use]
MACHINE_KEYS = tuple(key for key in _PER_MACHINE if "." not in key)
MACHINE_SETTINGS = tuple(key.removeprefix("settings.") for key in _PER_MACHINE if "." in key)


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
