"""Ctrl-C: ends the process at once before a sweep; during one, the first is a request to stop."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, NoReturn, Self

EXIT_CODE = 130  # Exit code of an interrupted process


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Within, an interrupt ends the process at once. An import could swallow the exception.

    Use it only before anything is written or started.
    """
    if current_thread() is not main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):  # standard error is full or closed
        os.write(2, b"convsweep: interrupted\n")
    os._exit(EXIT_CODE)


def ignore_interrupts() -> None:
    """Ignore interrupts from now on, so that one during shutdown does not change the exit code."""
    if current_thread() is main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Interrupts:
    """Context in which the first interrupt is recorded and the next one raises."""

    def __init__(self) -> None:
        self.received = False
        """Whether there was one."""
        self._before: Any = None

    def __enter__(self) -> Self:
        """Handle interrupts, if in the main thread."""
        if current_thread() is main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the previous handler."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
