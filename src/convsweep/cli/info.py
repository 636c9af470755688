"""The commands that describe what is available: list, env."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from convsweep.cli import output
from convsweep.cli import ray as cluster
from convsweep.cli.options import ray_options

if TYPE_CHECKING:
    from convsweep.backends.base import Backend
    from convsweep.system.calibration import Machine

_Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
_RESNET = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels and size of its 3x3 layers


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
    """Describe this machine, and what makes its timings unreliable.

    On its first call on a machine it measures the rates by which own kernels choose their tiles.
    """
    from convsweep.system.calibration import machine
    from convsweep.system.devices import device_names, find_device
    from convsweep.system.environment import describe

    calibrated = machine()
    found = describe({name: find_device(name).description for name in device_names()})
    for part in ("machine", "versions", "devices", "counters"):
        known = {name: "not known" if one is None else one for name, one in found[part].items()}
        output.say(part, *(f"  {name}: {one}" for name, one in known.items()))
    output.say("calibration", *(f"  {name}: {one}" for name, one in _choices(calibrated)))
    output.say("warnings", *(f"  {warning}" for warning in found["warnings"] or ["none"]))
    return 0


def _choices(machine: Machine) -> list[tuple[str, object]]:
    """Return caches and rates, and the sizes that own kernels choose by them."""
    from convsweep.backends.kernels.winograd_tiles import best_tile
    from convsweep.backends.kernels.working_sets import working_sets
    from convsweep.problems.problem import ConvProblem

    sets = working_sets(machine)._asdict()
    tiles = (
        (f"winograd tile, C{channels} {size}x{size}",
         best_tile(ConvProblem(channels, channels, (size, size), 3, padding=1), machine))
        for channels, size in _RESNET
    )  # fmt: skip
    return [
        *((name, one or "not measured") for name, one in asdict(machine).items()),
        *((f"{name}_bytes", size) for name, size in sets.items()),
        *tiles,
    ]


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
