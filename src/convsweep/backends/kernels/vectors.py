"""Vector of float32 as a Numba type, read and written at raw addresses (int64, in bytes).

LLVM lowers a vector to one register of AVX2, half of one of AVX-512 or two of NEON. Addresses are
not checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.extending import models, register_model

from convsweep.backends.kernels.instructions import (
    FLOAT,
    LANES,
    VECTOR,
    VECTOR_BYTES,
    pick_lanes,
    pointer,
    read_vector,
    write_vector,
)

intrinsic: Any = extending.intrinsic  # its results are called in kernels, without `typing`


class VectorType(types.Type):
    """Numba type of `LANES` floats."""

    def __init__(self) -> None:
        super().__init__(name=f"vector of {LANES} float32")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """Read the vector at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_vector(builder, args[0])

    return vector(types.int64), generate


@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Write a vector to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_vector(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def zeros(typing: Any) -> Any:
    """Return a vector of zeros."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(VECTOR, [0.0] * LANES)

    return vector(), generate


@intrinsic
def load_float(typing: Any, address: Any) -> Any:
    """Read the float at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(pointer(builder, args[0], FLOAT))

    return types.float32(types.int64), generate


@intrinsic
def store_float(typing: Any, address: Any, value: Any) -> Any:
    """Write a float to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], pointer(builder, args[0], FLOAT))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def transpose(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
    """Transpose `LANES` vectors: rows `source_step` bytes apart to rows `target_step` apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, source_step, target, target_step = args

        def row(start: Any, step: Any, index: int) -> Any:
            return builder.add(start, builder.mul(step, ir.Constant(step.type, index)))

        rows = [read_vector(builder, row(source, source_step, i)) for i in range(LANES)]
        for i, column in enumerate(_transposed(builder, rows)):
            write_vector(builder, column, row(target, target_step, i))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose in log2(LANES) rounds, in which rows `reach` apart exchange blocks of `reach`."""
    reach = 1
    while reach < LANES:
        exchanged = list(rows)
        for i in range(LANES):
            if i & reach:
                continue
            low = [LANES + lane - reach if lane & reach else lane for lane in range(LANES)]
            high = [LANES + lane if lane & reach else lane + reach for lane in range(LANES)]
            exchanged[i] = pick_lanes(builder, rows[i], rows[i + reach], low)
            exchanged[i + reach] = pick_lanes(builder, rows[i], rows[i + reach], high)
        rows, reach = exchanged, 2 * reach
    return rows


@intrinsic
def deinterleave(typing: Any, source: Any, even: Any, odd: Any) -> Any:
    """Write the even of 2 * LANES floats to one address, the odd ones to another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, even, odd = args
        x = read_vector(builder, source)
        y = read_vector(builder, builder.add(source, ir.Constant(source.type, VECTOR_BYTES)))
        write_vector(builder, pick_lanes(builder, x, y, range(0, 2 * LANES, 2)), even)
        write_vector(builder, pick_lanes(builder, x, y, range(1, 2 * LANES, 2)), odd)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate
