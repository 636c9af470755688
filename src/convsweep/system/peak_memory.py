"""Peak memory of some work in this process, on Linux with glibc."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from convsweep.descriptors import c_library

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): resets VmHWM to the resident bytes
_TRIAL = 2**23  # bytes


def peak_of(work: Callable[[], object]) -> int | None:
    """Return the peak of resident bytes during some work, beyond those before it.

    Freed memory that the allocator keeps is first returned to the system, so that it is counted
    when the work uses it. Returns None if the system cannot measure this.
    """
    return _peak(work) if _is_supported() else None


@cache
def _is_supported() -> bool:
    """Return whether memory that is allocated, freed and allocated again is measured."""
    try:
        found = [_peak(lambda: b"x" * _TRIAL) for _ in range(2)]
    except (OSError, AttributeError, TypeError, IndexError):
        return False
    return all(_TRIAL / 2 < bytes_ < 2 * _TRIAL for bytes_ in found)


def _peak(work: Callable[[], object]) -> int:
    c_library().malloc_trim(0)
    _RESET.write_text(_RESET_PEAK, encoding="ascii")
    before = _highest()
    work()
    return _highest() - before


def _highest() -> int:
    """Return the most resident bytes since the last reset."""
    text = _STATUS.read_bytes().partition(b"VmHWM:")[2]
    return 1024 * int(text.split(maxsplit=1)[0])
