"""Crash trials of the driver: `kill -9` at random times, then `--resume`.

    python -m bench.cluster.driver_kills --times 20 --out results/cluster

Each run starts its own cluster (`--ray local:2`) and is killed until it finishes. The kills
alternate between a time after the start and a time after the first new row.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

from bench.cluster.isolation import run_isolated
from bench.cluster.tables import ROOT, count_row_errors, rows_in, write_rows

SEED = 20261128
_SMOKE_CASES = 24
_LONGEST_S = 240.0
_RAY_EXIT_S = 30.0
_AFTER_START_S, _AFTER_ROW_S = 12.0, 3.0
_POLL_INTERVAL_S = 0.01


@dataclass(frozen=True)
class DriverKill:
    """One kill or end of a run, and the state after it."""

    run: int
    start: int
    """Index within the run; starts above 0 resume."""
    after: str
    """Event before the moment: `start`, `row`, or `end` for a finished run."""
    moment_s: float | None
    rows_before: int
    rows_after: int
    lost: int
    """Rows of before that are missing after."""
    doubled: int
    ray_gone_s: float
    """From the end of the driver to the end of Ray's last process."""
    ray_left: int
    """Processes of Ray after half a minute."""


def kill_drivers(times: int, seed: int, folder: Path, passes: int) -> Iterator[DriverKill]:
    """Yield `times` kills of runs; the last run finishes."""
    moment, kills, number = random.Random(seed), 0, 0
    while kills < times:
        out, start, before = folder / f"run-{number}", 0, list[bytes]()
        while True:
            after = ("start", "row")[kills % 2] if kills < times else "end"
            longest_s = _AFTER_START_S if after == "start" else _AFTER_ROW_S
            after_s = moment.uniform(0.0, longest_s) if kills < times else _LONGEST_S
            code = _run(out, passes, len(before) + 1 if after == "row" else 0, after_s)
            killed = code == -signal.SIGKILL
            if code not in (0, -signal.SIGKILL):
                raise RuntimeError(f"run {number}: exit code {code}")
            gone_s, left = _await_ray()
            now = rows_in(out)
            missing, doubled = count_row_errors(out, _SMOKE_CASES * passes)
            yield DriverKill(
                run=number,
                start=start,
                after=after if killed else "end",
                moment_s=round(after_s, 3) if killed else None,
                rows_before=len(before),
                rows_after=len(now),
                lost=(Counter(before) - Counter(now)).total() + (0 if killed else missing),
                doubled=doubled,
                ray_gone_s=round(gone_s, 2),
                ray_left=left,
            )
            before, start, kills = now, start + 1, kills + killed
            if not killed:
                break
        number += 1


def _run(out: Path, passes: int, rows: int, limit_s: float) -> int:
    """Return the run's exit code; it is killed `limit_s` after it has `rows` rows."""
    arguments = [
        "run",
        "--grid",
        "smoke",
        "--no-ceilings",
        "--passes",
        str(passes),
    ]
    resume = ["--resume"] if (out / "environment.json").exists() else []
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "convsweep",
            *arguments,
            "--ray",
            "local:2",
            "--out",
            str(out),
            *resume,
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while run.poll() is None and len(rows_in(out)) < rows:
        time.sleep(_POLL_INTERVAL_S)
    try:
        return run.wait(limit_s)
    except subprocess.TimeoutExpired:
        run.kill()
        return run.wait()


def _await_ray() -> tuple[float, int]:
    """Return seconds until Ray's processes have ended, and the number of those left."""
    started = time.monotonic()
    while (left := _ray_processes()) and time.monotonic() - started < _RAY_EXIT_S:
        time.sleep(0.05)
    for process in left:
        click.echo(f"left: {process.info}", err=True)
    return time.monotonic() - started, len(left)


def _ray_processes() -> list[psutil.Process]:
    """Return all other processes in this namespace."""
    here = psutil.Process().pid
    return [
        process
        for process in psutil.process_iter(["pid", "ppid", "status", "cmdline"])
        if process.pid not in (1, here) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@click.command()
@click.option("--times", metavar="N", type=click.IntRange(1), default=20)
@click.option("--seed", metavar="N", type=int, default=SEED)
@click.option("--passes", metavar="N", type=click.IntRange(1), default=16)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/cluster"))
def main(times: int, seed: int, passes: int, out: Path) -> None:
    """Kill and resume drivers; count rows and processes."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        rows = kill_drivers(times, seed, Path(name), passes)
        write_rows(out / "driver_kills.csv", DriverKill, rows)


if __name__ == "__main__":
    run_isolated("bench.cluster.driver_kills")
    main()
