"""The heart of depthwise kernels: a run of outputs in registers, every input vector loaded once.

Neighbouring outputs share inputs. Along one axis of the kernel, that of its taps, an input vector
is loaded once and multiplied with each weight that meets it; along the other one, that of its
lines, there is a loop. Lanes are channels, and taps lie in a row of the kernel; or lanes are pixels
of a row of one channel, and taps lie in a column of the kernel, each in all lanes. A kernel whose
taps are not neighbours (dilation) is a kernel of one tap and many lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.instructions import (
    FLOAT,
    FLOAT_BYTES,
    LANES,
    VECTOR,
    VECTOR_BYTES,
    in_every_lane,
    pointer,
    read_vector,
    write_vector,
)

OFFSET_BYTES = 8


_intrinsic: Any = extending.intrinsic(prefer_literal=True)


@_intrinsic
def tile(
    typing: Any,
    x: Any,
    x_step: Any,
    offsets: Any,
    lines: Any,
    weights: Any,
    start: Any,
    y: Any,
    y_step: Any,
    taps: Any,
    stride: Any,
    count: Any,
    pixels: Any,
) -> Any:
    """Outputs 0 to `count` of a depthwise convolution, a vector each.

    Output i is written to `y + i * y_step`; it is the vector at `start` plus, for all lines l and
    taps t, the input vector at `x + offsets[l] + (i * stride + t) * x_step` times its weight. With
    `pixels` false, lanes are channels: weight (l, t) is a vector at `weights`, in that order, and
    `start` one; with `pixels` true it is a float, and `start` too, and counts in all lanes.

    Steps are in bytes, `offsets` the address of int64. `taps`, `stride`, `count` and `pixels` are
    constants where the kernel is compiled, `x_step` may be one.
    """
    constants = (taps, stride, count, pixels)
    if not all(isinstance(kind, types.Literal) for kind in constants):
        return None
    shape = _Shape(*(int(kind.literal_value) for kind in constants))
    step = x_step if isinstance(x_step, types.IntegerLiteral) else types.int64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_step, *rest = args[:8]
        if isinstance(step, types.IntegerLiteral):
            x_step = ir.Constant(x.type, step.literal_value)
        _generate(builder, shape, x, x_step, *rest)
        return context.get_dummy_value()

    return types.void(types.int64, step, *[types.int64] * 6, *constants), generate


class _Shape(NamedTuple):
    taps: int
    stride: int
    outputs: int
    pixels: int  # 1 where lanes are pixels


def _generate(
    builder: Any,
    shape: _Shape,
    x: Any,
    x_step: Any,
    offsets: Any,
    lines: Any,
    weights: Any,
    start: Any,
    y: Any,
    y_step: Any,
) -> None:
    read, size = (_read_everywhere, FLOAT_BYTES) if shape.pixels else (read_vector, VECTOR_BYTES)
    sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(shape.outputs)]
    first = read(builder, start)
    for total in sums:
        builder.store(first, total)
    with cgutils.for_range(builder, lines) as line:
        offset = pointer(builder, _moved(builder, offsets, line.index, OFFSET_BYTES), x.type)
        line_x = builder.add(x, builder.load(offset))
        tap = _moved(builder, weights, line.index, shape.taps * size)
        factors = [read(builder, _moved(builder, tap, t, size)) for t in range(shape.taps)]
        for place in range((shape.outputs - 1) * shape.stride + shape.taps):
            meetings = _meetings(place, shape)
            value = (
                read_vector(builder, _moved(builder, line_x, x_step, place)) if meetings else None
            )
            for i, t in meetings:
                _multiply_add(builder, value, factors[t], sums[i])
    for i, total in enumerate(sums):
        write_vector(builder, builder.load(total), _moved(builder, y, y_step, i))


def _meetings(place: int, shape: _Shape) -> list[tuple[int, int]]:
    """The outputs that the input at a place goes into, each with its tap."""
    places = ((i, place - i * shape.stride) for i in range(shape.outputs))
    return [(i, tap) for i, tap in places if 0 <= tap < shape.taps]


def _moved(builder: Any, address: Any, step: Any, times: Any) -> Any:
    """`address + step * times`, of which either may be a number."""
    kind = address.type
    step, times = (ir.Constant(kind, n) if isinstance(n, int) else n for n in (step, times))
    return builder.add(address, builder.mul(step, times))


def _read_everywhere(builder: Any, address: Any) -> Any:
    return in_every_lane(builder, builder.load(pointer(builder, address, FLOAT)))


def _multiply_add(builder: Any, x: Any, y: Any, total: Any) -> None:
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.store(builder.call(multiply_add, [x, y, builder.load(total)]), total)


@inlined
def run(
    x: int,
    x_step: int,
    offsets: int,
    lines: int,
    weights: int,
    start: int,
    y: int,
    y_step: int,
    length: int,
    taps: int,
    stride: int,
    count: int,
    pixels: bool,
) -> None:
    """Outputs 0 to `length` (at least `count`) by tiles of `count`; the last one overlaps.

    All else is as in `tile`; `taps`, `stride`, `count`, `pixels` and maybe `x_step` are constants
    of the function that calls this one.
    """
    for first in range(0, length, count):
        i = min(first, length - count)
        tile(
            x + i * stride * x_step, x_step, offsets, lines, weights, start, y + i * y_step, y_step,
            numba.literally(taps), numba.literally(stride), numba.literally(count),
            numba.literally(pixels),
        )  # fmt: skip
