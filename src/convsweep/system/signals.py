"""Ctrl-C: before a sweep it ends the process; during one the second does, the first one asks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, NoReturn, Self

EXIT_CODE = 130
"""Of a process that an interrupt has ended."""


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Within, an interrupt ends the process: a library in the midst of its import may swallow it.

    Only for when nothing has been written or started yet that would have to be ended first.
    """
    if current_thread() is not main_thread():  # Python allows no other to set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"convsweep: interrupted\n")
    os._exit(EXIT_CODE)


def ignore_interrupts() -> None:
    """From here on interrupts do nothing: one while Python ends would take the exit code with it.

    Only for a process that an interrupt has ended already, and that has nothing left to do.
    """
    if current_thread() is main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Interrupts:
    """While this is entered, one interrupt is noted and the next one raises as usual."""

    def __init__(self) -> None:
        self.received = False
        """Whether there was an interrupt."""
        self._before: Any = None

    def __enter__(self) -> Self:
        """Take interrupts; where Python allows it, in the main thread."""
        if current_thread() is main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave interrupts to whoever took them before."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
