"""Copies to memory that is not read soon: they leave the caches to what is."""

from typing import Any

from llvmlite import ir
from numba import types

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.layouts import copy_floats
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    INT,
    LINE_BYTES,
    VECTOR,
    VECTOR_BYTES,
    fetch,
    intrinsic,
    load,
    pointer,
    vector,
)


@intrinsic
def store_past_caches(typing: Any, address: Any, value: Any) -> Any:
    """Write a vector to an address that is a multiple of `VECTOR_BYTES`, past the caches.

    Before other threads read it, call `fence`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write = builder.store(args[1], pointer(builder, args[0], VECTOR))
        write.align = VECTOR_BYTES
        write.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INT, 1)]))
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the line of memory at an address, which may be any."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fetch(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def fence(typing: Any) -> Any:
    """Complete all writes before this point, also those of `store_past_caches`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@inlined
def copy_past_caches(source: int, target: int, size: int) -> None:
    """Copy `size` bytes of floats, whole lines of memory without reading them into the caches.

    Call `fence` afterwards.
    """
    first = min(-target % LINE_BYTES, size)
    last = first + (size - first) // VECTOR_BYTES * VECTOR_BYTES
    copy_floats(source, target, first // FLOAT_BYTES)
    for offset in range(first, last, VECTOR_BYTES):
        store_past_caches(target + offset, load(source + offset))
    copy_floats(source + last, target + last, (size - last) // FLOAT_BYTES)
