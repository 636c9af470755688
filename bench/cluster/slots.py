"""Whether a node's slot is ever taken twice: tasks that do nothing, and when each had its slot.

python -m bench.cluster.slots --tasks 200 --nodes 2 --out results/cluster
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

from bench.cluster.isolation import run_isolated
from bench.cluster.tables import write_rows
from convsweep.cluster.address import parse_address
from convsweep.cluster.connection import connected
from convsweep.cluster.pool import TaskResult, slots_of

_TASK_S = 0.01


@dataclass(frozen=True)
class SlotUse:
    """What one node's slot has seen."""

    node: str
    tasks: int
    overlaps: int
    """Tasks that began before the one before had ended."""
    tasks_per_s: float


def overlaps(visits: Sequence[TaskResult]) -> int:
    """How many of one node's visits began before an earlier one had ended."""
    ordered = sorted(visits, key=lambda visit: visit.started_s)
    return sum(later.started_s < earlier.ended_s for earlier, later in pairwise(ordered))


def take_slots(tasks: int, nodes: int) -> Iterator[SlotUse]:
    """Tasks that do nothing on local nodes; a row a node."""
    with connected(parse_address(f"local:{nodes}"), 1) as pool:
        there = {node.id: node.name for node in pool.nodes()}
        for node in pool.nodes():  # whose first task would have to import everything
            pool.result(pool.submit(time.sleep, (0,), slots_of([node])))
        started = time.monotonic()
        tickets = [
            pool.submit(time.sleep, (_TASK_S,), slots_of(pool.nodes())) for _ in range(tasks)
        ]
        visits = [pool.result(ticket) for ticket in tickets]
        wall_s = time.monotonic() - started
    done = [visit for visit in visits if isinstance(visit, TaskResult)]
    if len(done) != tasks:
        raise RuntimeError(f"{tasks - len(done)} of {tasks} tasks were lost")
    for node_id, name in there.items():
        own = [visit for visit in done if visit.node_id == node_id]
        yield SlotUse(name, len(own), overlaps(own), round(len(own) / wall_s, 1))


@click.command()
@click.option("--tasks", metavar="N", type=click.IntRange(1), default=200)
@click.option("--nodes", metavar="N", type=click.IntRange(1, 16), default=2)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/cluster"))
def main(tasks: int, nodes: int, out: Path) -> None:
    """Take slots, and look for two at once."""
    write_rows(out / "slots.csv", SlotUse, take_slots(tasks, nodes))


if __name__ == "__main__":
    run_isolated("bench.cluster.slots")
    main()
