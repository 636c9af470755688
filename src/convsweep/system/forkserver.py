"""How measuring processes are started: within milliseconds, and with nothing of the caller's.

They fork off a server that has run nothing but imports, so that each is as fresh as a process that
imports everything itself. This module waits for no library, so that the server can import while
its user does.
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

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

# A server with threads could not fork.
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def get_context() -> ForkServerContext | SpawnContext:
    """What makes processes: the server's, or where there can't be one, fresh interpreters."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["convsweep.measure.worker"])
    return forking


def start() -> None:
    """Start the server, which then imports while the caller goes on."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        get_context()
        with isolated_start():
            forkserver.ensure_running()


@contextmanager
def isolated_start() -> Iterator[None]:
    """Processes started within ignore Ctrl-C, have no threads, never run the caller's script."""
    with _interrupts_held(), set_variables(_SINGLE_THREADED), _no_script():
        yield


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C is for the parent, who ends them: they start with it blocked, and it stays so.

    One that comes meanwhile is not lost.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # as it starts it lets interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def set_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Within, these environment variables have these values."""
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
    """A measuring process needs nothing of `__main__`, which may be a notebook or have no guard."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
