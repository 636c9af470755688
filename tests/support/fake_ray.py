"""Fake cluster whose nodes measure nothing, and die at chosen moments."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convsweep import __version__
from convsweep.cluster.node_groups import NodeGroup
from convsweep.cluster.node_info import NodeDevice, NodeInfo, installed
from convsweep.cluster.pool import Node, Slots, TaskLost, TaskResult, Ticket
from convsweep.cluster.tasks import GroupResult
from convsweep.measure.messages import NetworkTimes
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.results.schema import SCHEMA_VERSION
from convsweep.sweep.environment import Environment
from convsweep.sweep.network_runs import Network
from convsweep.sweep.request import Request

Behave = Callable[[Case, str], Outcome]
"""Outcome of a case on the node with that id."""


def ok(case: Case, node_id: str) -> Outcome:
    """Every case is measured, and alike."""
    return Outcome("ok", median_s=1e-4, time_s=1e-4, first_call_s=1e-4, blocks=((1e-4,),))


def node(name: str, **more: Any) -> Node:
    """A node of that name, which is its id too."""
    return replace(Node(name, name, cpus=1.0, gpus=0.0, slots=1.0, labels={}), **more)


def node_info(environment_id: str = "e0", cores: int = 2, **more: Any) -> NodeInfo:
    """The description of a node with a CPU."""
    metadata = {
        "environment_id": environment_id,
        "machine": {"cpu": f"CPU of {environment_id}", "cores_usable": cores},
        "versions": {"torch": "2"},
        "devices": {"cpu": f"CPU of {environment_id}"},
        "commit": "abc",
        "warnings": [],
    }
    plain = NodeInfo(
        convsweep=__version__,
        schema_version=SCHEMA_VERSION,
        cores=cores,
        devices=("cpu",),
        requested_devices={"cpu": NodeDevice(f"CPU of {environment_id}", 2**25)},
        versions=installed(),
        metadata=metadata,
        process_setup={"niceness": -10, "allocator": "retain", "cores": [1]},
    )
    return replace(plain, **more)


def node_group(request: Request, names: Sequence[str], environment_id: str = "e0") -> NodeGroup:
    """Nodes of these names with one environment_id."""
    info = node_info(environment_id)
    environment = Environment(
        request, info.metadata, info.process_setup, {name: name for name in names}
    )
    return NodeGroup(environment, tuple(node(name) for name in names))


@dataclass
class FakePool:
    """Slots that answer in the order of submission, one task at a time per node."""

    names: Sequence[str]
    behave: Behave = ok
    deaths: Mapping[int, str] = field(default_factory=dict)
    """Node that dies after the given number of answers; its task is lost."""
    crashes: Callable[[Sequence[Case]], bool] = lambda cases: False
    """Whether the process of a group dies, on any node."""
    stop: Callable[[int], None] = lambda answers: None
    """Called with the number of answers after each one."""
    infos: Mapping[str, NodeInfo | Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """All nodes are alive and free."""
        self.alive = list(self.names)
        self.waiting: list[tuple[int, tuple[Any, ...], Slots]] = []
        self.at_work: dict[str, tuple[int, tuple[Any, ...]]] = {}
        self.results: dict[int, TaskResult | TaskLost | Exception] = {}
        self.tickets = self.answers = self.most_in_flight = 0
        self.cancelled: list[Ticket] = []
        self.measured: Counter[tuple[int, Case]] = Counter()
        self.settings: list[Settings] = []
        self.networks: list[tuple[int, str, str]] = []

    def nodes(self) -> list[Node]:
        return [node(name) for name in self.alive]

    def submit(self, work: Callable[..., Any], arguments: tuple[Any, ...], on: Slots) -> Ticket:
        self.tickets += 1
        self.waiting.append((self.tickets, (work, *arguments), on))
        return self.tickets

    def ready(self, tickets: Collection[Ticket], timeout_s: float) -> list[Ticket]:
        self.most_in_flight = max(self.most_in_flight, len(tickets))
        self._fill()
        if self.at_work:
            name = next(iter(self.at_work))
            ticket, arguments = self.at_work.pop(name)
            self.results[ticket] = self._answer(arguments, name)
            self.answers += 1
            self.stop(self.answers)
            if self.answers in self.deaths:
                self._die(self.deaths[self.answers])
        return [ticket for ticket in tickets if ticket in self.results]

    def result(self, ticket: Ticket) -> TaskResult | TaskLost:
        found = self.results.pop(ticket)
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self, ticket: Ticket) -> None:
        self.cancelled.append(ticket)

    def _fill(self) -> None:
        """Give waiting tasks to free slots; lose those without a living node."""
        for entry in list(self.waiting):
            ticket, arguments, on = entry
            fitting = [name for name in self.alive if name in on.node_ids]
            free = [name for name in fitting if name not in self.at_work]
            if free:
                self.at_work[free[0]] = (ticket, arguments)
            elif not fitting:
                self.results[ticket] = TaskLost("TaskUnschedulableError: no node")
            if free or not fitting:
                self.waiting.remove(entry)

    def _answer(self, arguments: tuple[Any, ...], name: str) -> TaskResult | TaskLost | Exception:
        work, *rest = arguments
        if work.__name__ == "describe_node":
            info = self.infos[name]
            return info if isinstance(info, Exception) else TaskResult(name, 0.0, 1.0, info)
        if work.__name__ == "time_network":
            return self._network(*rest, name)
        cases, settings = rest
        if self.crashes(cases):
            return TaskLost("WorkerCrashedError: the worker died")
        self.settings.append(settings)
        self.measured.update((settings.pass_index, case) for case in cases)
        outcomes = tuple((case, self.behave(case, name)) for case in cases)
        return TaskResult(name, 0.0, 1.0, GroupResult(outcomes, {"timing_s": 0.5}))

    def _network(
        self, network: Network, settings: Settings, pass_index: int, name: str
    ) -> TaskResult | TaskLost:
        self.networks.append((pass_index, network.name, name))
        if self.crashes([]):
            return TaskLost("WorkerCrashedError: the worker died")
        return TaskResult(name, 0.0, 1.0, (NetworkTimes(0.02, 0.021, 3, ()), 0.1))

    def _die(self, name: str) -> None:
        self.alive.remove(name)
        if name in self.at_work:
            ticket, _ = self.at_work.pop(name)
            self.results[ticket] = TaskLost(f"NodeDiedError: node {name} is gone")
