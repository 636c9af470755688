"""How the kernels are compiled: once a machine, kept, and thrown away when their source changes.

Nothing is compiled before the first call that needs it. GNU OpenMP, whose pool kernels and PyTorch
share, does not survive `fork`: a process that has computed on 2 threads or more can't be forked and
compute on in the child, which waits for threads that it does not have. Start it by `spawn` or
`forkserver`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numba
from numba.core import config as _config

config: Any = _config


def kernel(function: Callable[..., Any]) -> Any:
    """The function compiled for one thread when it is first called; machine code is kept."""
    return _compiled(function, parallel=False)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """The function compiled with its one `prange` spread over threads.

    Numba fuses adjacent `prange` loops, which then lose the barrier between them: a phase that
    waits for another one is a function of its own.
    """
    # OpenMP: the pool is the one that PyTorch uses; Numba's own costs 0.1 ms a call beside it.
    config.THREADING_LAYER = "omp"
    return _compiled(function, parallel=True)


def inlined(function: Callable[..., Any]) -> Any:
    """A part of kernels, compiled along with each of them."""
    return numba.njit(nogil=True, error_model="numpy")(function)


class Entry:
    """A function to be started at its `address`, compiled when that is first asked for."""

    def __init__(self, signature: Any, function: Callable[..., Any]) -> None:
        self.signature, self.function = signature, function

    @cached_property
    def address(self) -> int:
        """Where its machine code begins, for as long as the entry lives; the code is kept."""
        address: int = self._compiled.address
        return address

    @cached_property
    def _compiled(self) -> Any:
        with _kept_in(cache_folder()):
            return numba.cfunc(self.signature, cache=True, error_model="numpy")(self.function)


def _compiled(function: Callable[..., Any], *, parallel: bool) -> Any:
    with _kept_in(cache_folder()):
        return numba.njit(cache=True, nogil=True, parallel=parallel, error_model="numpy")(function)


@cache
def cache_folder() -> Path:
    """Where machine code is kept: a folder for each state of the kernels' source.

    Numba notices that a kernel's own file has changed, not that a file which it imports has: those
    beside it, and the matrices that Winograd's kernels are unrolled from.
    """
    digest, here = hashlib.sha256(), Path(__file__).parent
    for path in (*sorted(here.rglob("*.py")), here.parent / "winograd_transforms.py"):
        digest.update(path.read_bytes())
    name = digest.hexdigest()[:16]
    for home in _process_keys():
        folder = home / "convsweep" / "kernels" / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="convsweep-kernels-"))


def _process_keys() -> Iterator[Path]:
    """The user's choices, then the usual place, then one that is always there."""
    for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        if value := os.environ.get(variable):
            yield Path(value)
    yield Path.home() / ".cache"
    yield Path(tempfile.gettempdir()) / f"convsweep-{os.getuid() if hasattr(os, 'getuid') else ''}"


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Have Numba keep in this folder what is declared meanwhile, and nobody else's code."""
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before
