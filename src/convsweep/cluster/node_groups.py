"""The cluster's kinds of hardware: nodes of one environment, and what is to be run on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convsweep.cluster.address import parse_label
from convsweep.cluster.node_info import (
    KnownPlace,
    NodeInfo,
    describe_node,
    installed,
    mismatch_reason,
    mixed_hardware_reason,
)
from convsweep.cluster.pool import SLOT, Node, Pool, Slots, TaskLost, Ticket, slots_of
from convsweep.measure.worker import Settings
from convsweep.sweep.hardware import Hardware
from convsweep.sweep.request import Options, Request, read_request

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that can stand for each other: one environment, one set of versions."""

    environment_id: str
    nodes: tuple[Node, ...]
    request: Request
    """What runs on them: of the devices that were asked for, those that they have."""
    told: Mapping[str, Any]
    """Machine, versions and devices, as environment.json has them."""
    conditions: Mapping[str, object]
    """Under which measuring processes run there."""
    lacking: tuple[str, ...] = ()
    """The request's backends that import something which is not installed there."""

    @property
    def slots(self) -> Slots:
        """A slot on any of its nodes."""
        return slots_of(self.nodes, gpus_for(self.request.device_descriptions))

    @property
    def name(self) -> str:
        """`2 nodes of AMD EPYC, 2 cores`."""
        count = len(self.nodes)
        machine = self.told["machine"]
        nodes = f"{count} {'node' if count == 1 else 'nodes'}"
        return f"{nodes} of {machine['cpu']}, {machine['cores_usable']} cores"


def gpus_for(devices: Sequence[str] | Mapping[str, str]) -> float:
    """How many of a node's GPUs a slot takes for these devices: one, where any is on a GPU."""
    return float(any(name.partition(":")[0] not in ("cpu", "vulkan") for name in devices))


def fitting_nodes(nodes: Sequence[Node], label: str | None) -> list[Node]:
    """The nodes that have a slot and, where one is asked for, the label `KEY=VALUE`.

    Raises:
        ValueError: in one line that says what there is, where none fits.
    """
    if several := [node for node in nodes if node.slots not in (0, 1)]:
        raise ValueError(
            f"node {several[0].name} offers {several[0].slots:g} of {SLOT}: it has to be 1, or "
            "two groups would be measured at once"
        )
    chosen = [node for node in nodes if node.slots]
    if not chosen:
        raise ValueError(
            f"none of the cluster's {len(nodes)} nodes offers a slot to measure in: start them "
            f"with --resources '{{\"{SLOT}\": 1}}'"
        )
    if label is None:
        return chosen
    key, value = parse_label(label)
    there = sorted({f"{k}={v}" for node in chosen for k, v in node.labels.items()})
    found = [node for node in chosen if node.labels.get(key) == value]
    if not found:
        what = f"there is {', '.join(there)}" if there else "none has any"
        raise ValueError(f"no node with a slot has the label {label!r}; {what}")
    return found


def describe_nodes(
    pool: Pool,
    nodes: Sequence[Node],
    devices: Sequence[str] | None,
    settings: Settings,
    waiting: Callable[[str], None],
) -> list[tuple[Node, NodeInfo]]:
    """What each node says of itself; `waiting` is told now and then whose slots are taken.

    Raises:
        ValueError: in one line, where a node can't say it.
    """
    gpus = 1.0 if devices is None else gpus_for(devices)
    tickets: dict[Ticket, Node] = {}
    for node in nodes:
        slot = slots_of([node], min(gpus, node.gpus))
        tickets[pool.submit(describe_node, (devices, settings), slot)] = node
    found: dict[str, NodeInfo] = {}
    try:
        while tickets:
            ended = pool.ready(tickets, _PATIENCE_S)
            if not ended:
                waiting(", ".join(node.name for node in tickets.values()))
            for ticket in ended:
                node = tickets.pop(ticket)
                found[node.id] = _describe(pool, ticket, node)
    finally:
        for ticket in tickets:
            pool.cancel(ticket)
    return [(node, found[node.id]) for node in nodes]


def _describe(pool: Pool, ticket: Ticket, node: Node) -> NodeInfo:
    try:
        visit = pool.result(ticket)
    except Exception as error:  # whatever that node's installation lacks
        last = " ".join(str(error).strip().splitlines()[-1:])[:200]
        raise ValueError(f"node {node.name} can't run convsweep: {last}") from None
    if isinstance(visit, TaskLost):
        raise ValueError(f"node {node.name} was lost before it began: {visit.reason}")
    assert isinstance(visit.value, NodeInfo), f"node {node.name} said {visit.value!r}"
    return visit.value


def group_nodes(
    said: Sequence[tuple[Node, NodeInfo]],
    options: Options,
    finish: Callable[[Request], Request] = lambda request: request,
) -> list[NodeGroup]:
    """The nodes by environment, each with what it is to run.

    Args:
        said: the nodes, and what they said of themselves.
        options: the words of the request.
        finish: what is made of a request before it is run.

    Raises:
        ValueError: in one line, where nodes differ that must not, or none fits the request.
    """
    wanted = list(read_request(replace(options, devices=(), threads=())).backends)
    here = installed()
    for node, found in said:
        if reason := mismatch_reason(node.name, found, here, wanted):
            raise ValueError(reason)
    by_environment: dict[str, list[tuple[Node, NodeInfo]]] = {}
    for node, found in _fitting(said, options):
        by_environment.setdefault(found.id, []).append((node, found))
    for (first, one), *others in by_environment.values():
        for other, another in others:
            if reason := mixed_hardware_reason((first.name, other.name), (one, another), wanted):
                raise ValueError(reason)
    if options.shard is not None and len(by_environment) > 1:
        raise ValueError(
            f"--shard {options.shard} is of one kind of hardware, and the nodes are of "
            f"{len(by_environment)}; --nodes chooses among them"
        )
    return [_kind(members, options, finish) for members in by_environment.values()]


def _fitting(
    said: Sequence[tuple[Node, NodeInfo]], options: Options
) -> list[tuple[Node, NodeInfo]]:
    """The nodes with one of the devices, and enough cores; there is one for each device."""
    devices, threads = options.devices or ("cpu",), max(options.threads, default=1)
    fitting = [(node, s) for node, s in said if s.places and s.cores >= threads]
    for device in devices:
        if not any(device in found.places for _, found in fitting):
            cores = f" and {threads} cores" if threads > 1 else ""
            there = "; ".join(
                f"{node.name}: {', '.join(found.devices)}, {found.cores} cores"
                for node, found in said
            )
            raise ValueError(f"no node has device {device!r}{cores}; there is {there}")
    return fitting


def _kind(
    members: Sequence[tuple[Node, NodeInfo]],
    options: Options,
    finish: Callable[[Request], Request],
) -> NodeGroup:
    first = members[0][1]
    places: Mapping[str, KnownPlace] = first.places
    devices = tuple(name for name in options.devices or ("cpu",) if name in places)
    hardware = Hardware(min(found.cores for _, found in members), places.__getitem__)
    request = finish(read_request(replace(options, devices=devices), hardware=hardware))
    versions = {name: version for name, version in first.versions.items() if version}
    installed_there = {
        name: replace(backend, version=versions.get(name, backend.version))
        for name, backend in request.backends.items()
    }
    return NodeGroup(
        environment_id=first.id,
        nodes=tuple(node for node, _ in members),
        request=replace(request, backends=installed_there),
        told=first.told,
        conditions=first.conditions,
        lacking=tuple(name for name in request.backends if first.versions.get(name, "") is None),
    )
