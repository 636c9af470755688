"""Benchmark of interchangeable convolution strategies on CPU and accelerators."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convsweep.backends.base import Backend, Conv, Weights
    from convsweep.backends.registry import list_backends
    from convsweep.models.optimize.optimize import optimize
    from convsweep.problems.problem import ConvProblem
    from convsweep.results.store import load

__version__ = "0.1.0"
__all__ = ["Backend", "Conv", "ConvProblem", "Weights", "list_backends", "load", "optimize"]

_MODULES = {
    "Backend": "convsweep.backends.base",
    "Conv": "convsweep.backends.base",
    "ConvProblem": "convsweep.problems.problem",
    "Weights": "convsweep.backends.base",
    "list_backends": "convsweep.backends.registry",
    "load": "convsweep.results.store",
    "optimize": "convsweep.models.optimize.optimize",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `import convsweep` loads neither torch nor pandas."""
    if name not in _MODULES:
        raise AttributeError(f"module 'convsweep' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
