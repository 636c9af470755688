"""Throughput of one driver: sweeps of no-op cases on one, two and four local nodes.

    python -m bench.cluster.scaling --out results/cluster

Every case is its own group, the worst case: one task, one result and one synced row each. All nodes
share this machine's cores, so that more nodes show the limits of the driver.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import click
import psutil

from bench.cluster.isolation import run_isolated
from bench.cluster.tables import ROOT, write_rows
from bench.harness.noop_sweep import noop_request
from convsweep.cluster.address import parse_address
from convsweep.cluster.connection import connected
from convsweep.cluster.executor import RayExecutor
from convsweep.cluster.node_groups import NodeGroup, describe_nodes, fitting_nodes
from convsweep.cluster.pool import Node, Pool, Slots, TaskLost, TaskResult, Ticket
from convsweep.cluster.tasks import GroupResult
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.sweep.session import run_sweep
from convsweep.sweep.work_queue import Environment, Progress

NODES, CASES = (1, 2, 4), (1_000, 10_000)
_SAMPLES = (1e-4,) * 20


@dataclass(frozen=True)
class ScalingResult:
    """One sweep of no-op cases."""

    nodes: int
    cases: int
    start_s: float
    """Time until all nodes have described themselves."""
    sweep_s: float
    """From the first task to the last row on the disk."""
    rows_per_s: float
    summary_s: float
    rss_before_bytes: int
    """Resident memory of the driver before the sweep."""
    rss_most_bytes: int
    """Largest resident memory until the last row."""


def do_nothing(cases: Sequence[Case], settings: Settings) -> GroupResult:
    """Return a result of realistic size at once; runs on a node."""
    return GroupResult(
        tuple((case, Outcome("ok", median_s=1e-4, blocks=(_SAMPLES,))) for case in cases)
    )


class _IdlePool:
    """Pool whose tasks measure nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def nodes(self) -> list[Node]:
        return self._pool.nodes()

    def submit(self, work: Callable[..., Any], arguments: tuple[Any, ...], on: Slots) -> Ticket:
        return self._pool.submit(do_nothing, arguments, on)

    def ready(self, tickets: Collection[Ticket], timeout_s: float) -> list[Ticket]:
        return self._pool.ready(tickets, timeout_s)

    def result(self, ticket: Ticket) -> TaskResult | TaskLost:
        return self._pool.result(ticket)

    def cancel(self, ticket: Ticket) -> None:
        self._pool.cancel(ticket)


def measure_sweep(nodes: int, cases: int, folder: Path) -> ScalingResult:
    """Sweep no-op cases over local nodes, in this process."""
    request, driver, most, last_s = noop_request(cases), psutil.Process(), 0, 0.0

    def watch(progress: Progress) -> None:
        nonlocal most, last_s
        most, last_s = max(most, driver.memory_info().rss), monotonic()

    started = monotonic()
    with connected(parse_address(f"local:{nodes}"), 1) as pool:
        able = fitting_nodes(pool.nodes(), None)
        [(_, info), *_] = describe_nodes(pool, able, ("cpu",), Settings(), click.echo)
        names = {node.id: node.name for node in able}
        environment = Environment(request, info.metadata, info.process_setup, names)
        executor = RayExecutor([NodeGroup(environment, tuple(able))], _IdlePool(pool))
        before, begun_s = driver.memory_info().rss, monotonic()
        run_sweep(executor, folder / "run", "run", "bench.cluster.scaling", watch)
        ended_s = monotonic()
    return ScalingResult(
        nodes=nodes,
        cases=cases,
        start_s=round(begun_s - started, 2),
        sweep_s=round(last_s - begun_s, 2),
        rows_per_s=round(cases / (last_s - begun_s), 1),
        summary_s=round(ended_s - last_s, 2),
        rss_before_bytes=before,
        rss_most_bytes=most,
    )


def measure_all() -> Iterator[ScalingResult]:
    """Yield all sizes on all numbers of nodes, each in a fresh driver."""
    for cases in CASES:
        for nodes in NODES:
            command = [sys.executable, "-m", "bench.cluster.scaling", "--one", str(nodes)]
            done = subprocess.run(
                [*command, str(cases)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{nodes} nodes, {cases} cases: {done.stderr[-2000:]}")
            yield ScalingResult(**json.loads(done.stdout.splitlines()[-1]))


@click.command()
@click.option(
    "--one", metavar="NODES CASES", nargs=2, type=int, help="Run one sweep and print JSON."
)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/cluster"))
def main(one: tuple[int, int] | None, out: Path) -> None:
    """Measure the throughput of a driver."""
    if one is None:
        write_rows(out / "scaling.csv", ScalingResult, measure_all())
        return
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        click.echo(json.dumps(vars(measure_sweep(*one, Path(name)))))


if __name__ == "__main__":
    run_isolated("bench.cluster.scaling")
    main()
