"""Node loss trials: nodes are killed while they measure.

    python -m bench.cluster.lost_nodes --times 10 --out results/cluster

The cluster has a head without a slot and two nodes with one slot each, with Ray's default settings.
One of the two nodes is killed during each run and replaced for the next one.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import psutil

from bench.cluster.isolation import run_isolated
from bench.cluster.tables import ROOT, count_row_errors, rows_in, write_rows
from convsweep.cluster.pool import SLOT

SEED = 20261128
_ARGUMENTS = ("--axis", "in_channels=8,16", "--axis", "size=10", "--axis", "kernel_size=1,3",
          "--backend", "torch_conv", "--backend", "loop", "--no-ceilings", "--passes")  # fmt: skip
_CASES = 8
_LONGEST_S = 240.0
_POLL_INTERVAL_S = 0.01


@dataclass(frozen=True)
class LostNode:
    """One node that was killed during a run."""

    run: int
    moment_s: float
    """Time after the first row."""
    rows_before: int
    rows: int
    missing: int
    """Measurements without a row at the end."""
    doubled: int
    groups_lost: int
    noticed_s: float | None
    """From the kill to the recorded loss."""
    again_s: float | None
    """From the kill to the first row of a lost group."""
    exit_code: int


@contextmanager
def running_cluster(folder: Path) -> Iterator[Any]:
    """Start a cluster; set its token in the environment."""
    (folder / "ray").mkdir()
    os.environ |= {
        "TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    from ray.cluster_utils import Cluster

    plain = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    head = plain | {"temp_dir": str(folder)}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """Add a node with one slot."""
    return cluster.add_node(
        num_cpus=1, resources={SLOT: 1}, node_ip_address="127.0.0.1", include_dashboard=False
    )


def kill_node(cluster: Any, node: Any) -> None:
    """Kill all processes of a node at once, as a power failure does."""
    (daemon,) = node.all_processes["raylet"]
    for process in psutil.Process(daemon.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.remove_node(node, allow_graceful=False)


def start_run(address: str, out: Path, passes: int) -> subprocess.Popen[str]:
    """Start `convsweep run` on the cluster; the `loop` backend makes it slow."""
    arguments = ["run", *_ARGUMENTS, str(passes), "--ray", address, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "convsweep", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def lose_nodes(times: int, seed: int, folder: Path, passes: int = 4) -> Iterator[LostNode]:
    """Yield `times` runs, in each of which one node is killed."""
    moment = random.Random(seed)
    with running_cluster(folder) as cluster:
        nodes = [add_node(cluster), add_node(cluster)]
        for number in range(times):
            out = folder / f"run-{number}"
            run = start_run(cluster.address, out, passes)
            _await_rows(run, out, 1)
            after_s = moment.uniform(0.2, 3.0)
            time.sleep(after_s)
            victim = nodes.pop(moment.randrange(2))
            before, died_s = len(rows_in(out)), time.time()
            kill_node(cluster, victim)
            _, stderr = run.communicate(timeout=_LONGEST_S)
            if run.returncode not in (0, 1) or not out.exists():
                raise RuntimeError(f"run {number}: exit code {run.returncode}\n{stderr[-2000:]}")
            yield _describe_loss(number, after_s, before, died_s, out, run.returncode, passes)
            if number + 1 < times:
                nodes.append(add_node(cluster))


def _await_rows(run: subprocess.Popen[str], out: Path, rows: int) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while len(rows_in(out)) < rows:
        if run.poll() is not None or time.monotonic() > deadline:
            stderr = run.stderr.read() if run.stderr else ""
            raise RuntimeError(f"the run has no row: exit code {run.returncode}\n{stderr}")
        time.sleep(_POLL_INTERVAL_S)


def _describe_loss(
    run: int, after_s: float, before: int, died_s: float, out: Path, code: int, passes: int
) -> LostNode:
    metadata = json.loads((out / "environment.json").read_text())
    missing, doubled = count_row_errors(out, _CASES * passes)
    lost = metadata["task_losses"]
    restarted = []
    if lost:
        from convsweep.results.store import load

        table = load(out)
        for loss in lost:
            rows = table[
                (table["problem"] == loss["what"]) & (table["pass_index"] == loss["pass_index"])
            ]
            restarted += [_seconds(text) - died_s for text in rows["started_at"]]
    return LostNode(
        run=run,
        moment_s=round(after_s, 3),
        rows_before=before,
        rows=metadata["rows"],
        missing=missing,
        doubled=doubled,
        groups_lost=len(lost),
        noticed_s=round(_seconds(lost[0]["at"]) - died_s, 3) if lost else None,
        again_s=round(min(restarted), 3) if restarted else None,
        exit_code=code,
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@click.command()
@click.option("--times", metavar="N", type=click.IntRange(1), default=10)
@click.option("--seed", metavar="N", type=int, default=SEED)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/cluster"))
def main(times: int, seed: int, out: Path) -> None:
    """Kill nodes during runs and count the rows."""
    with tempfile.TemporaryDirectory(prefix="cluster-", dir="/tmp") as name:
        write_rows(out / "lost_nodes.csv", LostNode, lose_nodes(times, seed, Path(name)))


if __name__ == "__main__":
    run_isolated("bench.cluster.lost_nodes")
    main()
