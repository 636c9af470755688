"""The heart of depthwise kernels: a run of outputs in registers, every input vector loaded once.

Neighbouring outputs share inputs. Along one axis of the kernel, that of its taps, an input vector
is loaded once and multiplied with each weight that meets it; along the other one, that of its
lines, there is a loop. Lanes are channels, and taps lie in a row of the kernel; or lanes are pixels
of a row of one channel, and taps lie in a column of the kernel, each in all lanes. A kernel whose
taps are not neighbours (dilation) is a kernel of one tap and many lines.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import literally, types
from numba.core import cgutils

from convsweep.kernels.compiling import inlined
from convsweep.kernels.vectors import (
    _FLOAT,
    _VECTOR,
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    _at,
    _in_every_lane,
    _read,
    _write,
    extending,
)

OFFSET_BYTES = 8


@extending.intrinsic(prefer_literal=True)
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
    taps_, stride_, count_, pixels_ = (kind.literal_value for kind in constants)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_step, offsets, lines, weights, start, y, y_step, *_ = args
        if isinstance(signature.args[1], types.IntegerLiteral):
            x_step = ir.Constant(x.type, signature.args[1].literal_value)
        read = _read_everywhere if pixels_ else _read
        size = FLOAT_BYTES if pixels_ else VECTOR_BYTES
        sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(count_)]
        first = read(builder, start)
        for total in sums:
            builder.store(first, total)
        with cgutils.for_range(builder, lines) as line:
            offset = builder.load(
                _at(builder, _moved(builder, offsets, line.index, OFFSET_BYTES), x.type)
            )
            line_x = builder.add(x, offset)
            line_weights = _moved(builder, weights, line.index, taps_ * size)
            factors = [
                read(builder, _moved(builder, line_weights, 1, t * size)) for t in range(taps_)
            ]
            for place in range((count_ - 1) * stride_ + taps_):
                meetings = _meetings(place, taps_, stride_, count_)
                if not meetings:
                    continue
                value = _read(builder, _moved(builder, line_x, x_step, place))
                for i, t in meetings:
                    _multiply_add(builder, value, factors[t], sums[i])
        for i, total in enumerate(sums):
            _write(builder, builder.load(total), _moved(builder, y, y_step, i))
        return context.get_dummy_value()

    step = x_step if isinstance(x_step, types.IntegerLiteral) else types.int64
    whole = types.int64
    return (
        types.void(whole, step, *[whole] * 6, taps, stride, count, pixels),
        generate,
    )


def _meetings(place: int, taps: int, stride: int, count: int) -> list[tuple[int, int]]:
    """The outputs that the input at a place goes into, each with its tap."""
    places = ((i, place - i * stride) for i in range(count))
    return [(i, tap) for i, tap in places if 0 <= tap < taps]


def _moved(builder: Any, address: Any, step: Any, times: Any) -> Any:
    """`address + step * times`, of which either may be a number."""
    kind = address.type
    step, times = (ir.Constant(kind, n) if isinstance(n, int) else n for n in (step, times))
    return builder.add(address, builder.mul(step, times))


def _read_everywhere(builder: Any, address: Any) -> Any:
    return _in_every_lane(builder, builder.load(_at(builder, address, _FLOAT)))


def _multiply_add(builder: Any, x: Any, y: Any, total: Any) -> None:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
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
            literally(taps), literally(stride), literally(count), literally(pixels),
        )  # fmt: skip
