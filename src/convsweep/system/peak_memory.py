"""The memory that some work needs in this process at its peak, where the system tells: Linux."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM back to what is resident now
_TRIAL = 2**23  # bytes


def peak_of(work: Callable[[], object]) -> int | None:
    """Bytes that are resident at the peak of some work beyond those resident before it.

    Memory that was freed before, and that the allocator keeps, is given back to the system first:
    the work pays for all that it takes, in whole pages. None where that can't be had, as without
    /proc or under an allocator other than glibc's.
    """
    return _peak(work) if _tells() else None


@cache
def _tells() -> bool:
    """Whether memory that was taken, freed and taken again is seen."""
    try:
        found = [_peak(lambda: b"x" * _TRIAL) for _ in range(2)]
    except (OSError, AttributeError, TypeError, StopIteration):
        return False
    return all(_TRIAL / 2 < bytes_ < 2 * _TRIAL for bytes_ in found)


def _peak(work: Callable[[], object]) -> int:
    ctypes.CDLL(None).malloc_trim(0)
    _RESET.write_text(_RESET_PEAK, encoding="ascii")
    before = _highest()
    work()
    return _highest() - before


def _highest() -> int:
    """The most bytes that have been resident since the last reset."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
