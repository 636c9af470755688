"""The instructions of LLVM that kernels are generated from: vectors read, written, rearranged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

LANES = 8
"""Floats of a vector."""
FLOAT_BYTES = 4
VECTOR_BYTES = LANES * FLOAT_BYTES

FLOAT, INT = ir.FloatType(), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, LANES)
CONTRACT = ("contract",)  # a product and a sum may become one operation, nothing else may change


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """An address (int64, in bytes) as a pointer to values of a kind."""
    return builder.inttoptr(address, kind.as_pointer())


def read_vector(builder: Any, address: Any) -> Any:
    """The vector at an address, which need not be aligned."""
    value = builder.load(pointer(builder, address, VECTOR))
    value.align = FLOAT_BYTES
    return value


def write_vector(builder: Any, value: Any, address: Any) -> None:
    """Write a vector to an address, which need not be aligned."""
    builder.store(value, pointer(builder, address, VECTOR)).align = FLOAT_BYTES


def pick_lanes(builder: Any, x: Any, y: Any, which: Sequence[int]) -> Any:
    """Lanes of x (from 0) and of y (from `LANES`), in the order told."""
    mask = ir.Constant(ir.VectorType(INT, len(which)), list(which))
    return builder.shuffle_vector(x, y, mask)


def in_every_lane(builder: Any, value: Any) -> Any:
    """A vector whose lanes all are the value."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(INT, 0))
    return pick_lanes(builder, first, undefined, [0] * LANES)
