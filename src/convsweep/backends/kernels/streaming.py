"""Copies to memory that is not read soon: they leave the caches to what is."""

from __future__ import annotations

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    VECTOR_BYTES,
    load,
    load_float,
    store_float,
    store_past_caches,
)

LINE_BYTES = 64


@inlined
def _copy_floats(source: int, target: int, size: int) -> None:
    for offset in range(0, size, FLOAT_BYTES):
        store_float(target + offset, load_float(source + offset))


@inlined
def copy_past_caches(source: int, target: int, size: int) -> None:
    """Copy `size` bytes of floats, whole lines of memory without reading them into the caches.

    Call `fence` afterwards.
    """
    first = min(-target % LINE_BYTES, size)
    last = first + (size - first) // VECTOR_BYTES * VECTOR_BYTES
    _copy_floats(source, target, first)
    for offset in range(first, last, VECTOR_BYTES):
        store_past_caches(target + offset, load(source + offset))
    _copy_floats(source + last, target + last, size - last)
