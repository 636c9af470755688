"""One measuring process seen from outside: started, asked, watched, and ended when it must be."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from convsweep.worker import Reply, Request, Settings, serve

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Silent(Exception):
    """The measuring process did not answer in time, and was ended."""


class Ended(Exception):
    """The measuring process has ended over a request; the text says how."""


class Child:
    """A fresh measuring process; one that is silent for too long is ended."""

    def __init__(self, settings: Settings) -> None:
        context = _context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        with _interrupts_ignored(), _variables(_SINGLE_THREADED):
            self._process.start()
        theirs.close()

    def ask(self, request: Request, limit_s: float) -> Reply:
        """The process's answer.

        Raises:
            Silent: there is none within `limit_s` seconds.
            Ended: the process has ended.
        """
        try:
            self._connection.send(request)
            if self._connection.poll(max(0.0, limit_s)):
                reply: Reply = self._connection.recv()
                return reply
        except (EOFError, ConnectionError):
            how = self._how_it_ended()
            self.close()
            raise Ended(how) from None
        self.close()
        raise Silent

    def _how_it_ended(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        if code is not None and code < 0:
            known = -code in set(signal.Signals)
            name = signal.Signals(-code).name if known else f"signal {-code}"
            return f"killed by {name}"
        return f"the measuring process ended with exit code {code}"

    def close(self) -> None:
        """End the process at once; more than once is no matter."""
        if self._connection.closed:
            return
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._process.close()


def _context() -> ForkServerContext | SpawnContext:
    """How processes start: forked off a server that has torch loaded, where there can be one.

    The server runs nothing but imports, so that each process is as fresh as one that imports
    everything itself, and there within milliseconds instead of seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convsweep.worker"])
    return context


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started within leave Ctrl-C to their parent, who ends them."""
    if current_thread() is not main_thread():  # Python allows no other to set handlers
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Processes started within see these; the server then has no threads when it forks."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
