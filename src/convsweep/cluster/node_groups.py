"""Groups of cluster nodes with the same hardware and versions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from convsweep.cluster.address import parse_label
from convsweep.cluster.node_info import (
    NodeInfo,
    describe_node,
    installed,
    mismatch_reason,
    mixed_hardware_reason,
)
from convsweep.cluster.pool import SLOT, Node, Pool, Slots, TaskLost, Ticket, slots_of
from convsweep.formatting import count
from convsweep.measure.settings import Settings
from convsweep.sweep.choices import Hardware
from convsweep.sweep.environment import Environment
from convsweep.sweep.request import Options, Request, read_request

_WAIT_S, _LIMIT_S = 10.0, 600.0


@dataclass(frozen=True)
class NodeGroup:
    """Nodes with one `environment_id`, which share the work."""

    environment: Environment
    nodes: tuple[Node, ...]
    missing: tuple[str, ...] = ()  # Backends of the request that are not installed there

    @property
    def slots(self) -> Slots:
        """A slot on any of the nodes."""
        return slots_of(self.nodes, gpus_for(self.environment.request.device_descriptions))

    @property
    def name(self) -> str:
        """Name such as `2 nodes of AMD EPYC, 2 cores`."""
        machine = self.environment.metadata["machine"]
        nodes = count(len(self.nodes), "node")
        return f"{nodes} of {machine['cpu']}, {machine['cores_usable']} cores"


def gpus_for(devices: Sequence[str] | Mapping[str, str]) -> float:
    """Return the GPUs that a slot needs for these devices: 1 if one is a GPU, else 0."""
    return float(any(name.partition(":")[0] not in ("cpu", "vulkan") for name in devices))


def fitting_nodes(nodes: Sequence[Node], label: str | None) -> list[Node]:
    """Return the nodes with a slot and, if given, with the label `KEY=VALUE`.

    Raises `ValueError` if no node fits, or one has several slots.
    """
    if several := [node for node in nodes if node.slots not in (0, 1)]:
        raise ValueError(
            f"node {several[0].name} offers {several[0].slots:g} of {SLOT}: it has to be 1, or "
            "two groups would be measured at once"
        )
    with_slot = [node for node in nodes if node.slots]
    if not with_slot:
        raise ValueError(
            f"none of the cluster's {len(nodes)} nodes offers a slot to measure in: start them "
            f"with --resources '{{\"{SLOT}\": 1}}'"
        )
    if label is None:
        return with_slot
    key, value = parse_label(label)
    there = sorted({f"{k}={v}" for node in with_slot for k, v in node.labels.items()})
    found = [node for node in with_slot if node.labels.get(key) == value]
    if not found:
        what = f"there is {', '.join(there)}" if there else "none has any"
        raise ValueError(f"no node with a slot has the label {label!r}; {what}")
    return found


def describe_nodes(
    pool: Pool,
    nodes: Sequence[Node],
    devices: Sequence[str] | None,
    settings: Settings,
    on_wait: Callable[[str], None],
) -> list[tuple[Node, NodeInfo]]:
    """Return the description of each node; `on_wait` gets the names of busy ones every ten seconds.

    Raises `ValueError` if a node cannot describe itself, or is busy for ten minutes.
    """
    gpus = 1.0 if devices is None else gpus_for(devices)
    tickets: dict[Ticket, Node] = {}
    for node in nodes:
        slot = slots_of([node], min(gpus, node.gpus))
        tickets[pool.submit(describe_node, (devices, settings), slot)] = node
    infos: dict[str, NodeInfo] = {}
    started_s = monotonic()
    try:
        while tickets:
            ready = pool.ready(tickets, _WAIT_S)
            busy = ", ".join(node.name for node in tickets.values())
            if not ready:
                on_wait(f"{busy}: node is starting or busy")
            if not ready and monotonic() - started_s > _LIMIT_S:
                raise ValueError(
                    f"no answer from {busy} within {_LIMIT_S:g} s; --nodes chooses others"
                )
            for ticket in ready:
                node = tickets.pop(ticket)
                infos[node.id] = _node_info(pool, ticket, node)
    finally:
        for ticket in tickets:
            pool.cancel(ticket)
    return [(node, infos[node.id]) for node in nodes]


def _node_info(pool: Pool, ticket: Ticket, node: Node) -> NodeInfo:
    try:
        result = pool.result(ticket)
    except Exception as error:  # any failure of the installation on that node
        last = " ".join(str(error).strip().splitlines()[-1:])[:200]
        raise ValueError(f"node {node.name} can't run convsweep: {last}") from None
    if isinstance(result, TaskLost):
        raise ValueError(f"node {node.name} was lost before it began: {result.reason}")
    assert isinstance(result.value, NodeInfo), f"node {node.name} returned {result.value!r}"
    return result.value


def group_nodes(
    described: Sequence[tuple[Node, NodeInfo]],
    options: Options,
    finish: Callable[[Request], Request] = lambda request: request,
) -> list[NodeGroup]:
    """Return the nodes in groups by `environment_id`, each with its request from `finish`.

    Raises `ValueError` if nodes have different versions, or no node fits the request.
    """
    wanted = list(read_request(replace(options, devices=(), threads=())).backends)
    here = installed()
    for node, info in described:
        if reason := mismatch_reason(node.name, info, here, wanted):
            raise ValueError(reason)
    by_environment: dict[str, list[tuple[Node, NodeInfo]]] = {}
    for node, info in _fitting(described, options):
        by_environment.setdefault(info.id, []).append((node, info))
    for (first, one), *others in by_environment.values():
        for other, another in others:
            if reason := mixed_hardware_reason((first.name, other.name), (one, another), wanted):
                raise ValueError(reason)
    if options.shard is not None and len(by_environment) > 1:
        raise ValueError(
            f"--shard {options.shard} needs nodes with one environment_id, not "
            f"{len(by_environment)}; choose nodes with --nodes"
        )
    return [_group(members, options, finish) for members in by_environment.values()]


def _fitting(
    described: Sequence[tuple[Node, NodeInfo]], options: Options
) -> list[tuple[Node, NodeInfo]]:
    """Return the nodes with enough cores and any of the devices; check that each device exists."""
    devices, threads = options.devices or ("cpu",), max(options.threads, default=1)
    fitting = [one for one in described if one[1].requested_devices and one[1].cores >= threads]
    for device in devices:
        if not any(device in info.requested_devices for _, info in fitting):
            cores = f" and {threads} cores" if threads > 1 else ""
            available = "; ".join(
                f"{node.name}: {', '.join(info.devices)}, {info.cores} cores"
                for node, info in described
            )
            raise ValueError(f"no node has device {device!r}{cores}; there is {available}")
    return fitting


def _group(
    members: Sequence[tuple[Node, NodeInfo]], options: Options, finish: Callable[[Request], Request]
) -> NodeGroup:
    first = members[0][1]
    there = first.requested_devices
    devices = tuple(name for name in options.devices or ("cpu",) if name in there)
    hardware = Hardware(min(info.cores for _, info in members), there.__getitem__)
    request = finish(read_request(replace(options, devices=devices), hardware=hardware))
    backends = {
        name: replace(backend, version=first.versions.get(name) or backend.version)
        for name, backend in request.backends.items()
    }
    request, nodes = replace(request, backends=backends), tuple(node for node, _ in members)
    names = {node.id: node.name for node in nodes}
    return NodeGroup(
        Environment(request, first.metadata, first.process_setup, names),
        nodes,
        tuple(name for name in backends if first.versions.get(name, "") is None),
    )
