"""Micro-kernel of depthwise convolutions: a run of outputs in registers, each input loaded once.

Neighbouring outputs share inputs. Along one axis of the kernel (its taps) an input vector is loaded
once and multiplied with all weights that use it. Along the other axis (its lines) there is a loop.
Either lanes are channels, and taps are in a row of the kernel. Or lanes are pixels of a row of one
channel, taps are in a column, and each weight is in all lanes. With dilation d, outputs d apart
are neighbours.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.vectors import (
    FLOAT,
    FLOAT_BYTES,
    VECTOR,
    VECTOR_BYTES,
    in_every_lane,
    intrinsic_of_constants,
    moved,
    multiply_add,
    pointer,
    read_vector,
    write_vector,
)

OFFSET_BYTES = 8


@intrinsic_of_constants
def tile(
    typing: Any, x: Any, x_step: Any, offsets: Any, lines: Any, weights: Any, start: Any, y: Any,
    y_step: Any, taps: Any, stride: Any, count: Any, pixels: Any,
    at_left: Any, at_right: Any, before: Any, behind: Any,
) -> Any:  # fmt: skip
    """Compute outputs 0 to `count` of a depthwise convolution, one vector each.

    Output i is written to `y + i * y_step`. It is the vector at `start` plus, for all lines l and
    taps t, the input vector at `x + offsets[l] + (i * stride + t) * x_step` times weight (l, t).
    With `pixels` false, lanes are channels, and weights and `start` are vectors. With `pixels`
    true they are floats, used in all lanes. The first `before` inputs of a line are padding if
    `at_left`, the last `behind` if `at_right`: they are not read.

    Steps are in bytes; `offsets` is the address of int64 values. `taps`, `stride`, `count`,
    `pixels`, `before` and `behind` are compile-time constants; `x_step` may be one.
    """
    constants = (taps, stride, count, pixels, before, behind)
    if not all(isinstance(kind, types.Literal) for kind in constants):
        return None
    shape = _Shape(*(int(kind.literal_value) for kind in constants))
    step = x_step if isinstance(x_step, types.IntegerLiteral) else types.int64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_step, *rest = args[:8]
        if isinstance(step, types.IntegerLiteral):
            x_step = ir.Constant(x.type, step.literal_value)

        def inside(before: int, behind: int) -> None:
            one = shape._replace(before=before, behind=behind)
            _generate(builder, one, x, x_step, *rest)

        def from_left(before: int) -> None:
            _choose(builder, at_right, shape.behind, lambda behind: inside(before, behind))

        at_left, at_right = args[12:14]
        _choose(builder, at_left, shape.before, from_left)
        return context.get_dummy_value()

    flags = types.boolean, types.boolean
    kinds = [types.int64, step, *[types.int64] * 6, *constants[:4], *flags, *constants[4:]]
    return types.void(*kinds), generate


def _choose(builder: Any, flag: Any, number: int, generate: Callable[[int], None]) -> None:
    """Generate code for the number if the flag is set, else for 0."""
    if not number:
        generate(0)
        return
    with builder.if_else(flag) as (chosen, other):
        with chosen:
            generate(number)
        with other:
            generate(0)


class _Shape(NamedTuple):
    taps: int
    stride: int
    outputs: int
    pixels: int  # 1 if lanes are pixels
    before: int = 0
    behind: int = 0

    @property
    def places(self) -> range:
        """The places of inputs that are read."""
        return range(self.before, (self.outputs - 1) * self.stride + self.taps - self.behind)


def _generate(
    builder: Any, shape: _Shape, x: Any, x_step: Any, offsets: Any, lines: Any, weights: Any,
    start: Any, y: Any, y_step: Any,
) -> None:  # fmt: skip
    read, size = (_read_in_every_lane, FLOAT_BYTES) if shape.pixels else (read_vector, VECTOR_BYTES)
    sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(shape.outputs)]
    first = read(builder, start)
    for total in sums:
        builder.store(first, total)
    with cgutils.for_range(builder, lines) as line:
        offset = pointer(builder, moved(builder, offsets, line.index, OFFSET_BYTES), x.type)
        line_x = builder.add(x, builder.load(offset))
        tap = moved(builder, weights, line.index, shape.taps * size)
        factors: dict[int, Any] = {}  # read at their first use: large kernels exceed the registers
        for place in shape.places:
            uses = _uses(place, shape)
            value = read_vector(builder, moved(builder, line_x, x_step, place)) if uses else None
            for i, t in uses:
                if t not in factors:
                    factors[t] = read(builder, moved(builder, tap, t, size))
                total = builder.load(sums[i])
                builder.store(multiply_add(builder, value, factors[t], total), sums[i])
    for i, total in enumerate(sums):
        write_vector(builder, builder.load(total), moved(builder, y, y_step, i))


def _uses(place: int, shape: _Shape) -> list[tuple[int, int]]:
    """Return the outputs that use the input at a place, each with its tap."""
    places = ((i, place - i * shape.stride) for i in range(shape.outputs))
    return [(i, tap) for i, tap in places if 0 <= tap < shape.taps]


def _read_in_every_lane(builder: Any, address: Any) -> Any:
    return in_every_lane(builder, builder.load(pointer(builder, address, FLOAT)))


@inlined
def run(
    x: int, x_step: int, offsets: int, lines: int, weights: int, start: int, y: int, y_step: int,
    length: int, taps: int, stride: int, count: int, pixels: bool,
) -> None:  # fmt: skip
    """Compute outputs 0 to `length` (at least `count`) in tiles of `count`; the last one overlaps.

    Arguments are as in `tile`. `taps`, `stride`, `count`, `pixels` and perhaps `x_step` are
    constants of the calling function.
    """
    for first in range(0, length, count):
        i = min(first, length - count)
        tile(
            x + i * stride * x_step, x_step, offsets, lines, weights, start, y + i * y_step, y_step,
            numba.literally(taps), numba.literally(stride), numba.literally(count),
            numba.literally(pixels), False, False, 0, 0,
        )  # fmt: skip


@inlined
def run_apart(
    gap: int, x_next: int, x: int, x_step: int, offsets: int, lines: int, weights: int,
    weights_step: int, start: int, y: int, y_step: int, length: int, vectors: int, last: int,
    taps: int, stride: int, count: int, pixels: bool,
) -> None:  # fmt: skip
    """Compute outputs 0 to `length` of some vectors, those of a tile `gap` apart, as `run`.

    Inputs of neighbouring outputs are `x_next` apart, those of a tile's taps `x_step`. The last
    vector of outputs is at most `last` bytes from the first one. Every `gap`-th output gives at
    least `count` outputs, or none.
    """
    for i in range(gap):
        some = length if gap == 1 else (length - i + gap - 1) // gap  # divisions are slow
        for first in range(0, some, count):
            place = min(first, some - count)
            for vector in range(vectors):
                channel = min(vector * VECTOR_BYTES, last)
                tile(
                    x + i * x_next + place * stride * x_step + vector * VECTOR_BYTES, x_step,
                    offsets, lines, weights + vector * weights_step, start + channel,
                    y + (i + place * gap) * y_step + channel, gap * y_step,
                    numba.literally(taps), numba.literally(stride), numba.literally(count),
                    numba.literally(pixels), False, False, 0, 0,
                )  # fmt: skip
