"""Slots of a Ray cluster. A node has one slot, so one task at a time runs there.

Ray is imported within functions only, because most commands do not need it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from convsweep.formatting import one_line

SLOT = "convsweep_slot"  # Custom resource of Ray; each node that measures offers 1
_NODE_ID = "ray.io/node-id"  # label of every node
_OWN_LABELS = "ray.io/"


@dataclass(frozen=True)
class Node:
    """Living node of a cluster."""

    id: str
    name: str  # Name or address; with the start of the id if it is not unique
    cpus: float
    gpus: float
    slots: float  # Number of slots: 1 or 0
    labels: Mapping[str, str]  # Labels of the user


@dataclass(frozen=True)
class TaskResult:
    """Result of a task, with its start and end by the clock of the node."""

    node_id: str
    started_s: float
    ended_s: float
    value: Any


@dataclass(frozen=True)
class TaskLost:
    """Loss of a task: its node or process has died."""

    reason: str


Ticket = Any  # Reference of a submitted task


@dataclass(frozen=True)
class Slots:
    """Nodes for a task, and the CPUs and GPUs that it takes with its slot."""

    node_ids: tuple[str, ...]
    cpus: float = 0.0
    gpus: float = 0.0


def slots_of(nodes: Sequence[Node], gpus: float = 0.0) -> Slots:
    """Return a slot on any of the nodes, with as many CPUs as each of them has."""
    return Slots(tuple(node.id for node in nodes), min(node.cpus for node in nodes), gpus)


class Pool:
    """Slots of the cluster that this process has joined."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._remote = ray.remote(max_retries=0)(_in_slot)  # `RayExecutor` retries

    def nodes(self) -> list[Node]:
        """Return the living nodes."""
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        names = [str(node.get("NodeName") or node["NodeManagerAddress"]) for node in alive]
        return [
            Node(
                node["NodeID"],
                name if names.count(name) == 1 else f"{name} {node['NodeID'][:6]}",
                float(node["Resources"].get("CPU", 0)),
                float(node["Resources"].get("GPU", 0)),
                float(node["Resources"].get(SLOT, 0)),
                {k: v for k, v in node["Labels"].items() if not k.startswith(_OWN_LABELS)},
            )
            for node, name in zip(alive, names, strict=True)
        ]

    def submit(self, work: Callable[..., Any], arguments: tuple[Any, ...], on: Slots) -> Ticket:
        """Run `work` in the next free slot."""
        options = self._remote.options(
            num_cpus=on.cpus,
            num_gpus=on.gpus,
            resources={SLOT: 1},
            label_selector={_NODE_ID: f"in({','.join(on.node_ids)})"},
            name=work.__name__,
        )
        return options.remote(work, arguments)

    def ready(self, tickets: Collection[Ticket], timeout_s: float) -> list[Ticket]:
        """Return the finished tasks; wait for one up to `timeout_s` seconds."""
        done, _ = self._ray.wait(list(tickets), num_returns=1, timeout=timeout_s)
        more, _ = self._ray.wait(list(tickets), num_returns=len(tickets), timeout=0)
        return list(dict.fromkeys([*done, *more]))

    def result(self, ticket: Ticket) -> TaskResult | TaskLost:
        """Return the result, or raise the error of the task."""
        errors = self._ray.exceptions
        try:
            done: TaskResult = self._ray.get(ticket)
            return done
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            sentence, *_ = one_line(str(error)).partition(". ")
            return TaskLost(f"{type(error).__name__}: {sentence}")

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a task; a running one is killed."""
        self._ray.cancel(ticket, force=True)


def _in_slot(work: Callable[..., Any], arguments: tuple[Any, ...]) -> TaskResult:
    """Run a task on the node; return its value, start and end."""
    import ray

    started_s = time()
    value = work(*arguments)
    return TaskResult(ray.get_runtime_context().get_node_id(), started_s, time(), value)
