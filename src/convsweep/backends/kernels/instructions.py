"""LLVM instructions that intrinsics are generated from: vectors read, written, rearranged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 8
"""Floats per vector."""
FLOAT_BYTES = 4
VECTOR_BYTES = LANES * FLOAT_BYTES

FLOAT, INT = ir.FloatType(), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, LANES)
CONTRACT = ("contract",)  # only allows a product and a sum to become one operation


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """Convert an address (int64, in bytes) to a pointer to values of a kind."""
    return builder.inttoptr(address, kind.as_pointer())


def read_vector(builder: Any, address: Any) -> Any:
    """Read the vector at an address, which need not be aligned."""
    value = builder.load(pointer(builder, address, VECTOR))
    value.align = FLOAT_BYTES
    return value


def write_vector(builder: Any, value: Any, address: Any) -> None:
    """Write a vector to an address, which need not be aligned."""
    builder.store(value, pointer(builder, address, VECTOR)).align = FLOAT_BYTES


def pick_lanes(builder: Any, x: Any, y: Any, which: Sequence[int]) -> Any:
    """Return lanes of x (numbered from 0) and of y (from `LANES`), in the given order."""
    mask = ir.Constant(ir.VectorType(INT, len(which)), list(which))
    return builder.shuffle_vector(x, y, mask)


def in_every_lane(builder: Any, value: Any) -> Any:
    """Return a vector with the value in every lane."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(INT, 0))
    return pick_lanes(builder, first, undefined, [0] * LANES)


def moved(builder: Any, address: Any, step: Any, times: Any) -> Any:
    """Return `address + step * times`; step and times may be Python integers."""
    kind = address.type
    step, times = (ir.Constant(kind, n) if isinstance(n, int) else n for n in (step, times))
    return builder.add(address, builder.mul(step, times))


def multiply_add(builder: Any, x: Any, y: Any, total: Any) -> Any:
    """Return the vector `x * y + total`, which may be rounded once or twice."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [x, y, total])


def call_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Call the machine code at the address `args[0]` with the other arguments."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in args[1:]])
    builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
    return context.get_dummy_value()
