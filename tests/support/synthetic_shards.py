"""Finished runs and shards of one request, ready to merge."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convsweep.results import samples, store
from convsweep.results.schema import Row
from convsweep.sweep.merge import merge
from tests.support import synthetic_runs as made

PROBLEMS = made.grid(channels=(4, 64), sizes=(7, 14))
SWEPT = made.rows(PROBLEMS, passes=3)
COUNT = len(PROBLEMS) * len(made.BACKENDS)
REQUEST = {
    "name": "quick", "shard": None, "full_request_hash": "0123456789ab", "full_case_count": COUNT,
    "case_count": COUNT, "problems": len(PROBLEMS), "backends": list(made.BACKENDS),
    "devices": ["cpu"], "dtypes": ["float32"], "memory_formats": ["contiguous"], "threads": [1],
    "caches": ["hot"], "weight_kinds": ["dense", "separable"], "case_hash": "of a shard",
    "passes": 3, "precision": None, "allocator": "retain",
}  # fmt: skip
SETTINGS = {"seed": 0, "allocator": "retain", "cores": [1], "niceness": -10, "block_s": 0.01}


def write(
    run_dir: Path, rows: Sequence[Row], /, *, shard: str | None = None, **changes: object
) -> Path:
    """A run that came to its end, two samples a row with a time."""
    rows = [replace(row, run_id=run_dir.name) for row in rows]
    made.write(run_dir, rows)
    kept = samples.SampleWriter(run_dir)
    for number, row in enumerate(rows):
        if row.median_s is not None:
            kept.append(number, [(row.median_s,), (row.median_s,)])
    kept.close()
    told = {
        **made.ENVIRONMENT,
        "run_id": run_dir.name,
        "environment_id": rows[0].environment_id,
        "commit": "26519ed6fe0a",
        "margin": 0.02,
        "request": REQUEST | {"shard": shard, "case_count": len(rows) // 3},
        "settings": SETTINGS,
        "end_reason": "all_passes",
        "rows": len(rows),
    }
    store.write_environment(run_dir, told | changes)
    return run_dir


def dealt(k: int, of: int) -> list[Row]:
    """The rows of a shard, behind the ceilings of its machine."""
    own = {problem.label for problem in PROBLEMS[k - 1 :: of]}
    return made.with_ceilings([row for row in SWEPT if row.problem in own])


def shard(folder: Path, k: int, of: int = 3, **changes: object) -> Path:
    return write(folder / f"s{k}", dealt(k, of), shard=f"{k}/{of}", **changes)


def elsewhere(
    rows: Sequence[Row], device_name: str = "Intel(R) Xeon(R) CPU @ 2.20GHz"
) -> list[Row]:
    """The same cases on another machine."""
    return [replace(row, environment_id="e1", device_name=device_name) for row in rows]


def other_machine(folder: Path, **changes: object) -> Path:
    own = {"machine": {"cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores_logical": 4}}
    rows = elsewhere(made.with_ceilings(made.rows(PROBLEMS, passes=3, seed=1)))
    return write(folder / "b", rows, **(own | changes))


def put_together(*run_dirs: Path, out: Path | None = None) -> Path:
    out = out or run_dirs[0].parent / "merged"
    merge(run_dirs, out, "convsweep merge")
    return out
