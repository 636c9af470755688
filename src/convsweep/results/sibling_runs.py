"""The runs that lie beside one, as far as they were made on the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsweep.results import store
from convsweep.results.machines import machines


def sibling_runs(run_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every folder beside `run_dir`, itself too, of the same environment; the newest first.

    Each with its environment.json.
    """
    here = _where(read_metadata(run_dir))
    told = [
        (path, read_metadata(path)) for path in run_dir.resolve().parent.iterdir() if path.is_dir()
    ]
    same = [(path, found) for path, found in told if _where(found) == here]
    return sorted(same, key=lambda run: (str(run[1].get("started_at")), run[0]), reverse=True)


def _where(told: Mapping[str, Any]) -> list[str]:
    return sorted(machines(told))


def read_metadata(run_dir: Path) -> dict[str, Any]:
    """What a folder's environment.json tells; nothing where it is damaged."""
    try:
        return store.read_environment(run_dir)
    except (ValueError, OSError):
        return {}
