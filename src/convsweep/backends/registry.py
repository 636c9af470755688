"""Registry of all backends: built-in strategies, and entry points of other packages."""

import math
import pkgutil
import re
import reprlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points
from importlib.metadata import version as version_of
from importlib.util import find_spec
from numbers import Integral, Real
from types import ModuleType

from convsweep import __version__
from convsweep.backends.base import BASIC, FAMILIES, Backend, Conv, Weights
from convsweep.backends.blocks import block_unsupported
from convsweep.backends.problem_kinds import for_every_kind
from convsweep.backends.roofline_probes import PROBE_BACKENDS
from convsweep.formatting import error_line, one_line
from convsweep.problems.case import CONV, DIRECTIONS, FORWARD
from convsweep.problems.problem import ConvProblem

ENTRY_POINT_GROUP = "convsweep.backends"
_LONGEST_NAME = 64
_TAKEN = ("all", *FAMILIES, *PROBE_BACKENDS)  # Names that mean other backends
STRATEGIES = "convsweep.backends.strategies"
"""Package of the built-in strategies. Each file exports `BACKEND`, or several as `BACKENDS`."""


@cache
def list_backends() -> dict[str, Backend]:
    """Return all backends by name: built-in ones sorted by name, then those of other packages.

    A backend that cannot be imported is listed, and unsupported for every problem with the reason.
    """
    found = dict(built_in())
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        for backend in _load(point, point.dist.version if point.dist else ""):
            if backend.name in found:
                reason = f"the name {backend.name!r} belongs to another backend"
                backend = unavailable(f"{backend.name}@{point.value}", reason)
            found[backend.name] = backend
    return found


@cache
def built_in() -> dict[str, Backend]:
    """Return the built-in backends by name, sorted."""
    files = pkgutil.iter_modules(import_module(STRATEGIES).__path__)
    points = [EntryPoint(file.name, f"{STRATEGIES}.{file.name}", "") for file in files]
    found = [backend for point in points for backend in _load(point, __version__)]
    return {backend.name: backend for backend in sorted(found, key=lambda backend: backend.name)}


def _load(point: EntryPoint, version: str) -> Iterator[Backend]:
    """Load what an entry point names: a backend, a tuple of backends, or a module of them."""
    try:
        loaded = point.load()
        if isinstance(loaded, ModuleType):
            loaded = loaded.BACKENDS if hasattr(loaded, "BACKENDS") else loaded.BACKEND
    except (Exception, SystemExit) as error:  # importing another package may raise anything
        yield unavailable(point.name, f"cannot be imported: {error_line(error)}")
        return
    for number, backend in enumerate(loaded if isinstance(loaded, tuple) else (loaded,)):
        if fault := _fault(backend):
            yield unavailable(point.name + f":{number}" * (number > 0), f"{point.value} {fault}")
        else:
            default = version
            for module in reversed(backend.modules):  # as in `onnxruntime 1.32.0`
                with suppress(PackageNotFoundError, ValueError):
                    default = f"{module} {version_of(module)}"
            yield replace(for_every_kind(backend), version=backend.version or default)


def _fault(backend: object) -> str | None:
    """Return why an object can't be used as a backend, or None."""
    if not isinstance(backend, Backend):
        return f"is a {type(backend).__name__}, not a convsweep.Backend"
    for field in fields(Backend):
        value, kind = getattr(backend, field.name), str(field.type)
        if not _is_of_kind(value, kind):
            return f"has {field.name}={reprlib.repr(value)}, which is no {kind}"
    if backend.name != _identifier(backend.name):
        allowed = f"1 to {_LONGEST_NAME} ASCII letters, digits and _.:@-"
        return f"has the name {reprlib.repr(backend.name)}; allowed: {allowed}"
    if backend.name in _TAKEN:
        return f"has the name {backend.name!r}, which means other backends"
    known = backend.family in FAMILIES
    return None if known else f"has family={backend.family[:80]!r}; allowed: {', '.join(FAMILIES)}"


def _identifier(text: str) -> str:
    """Return text as a name that can be typed: `_red_x` for `[red]x`."""
    return re.sub(r"[^\w.:@-]|^\W", "_", text, flags=re.ASCII)[:_LONGEST_NAME] or "_"


def _is_of_kind(value: object, kind: str) -> bool:
    """Return whether a value is of the type that a field of `Backend` is annotated with."""
    if value is None:
        return kind.endswith("None")
    if kind.startswith("tuple"):
        return isinstance(value, tuple) and all(isinstance(text, str) for text in value)
    if kind == "float":
        return isinstance(value, int | float) and 0 <= value < math.inf
    return callable(value) if kind.startswith("Callable") else type(value).__name__ in kind


def _is_installed(module: str) -> bool:
    with suppress(ImportError, ValueError):  # such as that of a module in a missing package
        return find_spec(module) is not None
    return False


def missing_package(backend: Backend) -> str | None:
    """Return which packages of the backend are missing and how to install them, or None."""
    missing = [module for module in backend.modules if not _is_installed(module)]
    if not missing:
        return None
    how = f": pip install 'convsweep[{backend.extra}]'" if backend.extra else ""
    return f"needs {' and '.join(missing)}, not installed here{how}"


def unavailable(name: str, reason: str) -> Backend:
    """Return a backend that is unsupported for every problem, with the reason."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        raise RuntimeError(reason)

    return Backend(_identifier(name), prepare, unsupported=lambda problem: reason)


def _wrong_number(backend: Backend, problem: ConvProblem) -> str | None:
    """Return a number of the backend that no row can contain, or None."""
    counts = {"macs": backend.macs(problem), "min_bytes": backend.min_bytes(problem, 4)}
    for name, value in {**counts, "error_bound": backend.error_bound(problem)}.items():
        kind: type = Integral if name in counts else Real
        unbounded = backend.quantized and value == math.inf
        if not (isinstance(value, kind) and (0 <= value < 2**63 or unbounded)):
            return f"its {name} of the problem is {reprlib.repr(value)}"
    return None


def skip_reason(
    backend: Backend,
    problem: ConvProblem,
    *,
    weight_kind: str,
    device: str,
    dtype: str,
    direction: str = FORWARD,
    block: str = CONV,
) -> str | None:
    """Return why the backend cannot run a case, or None."""
    device_type = device.partition(":")[0]
    if backend.device_types is not None and device_type not in backend.device_types:
        return f"runs on {', '.join(backend.device_types)}, not on {device_type}"
    if backend.dtypes is not None and dtype not in backend.dtypes:
        return f"computes in {', '.join(backend.dtypes)}, not in {dtype}"
    by_autograd = backend.family in (BASIC, "algorithms")
    directions = backend.directions or (DIRECTIONS if by_autograd else (FORWARD,))
    if direction not in directions:
        return f"computes {', '.join(directions)}, not {direction}"
    if backend.quantized and block != CONV:
        return "computes the convolution alone"
    try:
        reason = missing_package(backend) or backend.unsupported(problem)
        reason = reason or backend.dtype_unsupported(problem, dtype)
        reason = reason or block_unsupported(backend, problem, block, direction, dtype)
        reason = reason or _wrong_number(backend, problem)
    except Exception as error:  # of another package
        reason = f"cannot be asked about the problem: {error_line(error)}"
    if reason:
        return one_line(str(reason))
    if backend.needs_factors and weight_kind != "separable":
        return "needs a separable weight: --weight-kind separable"
    return None
