"""Ctrl-C during a sweep: the first one asks it to end, the second one ends it at once."""

from __future__ import annotations

import signal
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Self


class Interrupts:
    """While this is entered, one interrupt is noted and the next one raises as usual."""

    def __init__(self) -> None:
        self.asked = False
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
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
