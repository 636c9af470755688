"""Description of a cluster node: machine, versions, backends."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convsweep import __version__
from convsweep.backends.registry import list_backends, missing_package
from convsweep.cluster.cores import every_core, spare_cores
from convsweep.measure.settings import Settings
from convsweep.results.schema import SCHEMA_VERSION
from convsweep.sweep.choices import NodeDevice
from convsweep.sweep.worker_pool import process_setup
from convsweep.system.calibration import machine as calibrate
from convsweep.system.devices import device_names, find_device
from convsweep.system.environment import describe, usable_cores


@dataclass(frozen=True)
class NodeInfo:
    """Description of a node."""

    convsweep: str
    schema_version: int
    cores: int
    devices: tuple[str, ...]  # All devices of the node
    requested_devices: Mapping[str, NodeDevice]  # Devices of the request that the node has
    versions: Mapping[str, str | None]  # Version per backend; None: a package is missing
    metadata: Mapping[str, Any]  # Machine, versions and devices, as in environment.json
    process_setup: Mapping[str, object]  # Cores, priority and allocator of its worker processes

    @property
    def id(self) -> str:
        """The `environment_id`."""
        return str(self.metadata["environment_id"])

    @property
    def cpu(self) -> str:
        """Name of the processor."""
        return str(self.metadata["machine"]["cpu"])


def describe_node(devices: Sequence[str] | None, settings: Settings) -> NodeInfo:
    """Return the description of this node, with the given devices.

    Without devices: all devices, and the environment of a run on the CPU.
    """
    with every_core():
        there = device_names()
        found = {name: find_device(name) for name in devices or there if name in there}
        requested = devices or ("cpu",)
        calibrate()
        metadata = describe({name: found[name].description for name in requested if name in found})
        cores = usable_cores()
    setup = process_setup(replace(settings, cores=spare_cores(settings.threads)))
    metadata["warnings"] += _warnings(setup)
    return NodeInfo(
        convsweep=__version__,
        schema_version=SCHEMA_VERSION,
        cores=cores,
        devices=tuple(there),
        requested_devices={
            name: NodeDevice(device.description, device.cache_bytes)
            for name, device in found.items()
        },
        versions=installed(),
        metadata=metadata,
        process_setup=setup,
    )


def _warnings(setup: Mapping[str, object]) -> Iterator[str]:
    """Yield a sentence per disturbance of the worker processes by Ray."""
    niceness, cores = setup.get("niceness"), setup.get("cores")
    if isinstance(niceness, int) and niceness > 0:
        yield f"Worker processes have niceness {niceness}; start Ray with RAY_worker_niceness=0."
    if isinstance(cores, list) and not os.sched_getaffinity(0).isdisjoint(cores):
        yield "Ray's own processes may run on the measured cores; start Ray with taskset."


def installed() -> dict[str, str | None]:
    """Return the version per backend of this process; None: a package is missing."""
    return {
        name: None if missing_package(backend) else backend.version
        for name, backend in list_backends().items()
    }


def mismatch_reason(
    name: str, node: NodeInfo, here: Mapping[str, str | None], wanted: Sequence[str]
) -> str | None:
    """Return why the node and this process (versions `here`) cannot share a run, or None."""
    if (node.convsweep, node.schema_version) != (__version__, SCHEMA_VERSION):
        return (
            f"node {name} has convsweep {node.convsweep} of schema version {node.schema_version}, "
            f"this process {__version__} of {SCHEMA_VERSION}"
        )
    for backend in wanted:
        if backend not in node.versions:
            return f"backend {backend!r} is not installed on node {name}"
        there, own = node.versions[backend], here[backend]
        if None not in (there, own) and there != own:
            return f"backend {backend!r} is {there} on node {name} and {own} here"
    return None


def mixed_hardware_reason(
    names: tuple[str, str], nodes: tuple[NodeInfo, NodeInfo], wanted: Sequence[str]
) -> str | None:
    """Return why two nodes with one `environment_id` cannot share the work, or None."""
    first, second = nodes
    both = f"nodes {names[0]} and {names[1]} have one environment_id"
    if first.metadata["commit"] != second.metadata["commit"]:
        commits = f"{first.metadata['commit']} and {second.metadata['commit']}"
        return f"{both}, but the commits of convsweep are {commits}"
    for backend in wanted:
        if first.versions[backend] != second.versions[backend]:
            versions = (node.versions[backend] or "not installed" for node in nodes)
            return f"{both}, but backend {backend!r} is {' and '.join(versions)}"
    for setting in ("allocator", "niceness", "address_randomization"):
        if first.process_setup.get(setting) != second.process_setup.get(setting):
            found = " and ".join(str(node.process_setup.get(setting)) for node in nodes)
            return f"{both}, but their worker processes have {setting} {found}"
    return None
