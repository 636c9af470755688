"""Which convolution strategy is faster here, by how much, and how sure is that?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convsweep.backend import Backend, Weights
    from convsweep.optimizing.optimize import optimize
    from convsweep.problem import ConvProblem
    from convsweep.registry import backends
    from convsweep.store import load

__version__ = "0.1.0"
__all__ = ["Backend", "ConvProblem", "Weights", "backends", "load", "optimize"]

_HOME = {
    "Backend": "convsweep.backend",
    "ConvProblem": "convsweep.problem",
    "Weights": "convsweep.backend",
    "backends": "convsweep.registry",
    "load": "convsweep.store",
    "optimize": "convsweep.optimizing.optimize",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `import convsweep` waits neither for torch nor pandas."""
    if name not in _HOME:
        raise AttributeError(f"module 'convsweep' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
