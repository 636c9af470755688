"""The runs that lie beside one, as far as they were made on the same machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convsweep import store


def runs_beside(run_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every folder beside `run_dir`, itself too, of the same environment; the newest first.

    Each with its environment.json.
    """
    here = told_by(run_dir).get("environment_id")
    told = [(path, told_by(path)) for path in run_dir.resolve().parent.iterdir() if path.is_dir()]
    same = [(path, found) for path, found in told if found.get("environment_id") == here]
    return sorted(same, key=lambda run: (str(run[1].get("started_at")), run[0]), reverse=True)


def told_by(run_dir: Path) -> dict[str, Any]:
    """What a folder's environment.json tells; nothing where it is damaged."""
    try:
        return store.read_environment(run_dir)
    except (ValueError, OSError):
        return {}
