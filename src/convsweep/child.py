"""One measuring process seen from outside: started, watched, and ended when it must be."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import current_thread, main_thread
from time import monotonic

from convsweep.contest import Finished
from convsweep.environment import thread_variables
from convsweep.grid import Case
from convsweep.record import Outcome
from convsweep.worker import Settings, serve

START_LIMIT_S = 300.0
"""The longest that a measuring process may be silent before its first case."""


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


class Failed(Exception):
    """The measuring process has ended, or had to be ended, over these cases."""

    def __init__(self, cases: Sequence[Case], outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.cases, self.outcome = cases, outcome


def _blamed(
    cases: Sequence[Case], left: set[int], current: int | None, begun: bool
) -> Sequence[Case]:
    """The case that was worked on; before the first one, all: their inputs or truth failed."""
    if not begun:
        return cases
    return [cases[min(left) if current is None else current]]


class Child:
    """A measuring process, watched: a case that outlasts its limit ends with the process."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._limit_s = settings.case_timeout_s
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        with thread_variables(settings.threads), _interrupts_ignored():
            self._process.start()
        theirs.close()

    def measure(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        """Each case's outcome as it comes; raises `Failed` where one ended the process."""
        connection: Connection = self._connection
        current: int | None = None
        spent_s = [0.0] * len(cases)
        left = set(range(len(cases)))
        begun = False
        try:
            connection.send(cases)
            while left:
                limit_s = START_LIMIT_S if current is None else self._limit_s - spent_s[current]
                started = monotonic()
                if not connection.poll(max(0.0, limit_s)):
                    raise Failed(_blamed(cases, left, current, begun), self._cut_off(current))
                message = connection.recv()
                if current is not None:
                    spent_s[current] += monotonic() - started
                current, begun = message.index, True
                if isinstance(message, Finished):
                    left.discard(message.index)
                    current = None
                    yield cases[message.index], message.outcome
        except (EOFError, ConnectionError):
            raise Failed(_blamed(cases, left, current, begun), self._crash()) from None

    def _cut_off(self, current: int | None) -> Outcome:
        if current is None:
            return Outcome("error", f"the measuring process was silent for {START_LIMIT_S:g} s")
        return Outcome("timeout", f"cut off at the limit of {self._limit_s:g} s")

    def _crash(self) -> Outcome:
        self._process.join(timeout=5)
        code = self._process.exitcode
        if code is not None and code < 0:
            known = -code in set(signal.Signals)
            name = signal.Signals(-code).name if known else f"signal {-code}"
            return Outcome("crash", f"killed by {name}")
        return Outcome("crash", f"the measuring process ended with exit code {code}")

    def close(self) -> None:
        """End the process at once."""
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._process.close()
