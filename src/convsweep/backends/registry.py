"""Every strategy there is: the built-in files, and other packages' entry points."""

from __future__ import annotations

import pkgutil
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points
from importlib.metadata import version as version_of
from importlib.util import find_spec

from convsweep import __version__
from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem

ENTRY_POINT_GROUP = "convsweep.backends"


@cache
def list_backends() -> dict[str, Backend]:
    """All backends by name; one that can't be imported says so for every problem."""
    found: dict[str, Backend] = {}
    built_in = import_module("convsweep.backends.strategies")
    for module in pkgutil.iter_modules(built_in.__path__):
        path = f"{built_in.__name__}.{module.name}:BACKEND"
        backend = _load(EntryPoint(module.name, path, ENTRY_POINT_GROUP), __version__)
        found[backend.name] = backend
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        backend = _load(point, point.dist.version if point.dist else "")
        if backend.name in found:
            taken = f"the name {backend.name!r} belongs to another backend"
            backend = unavailable(f"{backend.name}@{point.value}", taken)
        found[backend.name] = backend
    return found


def _load(point: EntryPoint, version: str) -> Backend:
    try:
        backend = point.load()
    except Exception as error:  # whatever a foreign module does at import, others still run
        return unavailable(point.name, f"can't be imported: {type(error).__name__}: {error}")
    if not isinstance(backend, Backend):
        kind = type(backend).__name__
        return unavailable(point.name, f"{point.value} is a {kind}, not a convsweep.Backend")
    return backend if backend.version else replace(backend, version=_version(backend) or version)


def _version(backend: Backend) -> str:
    """That of the first package it imports, as in `onnxruntime 1.32.0`; "" where there is none."""
    for module in backend.modules:
        with suppress(PackageNotFoundError):
            return f"{module} {version_of(module)}"
    return ""


def missing_package(backend: Backend) -> str | None:
    """Which package that the backend imports is missing, and how to get it, or None."""
    missing = [module for module in backend.modules if find_spec(module) is None]
    if not missing:
        return None
    how = f": pip install 'convsweep[{backend.extra}]'" if backend.extra else ""
    return f"needs {' and '.join(missing)}, not installed here{how}"


def unavailable(name: str, reason: str) -> Backend:
    """A backend of which nothing is known but why it can't run."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        raise RuntimeError(reason)

    return Backend(name, prepare, unsupported=lambda problem: reason)


def skip_reason(
    backend: Backend, problem: ConvProblem, *, weight_kind: str, device: str, dtype: str
) -> str | None:
    """Why the backend can't take part in a case, in words, or None."""
    device_type = device.partition(":")[0]
    if backend.device_types is not None and device_type not in backend.device_types:
        return f"runs on {', '.join(backend.device_types)}, not on {device_type}"
    if backend.dtypes is not None and dtype not in backend.dtypes:
        return f"computes in {', '.join(backend.dtypes)}, not in {dtype}"
    if reason := missing_package(backend) or backend.unsupported(problem):
        return reason
    if backend.needs_factors and weight_kind != "separable":
        return "needs a weight that factors: --weight-kind separable"
    return None
