"""Export of a run: JSON of pytest-benchmark, and one tidy table for dashboards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from convsweep.analysis.cases import read_cases, split
from convsweep.analysis.estimates import Array
from convsweep.analysis.summary import summarize
from convsweep.problems.case import CONV, FORWARD
from convsweep.results.files import replace_file, spreadsheet_csv
from convsweep.results.machines import machine_of, machines, run_id_of
from convsweep.results.schema import CASE_COLUMNS, PROBLEM_COLUMNS
from convsweep.results.store import RunFolder

PYTEST_BENCHMARK = "5.1.0"  # Version of pytest-benchmark whose JSON format is written
_GROUP = ("problem", "weight_kind", "workload", "layer", "layer_count", "device", "dtype",
          "memory_format", "threads", "cache", "direction", "block", "driver")  # fmt: skip
_UNNAMED = (None, FORWARD, CONV)  # in a group, as in older files
_EXTRA = ("flops_per_s", "macs", "backend_macs", "baseline", "speedup", "speedup_ci_low",
          "speedup_ci_high", "verdict", "sample_flags", "implementation", "reorders", "kernel_s",
          "reorder_s")  # fmt: skip


def export(run_dir: Path, kind: str) -> str:
    """Return the run as `pytest-benchmark` or `csv`.

    Raises:
        ValueError: unknown format, no run or no time in `run_dir`, or too many machines.
    """
    if kind not in FORMATS:
        raise ValueError(f"unknown format {kind!r}; allowed: {', '.join(FORMATS)}")
    run = RunFolder(run_dir)
    rows = split(run.measurements).requested
    if not (rows["status"] == "ok").any():
        raise ValueError(f"{run} has no time to export")
    if kind == "pytest-benchmark" and (found := len(machines(run.environment))) > 1:
        raise ValueError(f"{run} has {found} environments, {kind} allows one machine: use csv")
    summary = summarize(rows, run.request.baseline, run.request.margin)
    return FORMATS[kind](run, rows, summary)


def write_new(path: Path, text: str) -> None:
    """Write a new file, complete or not at all.

    Raises:
        ValueError: the file exists or is not writable.
    """
    if os.path.lexists(path):
        raise ValueError(f"{str(path)!r} exists already: choose another file")
    try:
        replace_file(path, text)
    except OSError as error:
        raise ValueError(f"{str(path)!r} is not writable: {error.strerror}") from None


def _tidy_csv(run: RunFolder, rows: DataFrame, summary: DataFrame) -> str:
    """Return one row per case: run, case, time and speedup, in seconds and bytes."""
    summary.insert(0, "run_id", run_id_of(run.environment, rows))
    summary.insert(1, "started_at", run.environment.get("started_at") or rows["started_at"].iloc[0])
    ids = summary["environment_id"]
    summary.insert(2, "commit", [machine_of(run.environment, one).get("commit") for one in ids])
    return spreadsheet_csv(summary)


def _pytest_benchmark(run: RunFolder, rows: DataFrame, summary: DataFrame) -> str:
    """Return one benchmark per case, one round per pass with its time."""
    environment = run.environment
    keys = [*PROBLEM_COLUMNS, "backend"]
    calls = rows.groupby(keys, dropna=False)["iterations"].median().reset_index()
    cases = summary.merge(calls, how="left", on=keys)
    times = np.exp(read_cases(rows, run.request.baseline).log_s)
    commit, _, edited = str(environment.get("commit") or "unversioned").partition("-")
    machine, versions = environment.get("machine", {}), environment.get("versions", {})
    content = {
        "machine_info": {
            "system": machine.get("os"),
            "cpu": {"brand_raw": machine.get("cpu"), "count": machine.get("cores_logical")},
            "python_version": versions.get("python"),
            "versions": dict(versions),
            "environment_id": environment.get("environment_id"),
        },
        "commit_info": {
            "id": commit, "dirty": bool(edited), "project": "convsweep", "branch": "(unknown)",
            "time": None, "author_time": None,
        },
        "benchmarks": [
            _benchmark(case, seconds[~np.isnan(seconds)], environment)
            for (_, case), seconds in zip(cases.iterrows(), times, strict=True)
            if case["passes"]
        ],
        "datetime": str(environment.get("started_at") or rows["started_at"].iloc[0]),
        "version": PYTEST_BENCHMARK,
    }  # fmt: skip
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _benchmark(case: Series[Any], seconds: Array, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return one case; its group is everything that it shares with the other backends."""
    params = {name: _plain(case[name]) for name in CASE_COLUMNS}
    shared = [params[name] for name in PROBLEM_COLUMNS if name in _GROUP]
    group = " ".join(str(word) for word in shared if word not in _UNNAMED)
    name = f"{case['backend']}[{case['problem']}]"
    return {
        "group": group,
        "name": name,
        "fullname": f"convsweep {group}::{name}",
        "params": params,
        "param": case["problem"],
        "extra_info": {name: _plain(case[name]) for name in _EXTRA},
        "options": environment.get("settings", {}),
        "stats": _stats(seconds, _plain(case["iterations"])),
    }


def _plain(value: Any) -> Any:
    """Return a cell for JSON; missing values are None."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _stats(seconds: Array, iterations: float | None) -> dict[str, Any]:
    """Return the statistics of pytest-benchmark; a single round has a deviation of 0."""
    q1, median, q3 = map(float, np.quantile(seconds, [0.25, 0.5, 0.75]))
    mean, deviation = float(seconds.mean()), float(seconds.std(ddof=1)) if len(seconds) > 1 else 0.0
    fences = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    within = seconds[(seconds >= fences[0]) & (seconds <= fences[1])]
    far = int((np.abs(seconds - mean) > deviation).sum())
    return {
        "rounds": len(seconds), "iterations": int(iterations or 1),
        "min": float(seconds.min()), "max": float(seconds.max()),
        "mean": mean, "stddev": deviation, "ops": 1 / mean, "total": float(seconds.sum()),
        "q1": q1, "median": median, "q3": q3, "iqr": q3 - q1,
        "ld15iqr": float(within.min()), "hd15iqr": float(within.max()),
        "iqr_outliers": len(seconds) - len(within), "stddev_outliers": far,
        "outliers": f"{far};{len(seconds) - len(within)}",
        "data": seconds.tolist(),
    }  # fmt: skip


FORMATS: Mapping[str, Callable[[RunFolder, DataFrame, DataFrame], str]] = {
    "pytest-benchmark": _pytest_benchmark,
    "csv": _tidy_csv,
}
"""Writers of a run, its requested rows and its summary."""
