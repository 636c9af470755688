"""Fork server that starts worker processes within milliseconds.

The server has only imported modules, so its forks are as fresh as new interpreters. This module
imports no library, so that the server's imports run in parallel with the caller's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType
from typing import TYPE_CHECKING

from convsweep.system.private_folder import use_for_inductor

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

PRELOAD = "convsweep.measure.worker"
"""Module that the server imports. multiprocessing ignores a name that does not exist."""

# A process with threads cannot fork.
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def get_context() -> ForkServerContext | SpawnContext:
    """Return the context of the fork server, or of `spawn` on systems without one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([PRELOAD])
    return forking


def start() -> None:
    """Start the server, whose imports run in parallel with the caller."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        get_context()
        use_for_inductor()
        with isolated_start():
            forkserver.ensure_running()


@contextmanager
def isolated_start() -> Iterator[None]:
    """Within, started processes ignore Ctrl-C, have no threads and do not run `__main__`."""
    with _interrupts_held(), set_variables(_SINGLE_THREADED), _no_script():
        yield


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block Ctrl-C: started processes inherit the mask. A pending interrupt is delivered after."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # its start unblocks interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def set_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Within, set environment variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _no_script() -> Iterator[None]:
    """Hide `__main__`, which may be a notebook or a script without a guard."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
