"""What there is to choose from: backends, grids, workloads and devices, as tables of text."""

from __future__ import annotations

from collections.abc import Callable

from convsweep.backends.base import Backend
from convsweep.backends.registry import list_backends, missing_package
from convsweep.problems.grids import GRIDS
from convsweep.problems.workloads import workloads
from convsweep.system.devices import device_names, find_device

Entries = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Column names, and a row of text for each entry."""


def entries(what: str) -> Entries:
    """Everything of one kind; raises `ValueError` where there is no such kind."""
    if what not in _KINDS:
        raise ValueError(f"can't list {what!r}; there is {', '.join(_KINDS)}")
    return _KINDS[what]()


def _backends() -> Entries:
    rows: list[tuple[str, ...]] = [
        (name, backend.version, backend.source, backend.family, _needs(backend))
        for name, backend in list_backends().items()
    ]
    return ("backend", "version", "source", "family", "needs"), rows


def _needs(backend: Backend) -> str:
    """`cuda, extra triton`: beyond convsweep's own needs, and whether it is missing."""
    devices = " or ".join(backend.device_types or ())
    extra = f"extra {backend.extra}" if backend.extra else " and ".join(backend.modules)
    missing = " (not installed)" if missing_package(backend) else ""
    return ", ".join(filter(None, (devices, extra + missing)))


def _grids() -> Entries:
    rows: list[tuple[str, ...]] = [
        (name, str(len(grid.layers())), str(grid.passes), grid.about)
        for name, grid in GRIDS.items()
    ]
    return ("grid", "problems", "passes", "about"), rows


def _workloads() -> Entries:
    rows: list[tuple[str, ...]] = []
    for name, layers in workloads().items():
        convolutions = sum(layer.count for layer in layers)
        macs = sum(layer.count * layer.problem.macs for layer in layers)
        rows.append((name, str(len(layers)), str(convolutions), f"{macs / 1e9:.3f} G"))
    return ("workload", "distinct layers", "convolutions", "MACs"), rows


def _devices() -> Entries:
    rows: list[tuple[str, ...]] = [(name, find_device(name).description) for name in device_names()]
    return ("device", "name"), rows


_KINDS: dict[str, Callable[[], Entries]] = {
    "backends": _backends,
    "grids": _grids,
    "workloads": _workloads,
    "devices": _devices,
}
