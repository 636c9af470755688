"""Compilation of the kernels: at the first call, once per machine and state of their source.

Threads are those of GNU OpenMP. If PyTorch was imported first and brings its own copy, there are
two pools: their threads do not wait for each other, and `OMP_PROC_BIND` puts both on the same
cores. A pool does not survive `fork`: the child of a process that has computed on 2 or more threads
waits for threads that do not exist. Start such processes by `spawn` or `forkserver`.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numba
import torch
from numba.core import config as _config

from convsweep.backends.kernels.vectors import LANES
from convsweep.system.private_folder import private_folder

config: Any = _config


def kernel(function: Callable[..., Any]) -> Any:
    """Compile the function for one thread at its first call; machine code is kept."""
    return _compiled(function, parallel=False)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile the function with its one `prange` loop spread over threads.

    Numba fuses adjacent `prange` loops, which removes the barrier between them. So each phase is a
    function of its own.
    """
    # OpenMP's threads start faster than Numba's own, by 0.1 ms per call.
    config.THREADING_LAYER = "omp"
    return _compiled(function, parallel=True)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile the function as a part of the kernels that call it."""
    return numba.njit(nogil=True, error_model="numpy")(function)


class Entry:
    """Function that is compiled at the first access of its `address`."""

    def __init__(self, signature: Any, function: Callable[..., Any]) -> None:
        self.signature, self.function = signature, function

    @cached_property
    def address(self) -> int:
        """Address of its machine code, valid while the entry exists; the code is kept."""
        compiler: Any = numba.cfunc(self.signature, cache=True, error_model="numpy")
        with _kept_in(cache_folder()):
            self._compiled = compiler(self.function)
        address: int = self._compiled.address
        return address


def _compiled(function: Callable[..., Any], *, parallel: bool) -> Any:
    with _kept_in(cache_folder()):
        return numba.njit(cache=True, nogil=True, parallel=parallel, error_model="numpy")(function)


def threads() -> int:
    """Return the number of threads of a kernel that is prepared now."""
    most: int = config.NUMBA_NUM_THREADS
    return min(torch.get_num_threads(), most)


def run(parts: int, alone: Any, spread: Any, *arguments: Any) -> None:
    """Call `alone(*arguments)` for one part, or `spread(parts, *arguments)` on their threads.

    One part enters no parallel region and starts no pool of threads.
    """
    if parts == 1:
        alone(*arguments)
    else:
        numba.set_num_threads(parts)
        spread(parts, *arguments)


def source_files() -> list[Path]:
    """Return the files that machine code depends on."""
    here = Path(__file__).parent
    return [*sorted(here.rglob("*.py")), here.parent / "winograd_transforms.py"]


@cache
def cache_folder() -> Path:
    """Return the folder for machine code: one per width of vectors and state of the source.

    Numba detects a change of a kernel's own file, but not of the files that it imports: those of
    this package, and the matrices that Winograd's kernels are unrolled from.
    """
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(path.read_bytes())
    folder = private_folder() / "kernels" / f"{digest.hexdigest()[:16]}-{LANES}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Within, Numba keeps the code of declared functions in this folder."""
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before
