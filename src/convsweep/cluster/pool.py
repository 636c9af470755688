"""A Ray cluster as a pool of quiet slots: one at most at work on a node, and what became of it.

Ray is imported within functions alone: without `--ray` nothing of it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Protocol

from convsweep.formatting import one_line

SLOT = "convsweep_slot"
"""The custom resource of which a node that may measure offers one."""
_NODE_ID = "ray.io/node-id"  # a label that Ray gives every node
_OWN_LABELS = "ray.io/"


@dataclass(frozen=True)
class Node:
    """One of the cluster's nodes that is alive."""

    id: str
    name: str
    """Its own, or its address; with the start of its id where two share one."""
    cpus: float
    gpus: float
    slots: float
    """How many it offers to measure in: one, or none."""
    labels: Mapping[str, str]
    """Those that somebody gave it."""


@dataclass(frozen=True)
class TaskHandle:
    """What a node did in its slot, and from when until when, by its own clock."""

    node_id: str
    started_s: float
    ended_s: float
    value: Any


@dataclass(frozen=True)
class TaskLost:
    """Nothing came of it: the node or the process at work there has died."""

    reason: str


Ticket = Any
"""What `submit` gives: a Ray object's reference, or a fake one in tests."""


class Pool(Protocol):
    """A cluster's slots, or fake ones in tests."""

    def nodes(self) -> list[Node]:
        """Those that are alive now."""

    def submit(self, work: Callable[..., Any], arguments: tuple[Any, ...], on: Slots) -> Ticket:
        """Have `work` done in the next free slot of these nodes."""

    def ready(self, tickets: Collection[Ticket], timeout_s: float) -> list[Ticket]:
        """Those that have come to an end, after a while none."""

    def result(self, ticket: Ticket) -> TaskHandle | TaskLost:
        """What came of it; what the work raised is raised."""

    def cancel(self, ticket: Ticket) -> None:
        """Let go of it, whatever comes of it."""


@dataclass(frozen=True)
class Slots:
    """Nodes that a piece of work may go to, and what it takes of one beside its slot."""

    node_ids: tuple[str, ...]
    cpus: float = 0.0
    gpus: float = 0.0


def slots_of(nodes: Sequence[Node], gpus: float = 0.0) -> Slots:
    """A slot on any of these nodes, with all the CPUs that each of them offers to others."""
    return Slots(tuple(node.id for node in nodes), min(node.cpus for node in nodes), gpus)


class RayPool:
    """The slots of the cluster that this process has joined."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._remote = ray.remote(max_retries=0)(_in_slot)  # who retries says so, and counts

    def nodes(self) -> list[Node]:
        """Those that are alive now."""
        told = [node for node in self._ray.nodes() if node["Alive"]]
        names = [str(node.get("NodeName") or node["NodeManagerAddress"]) for node in told]
        return [
            Node(
                node["NodeID"],
                name if names.count(name) == 1 else f"{name} {node['NodeID'][:6]}",
                float(node["Resources"].get("CPU", 0)),
                float(node["Resources"].get("GPU", 0)),
                float(node["Resources"].get(SLOT, 0)),
                {k: v for k, v in node["Labels"].items() if not k.startswith(_OWN_LABELS)},
            )
            for node, name in zip(told, names, strict=True)
        ]

    def submit(self, work: Callable[..., Any], arguments: tuple[Any, ...], on: Slots) -> Ticket:
        """Have `work` done in the next free slot of these nodes."""
        options = self._remote.options(
            num_cpus=on.cpus,
            num_gpus=on.gpus,
            resources={SLOT: 1},
            label_selector={_NODE_ID: f"in({','.join(on.node_ids)})"},
            name=work.__name__,
        )
        return options.remote(work, arguments)

    def ready(self, tickets: Collection[Ticket], timeout_s: float) -> list[Ticket]:
        """Those that have come to an end, after a while none."""
        done, _ = self._ray.wait(list(tickets), num_returns=1, timeout=timeout_s)
        more, _ = self._ray.wait(list(tickets), num_returns=len(tickets), timeout=0)
        return list(dict.fromkeys([*done, *more]))

    def result(self, ticket: Ticket) -> TaskHandle | TaskLost:
        """What came of it; what the work raised is raised."""
        errors = self._ray.exceptions
        try:
            done: TaskHandle = self._ray.get(ticket)
            return done
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            return TaskLost(f"{type(error).__name__}: {_first_sentence(error)}")

    def cancel(self, ticket: Ticket) -> None:
        """Let go of it: what runs is killed, what waits is forgotten."""
        self._ray.cancel(ticket, force=True)


def _first_sentence(error: Exception) -> str:
    return one_line(str(error)).partition(". ")[0]


def _in_slot(work: Callable[..., Any], arguments: tuple[Any, ...]) -> TaskHandle:
    """On the node: the work's answer, and when the slot was taken for it."""
    import ray

    started_s = time()
    value = work(*arguments)
    return TaskHandle(ray.get_runtime_context().get_node_id(), started_s, time(), value)
