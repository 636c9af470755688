"""Registry of all backends: built-in strategies, and entry points of other packages."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points
from importlib.metadata import version as version_of
from importlib.util import find_spec
from types import ModuleType

from convsweep import __version__
from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem

ENTRY_POINT_GROUP = "convsweep.backends"
STRATEGIES = "convsweep.backends.strategies"
"""Package of the built-in strategies. Each file exports `BACKEND`, or several as `BACKENDS`."""


@cache
def list_backends() -> dict[str, Backend]:
    """Return all backends by name: built-in ones sorted by name, then those of other packages.

    A backend that cannot be imported is listed, and unsupported for every problem with the reason.
    """
    found = {backend.name: backend for backend in sorted(_built_in(), key=lambda b: b.name)}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        for backend in _load(point, point.dist.version if point.dist else ""):
            if backend.name in found:
                reason = f"the name {backend.name!r} belongs to another backend"
                backend = unavailable(f"{backend.name}@{point.value}", reason)
            found[backend.name] = backend
    return found


def _built_in() -> Iterator[Backend]:
    for file in pkgutil.iter_modules(import_module(STRATEGIES).__path__):
        yield from _load(EntryPoint(file.name, f"{STRATEGIES}.{file.name}", ""), __version__)


def _load(point: EntryPoint, version: str) -> Iterator[Backend]:
    """Load what an entry point names: a backend, a tuple of backends, or a module of them."""
    try:
        loaded = point.load()
        if isinstance(loaded, ModuleType):
            loaded = loaded.BACKENDS if hasattr(loaded, "BACKENDS") else loaded.BACKEND
    except Exception as error:  # importing another package may raise anything
        yield unavailable(point.name, f"cannot be imported: {type(error).__name__}: {error}")
        return
    for backend in loaded if isinstance(loaded, tuple) else (loaded,):
        if isinstance(backend, Backend):
            default = _module_version(backend) or version
            yield backend if backend.version else replace(backend, version=default)
        else:
            kind = type(backend).__name__
            yield unavailable(point.name, f"{point.value} is a {kind}, not a convsweep.Backend")


def _module_version(backend: Backend) -> str:
    """Return the version of the first package it needs, as in `onnxruntime 1.32.0`, or ""."""
    for module in backend.modules:
        with suppress(PackageNotFoundError):
            return f"{module} {version_of(module)}"
    return ""


def missing_package(backend: Backend) -> str | None:
    """Return which packages of the backend are missing and how to install them, or None."""
    missing = [module for module in backend.modules if find_spec(module) is None]
    if not missing:
        return None
    how = f": pip install 'convsweep[{backend.extra}]'" if backend.extra else ""
    return f"needs {' and '.join(missing)}, not installed here{how}"


def unavailable(name: str, reason: str) -> Backend:
    """Return a backend that is unsupported for every problem, with the reason."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        raise RuntimeError(reason)

    return Backend(name, prepare, unsupported=lambda problem: reason)


def skip_reason(
    backend: Backend, problem: ConvProblem, *, weight_kind: str, device: str, dtype: str
) -> str | None:
    """Return why the backend cannot run a case, or None."""
    device_type = device.partition(":")[0]
    if backend.device_types is not None and device_type not in backend.device_types:
        return f"runs on {', '.join(backend.device_types)}, not on {device_type}"
    if backend.dtypes is not None and dtype not in backend.dtypes:
        return f"computes in {', '.join(backend.dtypes)}, not in {dtype}"
    if reason := missing_package(backend) or backend.unsupported(problem):
        return reason
    if backend.needs_factors and weight_kind != "separable":
        return "needs a separable weight: --weight-kind separable"
    return None
