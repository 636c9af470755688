"""A vector of float32 as a Numba type, read and written at raw addresses (int64, in bytes).

The vector is an idea of the algorithms, not a register: LLVM lowers it to one register of AVX2,
half of one of AVX-512, two of NEON. Nothing checks an address: whoever computes one guards it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, overload, register_model

LANES = 8
"""Floats of a vector."""
FLOAT_BYTES = 4
VECTOR_BYTES = LANES * FLOAT_BYTES

intrinsic: Any = extending.intrinsic  # its results are called in kernels, without `typing`

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_CONTRACT = ("contract",)  # a product and a sum may become one operation, nothing else may change


class VectorType(types.Type):
    """`LANES` floats that are added, subtracted and multiplied lane by lane."""

    def __init__(self) -> None:
        super().__init__(name=f"vector of {LANES} float32")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _read(builder: Any, address: Any) -> Any:
    value = builder.load(_at(builder, address, _VECTOR))
    value.align = FLOAT_BYTES
    return value


def _write(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, _at(builder, address, _VECTOR)).align = FLOAT_BYTES


def _lanes(builder: Any, x: Any, y: Any, which: Sequence[int]) -> Any:
    """Lanes of x (from 0) and of y (from `LANES`), in the order told."""
    mask = ir.Constant(ir.VectorType(_INT, len(which)), list(which))
    return builder.shuffle_vector(x, y, mask)


def _in_every_lane(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_INT, 0))
    return _lanes(builder, first, undefined, [0] * LANES)


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """The vector at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _read(builder, args[0])

    return vector(types.int64), generate


@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Write a vector to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _write(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def broadcast(typing: Any, address: Any) -> Any:
    """The float at an address, in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _in_every_lane(builder, builder.load(_at(builder, args[0], _FLOAT)))

    return vector(types.int64), generate


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """A number in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _in_every_lane(builder, builder.fptrunc(args[0], _FLOAT))

    return vector(types.float64), generate


@intrinsic
def zeros(typing: Any) -> Any:
    """A vector of zeros."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_VECTOR, [0.0] * LANES)

    return vector(), generate


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """`x * y + z`, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fma.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return vector(vector, vector, vector), generate


@intrinsic
def _add(typing: Any, x: Any, y: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=_CONTRACT)

    return vector(vector, vector), generate


@intrinsic
def _subtract(typing: Any, x: Any, y: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fsub(*args, flags=_CONTRACT)

    return vector(vector, vector), generate


@intrinsic
def _multiply(typing: Any, x: Any, y: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args, flags=_CONTRACT)

    return vector(vector, vector), generate


@overload(operator.add, strict=False)
def _plus(x: Any, y: Any) -> Any:
    if isinstance(x, VectorType) and isinstance(y, VectorType):
        return lambda x, y: _add(x, y)
    return None


@overload(operator.sub, strict=False)
def _minus(x: Any, y: Any) -> Any:
    if isinstance(x, VectorType) and isinstance(y, VectorType):
        return lambda x, y: _subtract(x, y)
    return None


@overload(operator.mul, strict=False)
def _times(x: Any, y: Any) -> Any:
    if isinstance(x, VectorType) and isinstance(y, VectorType):
        return lambda x, y: _multiply(x, y)
    return None


@intrinsic
def load_float(typing: Any, address: Any) -> Any:
    """The float at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_at(builder, args[0], _FLOAT))

    return types.float32(types.int64), generate


@intrinsic
def store_float(typing: Any, address: Any, value: Any) -> Any:
    """Write a float to an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _at(builder, args[0], _FLOAT))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def transpose(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
    """Transpose `LANES` vectors: rows `source_step` bytes apart to rows `target_step` apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, source_step, target, target_step = args

        def row(start: Any, step: Any, index: int) -> Any:
            return builder.add(start, builder.mul(step, ir.Constant(step.type, index)))

        rows = [_read(builder, row(source, source_step, i)) for i in range(LANES)]
        for i, column in enumerate(_transposed(builder, rows)):
            _write(builder, column, row(target, target_step, i))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """By halves: in each of log2(LANES) rounds, rows `reach` apart exchange blocks of `reach`."""
    reach = 1
    while reach < LANES:
        exchanged = list(rows)
        for i in range(LANES):
            if i & reach:
                continue
            low = [LANES + lane - reach if lane & reach else lane for lane in range(LANES)]
            high = [LANES + lane if lane & reach else lane + reach for lane in range(LANES)]
            exchanged[i] = _lanes(builder, rows[i], rows[i + reach], low)
            exchanged[i + reach] = _lanes(builder, rows[i], rows[i + reach], high)
        rows, reach = exchanged, 2 * reach
    return rows


@intrinsic
def deinterleave(typing: Any, source: Any, even: Any, odd: Any) -> Any:
    """Write the even ones of 2 * LANES floats to one address, the odd ones to another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, even, odd = args
        x = _read(builder, source)
        y = _read(builder, builder.add(source, ir.Constant(source.type, VECTOR_BYTES)))
        _write(builder, _lanes(builder, x, y, range(0, 2 * LANES, 2)), even)
        _write(builder, _lanes(builder, x, y, range(1, 2 * LANES, 2)), odd)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate
