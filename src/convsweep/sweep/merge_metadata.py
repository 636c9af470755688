"""environment.json of a merged run: what its parts share, and each machine apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convsweep.results.machines import OF_A_MACHINE
from convsweep.sweep.merge_checks import FOUND, MergeInput

_UNIONS = ("dtypes", "memory_formats", "threads", "caches", "weight_kinds")
_OF_A_PART = ("problems", "case_hash")
_ENDS = ("budget", "converged", "all_passes")
"""How parts may have ended; the merged run has ended as the first of these that is there."""


def merged_environment(
    parts: Sequence[MergeInput], run_id: str, command: str, rows: int
) -> dict[str, Any]:
    """What environment.json of the merged run tells.

    Of one environment it is as a plain run's; of several it has `environments` by id.
    """
    first = parts[0].told
    by_id: dict[str, list[MergeInput]] = {}
    for part in parts:
        by_id.setdefault(part.environment_id, []).append(part)
    told = {
        "run_id": run_id,
        "command": command,
        "started_at": min(str(part.told.get("started_at")) for part in parts),
        "baseline": first.get("baseline"),
        "margin": first.get("margin"),
    }
    if len(by_id) == 1:
        machine = _machine(parts)
        settings = dict(first.get("settings", {})) | machine.pop("settings")
        if any(part.told["settings"].get("cores") != settings.get("cores") for part in parts):
            settings.pop("cores", None)
        told |= {"environment_id": parts[0].environment_id, **machine}
    else:
        told["environments"] = {name: _machine(own) for name, own in by_id.items()}
        settings = {k: v for k, v in first.get("settings", {}).items() if k not in FOUND}
    ends = {part.told["end_reason"] for part in parts}
    missing = {name: shards for name, own in by_id.items() if (shards := _missing(own))}
    return told | {
        "request": _request(parts),
        "settings": settings,
        "merged": [_origin(part) for part in parts],
        **({"missing_shards": missing} if missing else {}),
        "end_reason": next(end for end in _ENDS if end in ends),
        "rows": rows,
    }


def _machine(parts: Sequence[MergeInput]) -> dict[str, Any]:
    """What is told of one environment: its parts agree but for warnings and cores."""
    told = parts[0].told
    warnings = (text for part in parts for text in part.told.get("warnings") or [])
    machine = {name: told.get(name) for name in OF_A_MACHINE}
    settings = {name: told["settings"][name] for name in FOUND if name in told["settings"]}
    return machine | {"warnings": [*dict.fromkeys(warnings)], "settings": settings}


def _request(parts: Sequence[MergeInput]) -> dict[str, Any]:
    """What was asked in all."""
    asked = [part.told["request"] for part in parts]
    unions = {name: sorted({v for one in asked for v in one.get(name, [])}) for name in _UNIONS}
    whole = {name: value for name, value in asked[0].items() if name not in _OF_A_PART}
    return whole | unions | {"shard": None, "case_count": whole["full_case_count"]}


def _origin(part: MergeInput) -> dict[str, Any]:
    told: Mapping[str, Any] = part.told
    names = ("run_id", "environment_id", "command", "started_at")
    return {name: told.get(name) for name in names} | {"shard": part.shard}


def _missing(parts: Sequence[MergeInput]) -> list[str]:
    """The shards that no part of one environment is; none where one is of the whole."""
    shards = [part.shard for part in parts]
    known = [shard for shard in shards if shard is not None]
    if len(known) < len(shards):
        return []
    of = known[0].rpartition("/")[2]
    return [name for k in range(1, int(of) + 1) if (name := f"{k}/{of}") not in known]
