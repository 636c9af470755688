"""The commands that describe what is available: list, env."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from convsweep.cli import output
from convsweep.cli import ray as cluster
from convsweep.cli.options import ray_options

if TYPE_CHECKING:
    from convsweep.backends.base import Backend

_Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


@click.command("list")
@click.argument("what", metavar="backends | grids | workloads | devices")
@ray_options
def list_(what: str, ray: str | None, nodes: str | None) -> int:
    """List backends, grids, workloads or devices."""
    from convsweep.report.table import Table

    with output.one_line_errors():
        if cluster.is_requested(ray, nodes):
            heads, rows = cluster.devices(str(ray), nodes, what)
        elif what in _TABLES:
            heads, rows = _TABLES[what]()
        else:
            raise ValueError(f"cannot list {what!r}; allowed: {', '.join(_TABLES)}")
    output.print_table(Table(heads, rows), width=120)
    return 0


@click.command()
def env() -> int:
    """Describe this machine, and what makes its timings unreliable."""
    from convsweep.system.devices import device_names, find_device
    from convsweep.system.environment import describe

    found = describe({name: find_device(name).description for name in device_names()})
    for part in ("machine", "versions", "devices", "counters"):
        known = {name: "not known" if one is None else one for name, one in found[part].items()}
        output.say(part, *(f"  {name}: {one}" for name, one in known.items()))
    output.say("warnings", *(f"  {warning}" for warning in found["warnings"] or ["none"]))
    return 0


def _backends() -> _Table:
    from convsweep.backends.registry import list_backends

    rows: list[tuple[str, ...]] = [
        (name, backend.version, backend.source, backend.family, _needs(backend))
        for name, backend in list_backends().items()
    ]
    return ("backend", "version", "source", "family", "needs"), rows


def _needs(backend: Backend) -> str:
    """Return `cuda, extra triton`: requirements beyond convsweep's own, and if one is missing."""
    from convsweep.backends.registry import missing_package

    devices = " or ".join(backend.device_types or ())
    extra = f"extra {backend.extra}" if backend.extra else " and ".join(backend.modules)
    missing = " (not installed)" if missing_package(backend) else ""
    return ", ".join(filter(None, (devices, extra + missing)))


def _grids() -> _Table:
    from convsweep.problems.grids import GRIDS

    rows: list[tuple[str, ...]] = [
        (name, str(len(grid.layers())), str(grid.passes), grid.about)
        for name, grid in GRIDS.items()
    ]
    return ("grid", "problems", "passes", "about"), rows


def _workloads() -> _Table:
    from convsweep.formatting import operations
    from convsweep.problems.workloads import workloads

    rows: list[tuple[str, ...]] = []
    for name, layers in workloads().items():
        convolutions = sum(layer.count for layer in layers)
        macs = sum(layer.count * layer.problem.macs for layer in layers)
        rows.append((name, str(len(layers)), str(convolutions), operations(macs)))
    return ("workload", "distinct layers", "convolutions", "MACs"), rows


def _devices() -> _Table:
    from convsweep.system.devices import device_names, find_device

    return ("device", "name"), [(name, find_device(name).description) for name in device_names()]


_TABLES = {"backends": _backends, "grids": _grids, "workloads": _workloads, "devices": _devices}
