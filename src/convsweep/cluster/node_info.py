"""What nodes say of themselves before anything is measured: machine, versions, backends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convsweep import __version__
from convsweep.backends.registry import list_backends, missing_package
from convsweep.cluster.cores import every_core, spare_cores
from convsweep.measure.worker import Settings
from convsweep.results.schema import SCHEMA_VERSION
from convsweep.sweep.worker_pool import conditions
from convsweep.system.devices import device_names, find_device
from convsweep.system.environment import describe, usable_cores

_POLITE = 0
"""A niceness above it gives way to other work."""


@dataclass(frozen=True)
class KnownPlace:
    """A device of a node."""

    description: str
    cache_bytes: int


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself."""

    convsweep: str
    schema_version: int
    cores: int
    devices: tuple[str, ...]
    """All that it has."""
    places: Mapping[str, KnownPlace]
    """Those of them that were asked for."""
    versions: Mapping[str, str | None]
    """Of every backend that it knows; None where something that it imports is missing."""
    told: Mapping[str, Any]
    """Machine, versions and devices, as environment.json has them."""
    conditions: Mapping[str, object]
    """Under which its measuring processes run."""

    @property
    def id(self) -> str:
        """Its environment's."""
        return str(self.told["environment_id"])

    @property
    def cpu(self) -> str:
        """Its processor's name."""
        return str(self.told["machine"]["cpu"])


def describe_node(devices: Sequence[str] | None, settings: Settings) -> NodeInfo:
    """On a node, in its slot: what it is, as far as these devices matter.

    Without any it tells of all that it has, and as which environment the CPU would be measured.
    """
    with every_core():
        there = device_names()
        found = {name: find_device(name) for name in devices or there if name in there}
        asked = devices or ("cpu",)
        told = describe({name: found[name].description for name in asked if name in found})
        cores = usable_cores()
    run_under = conditions(replace(settings, cores=spare_cores(settings.threads)))
    told["warnings"] += _unquiet(run_under)
    return NodeInfo(
        convsweep=__version__,
        schema_version=SCHEMA_VERSION,
        cores=cores,
        devices=tuple(there),
        places={
            name: KnownPlace(place.description, place.cache_bytes) for name, place in found.items()
        },
        versions=installed(),
        told=told,
        conditions=run_under,
    )


def _unquiet(run_under: Mapping[str, object]) -> Iterator[str]:
    """What of Ray disturbs measuring processes that run under these conditions."""
    niceness, cores = run_under.get("niceness"), run_under.get("cores")
    if isinstance(niceness, int) and niceness > _POLITE:
        yield f"Measuring processes have niceness {niceness}; start Ray with RAY_worker_niceness=0."
    if isinstance(cores, list) and not os.sched_getaffinity(0).isdisjoint(cores):
        yield "Ray's own processes may run on the cores that are timed; taskset keeps them off."


def installed() -> dict[str, str | None]:
    """The version of every backend here; None where something that it imports is missing."""
    return {
        name: None if missing_package(backend) else backend.version
        for name, backend in list_backends().items()
    }


def mismatch_reason(
    name: str, node: NodeInfo, here: Mapping[str, str | None], wanted: Sequence[str]
) -> str | None:
    """Why a node can't take part beside this process, in words, or None.

    Args:
        name: the node's.
        node: what it says.
        here: the backends' versions in this process.
        wanted: the backends that are to run.
    """
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
    """Why two nodes of one environment can't stand for each other, in words, or None."""
    first, second = nodes
    both = f"nodes {names[0]} and {names[1]} are of one environment"
    if first.told["commit"] != second.told["commit"]:
        commits = f"{first.told['commit']} and {second.told['commit']}"
        return f"{both}, but convsweep is of commit {commits}"
    for backend in wanted:
        if first.versions[backend] != second.versions[backend]:
            versions = (node.versions[backend] or "not installed" for node in nodes)
            return f"{both}, but backend {backend!r} is {' and '.join(versions)}"
    for setting in ("allocator", "niceness", "address_randomization"):
        if first.conditions.get(setting) != second.conditions.get(setting):
            found = " and ".join(str(node.conditions.get(setting)) for node in nodes)
            return f"{both}, but their measuring processes have {setting} {found}"
    return None
