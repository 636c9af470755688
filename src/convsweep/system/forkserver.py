"""Fork server that starts worker processes within milliseconds.

The server has only imported modules and listed the built-in backends, so its forks are as fresh as
new interpreters. This module imports no library, so that the server's imports run in parallel with
the caller's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker, util
from multiprocessing.process import BaseProcess
from threading import current_thread, main_thread
from types import ModuleType
from typing import TYPE_CHECKING

from convsweep.system.private_folder import use_for_compilers

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

SERVED, FOLDER = "CONVSWEEP_SERVED_PROCESS", "CONVSWEEP_TEMPORARY_FOLDER"
"""Variables of a server: the process that it serves, and its folder that the server removes."""

# multiprocessing ignores a module that does not exist.
PRELOAD = ["convsweep.system.guard", "convsweep.measure.worker", "convsweep.sweep.worker_pool"]
PRELOAD += ["numpy.ma"]  # which numpy imports at its first median
# A process with threads cannot fork.
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Warnings are for programmers, who ask for them by -W, which started processes inherit.
_SILENT = {"PYTHONWARNINGS": "ignore"}
_EXIT_S = 5.0
_ORDERLY_S = 1.0  # for an idle process to release what it owns, such as semaphores


def get_context() -> ForkServerContext | SpawnContext:
    """Return the context of the fork server, or of `spawn` on systems without one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(PRELOAD)
    return forking


def start() -> None:
    """Start the server, whose imports run in parallel with the caller."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        get_context()
        use_for_compilers()
        with isolated_start():
            forkserver.ensure_running()


@contextmanager
def isolated_start() -> Iterator[None]:
    """Within, started processes ignore Ctrl-C, have no threads and do not run `__main__`."""
    with _signals_held(), set_variables(_SINGLE_THREADED | _SILENT | _guarded()), _no_script():
        yield


def end(process: BaseProcess, *, idle: bool) -> None:
    """End a process and those that it has started; an idle one may clean up first."""
    if idle:
        process.join(_ORDERLY_S)
    with suppress(OSError, AttributeError):  # no such group, or none on this system
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
    process.close()


def exit_reason(process: BaseProcess, name: str) -> str:
    """Return why a process has ended: `killed by SIGKILL`, or its exit code."""
    process.join(_EXIT_S)
    code = process.exitcode
    if code is not None and code < 0:
        known = -code in set(signal.Signals)
        return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"the {name} process ended with exit code {code}"


def _guarded() -> dict[str, str]:
    """Return the variables of a server that ends with this process.

    In another thread there are none: Linux would end the server with the thread.
    """
    served = str(os.getpid()) if current_thread() is main_thread() else ""
    return {SERVED: served, FOLDER: util.get_temp_dir()}


@contextmanager
def _signals_held() -> Iterator[None]:
    """Block signals that end this process until it has started another one completely.

    Started processes inherit the mask; all of them ignore Ctrl-C.
    """
    if sys.platform == "win32":
        yield
        return
    with set_variables(_SILENT):  # about semaphores of a killed process
        resource_tracker.ensure_running()  # its start unblocks interrupts
    ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
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
