"""File descriptors of this process, redirected for a while: also the output of native code."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache


@contextmanager
def redirected(number: int, target: int) -> Iterator[None]:
    """Within, a descriptor is another one; a closed one is closed again."""
    try:
        before = os.dup(number)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        before = None
    _flush()
    os.dup2(target, number)
    try:
        yield
    finally:
        _flush()
        if before is None:
            os.close(number)
        else:
            os.dup2(before, number)
            os.close(before)


def _flush() -> None:
    """Write what Python and C have buffered for standard output and error."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # missing, full or closed
            stream.flush()
    with suppress(AttributeError, OSError, TypeError):  # no C library by that name
        c_library().fflush(None)


@cache
def c_library() -> ctypes.CDLL:
    """Return the C library of this process, or raise as `ctypes.CDLL` does; loaded once."""
    return ctypes.CDLL(None)
