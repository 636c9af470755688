"""Slot trials: whether two tasks ever share the slot of a node.

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
    """Use of one node's slot."""

    node: str
    tasks: int
    overlaps: int
    """Tasks that began before the previous one had ended."""
    tasks_per_s: float


def overlaps(tasks_done: Sequence[TaskResult]) -> int:
    """Count the tasks of one node that began before the previous one had ended."""
    ordered = sorted(tasks_done, key=lambda task: task.started_s)
    return sum(later.started_s < earlier.ended_s for earlier, later in pairwise(ordered))


def take_slots(tasks: int, nodes: int) -> Iterator[SlotUse]:
    """Run sleeping tasks on local nodes; yield one row per node."""
    with connected(parse_address(f"local:{nodes}"), 1) as pool:
        names = {node.id: node.name for node in pool.nodes()}
        for node in pool.nodes():  # the first task of a node imports everything
            pool.result(pool.submit(time.sleep, (0,), slots_of([node])))
        started = time.monotonic()
        tickets = [
            pool.submit(time.sleep, (_TASK_S,), slots_of(pool.nodes())) for _ in range(tasks)
        ]
        tasks_done = [pool.result(ticket) for ticket in tickets]
        wall_s = time.monotonic() - started
    done = [task for task in tasks_done if isinstance(task, TaskResult)]
    if len(done) != tasks:
        raise RuntimeError(f"{tasks - len(done)} of {tasks} tasks were lost")
    for node_id, name in names.items():
        own = [task for task in done if task.node_id == node_id]
        yield SlotUse(name, len(own), overlaps(own), round(len(own) / wall_s, 1))


@click.command()
@click.option("--tasks", metavar="N", type=click.IntRange(1), default=200)
@click.option("--nodes", metavar="N", type=click.IntRange(1, 16), default=2)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/cluster"))
def main(tasks: int, nodes: int, out: Path) -> None:
    """Run tasks in slots and count overlaps."""
    write_rows(out / "slots.csv", SlotUse, take_slots(tasks, nodes))


if __name__ == "__main__":
    run_isolated("bench.cluster.slots")
    main()
