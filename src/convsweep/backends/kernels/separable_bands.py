"""Depthwise and 1x1 convolution of one band of output rows after another.

A block of channels of the input rows that a band needs is laid out between its padding, as
`[row][column][LANES]`; its depthwise answers `[C_in / LANES][pixel][LANES]` are what the matrix
product starts from. Everything is at raw addresses, steps are in bytes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir
from numba import prange, types

from convsweep.backends.kernels.compiling import Entry, inlined, kernel, parallel_kernel
from convsweep.backends.kernels.depthwise_tile import run
from convsweep.backends.kernels.instructions import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.layouts import block_from_planes, block_from_rows
from convsweep.backends.kernels.pointwise import panels
from convsweep.backends.kernels.products import PANEL
from convsweep.backends.kernels.vectors import intrinsic, store, zeros


class Plan(NamedTuple):
    """A problem in 2 dimensions, and how it is divided."""

    planes: int  # 1: pixels lie in planes; 0: in rows of all channels
    images: int
    channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    stride: int  # of rows
    top: int  # rows of padding
    left: int  # columns of padding
    reach: int  # input rows that one output row needs
    padded_width: int  # columns that all output columns need
    lines: int  # of the depthwise kernel, of `taps` weights each
    taps: int
    bands: int  # of an image
    shares: int  # of the panels of output channels
    padded_bytes: int
    narrow_bytes: int
    band_bytes: int
    part_bytes: int  # of all a thread's scratch


class Memory(NamedTuple):
    """Addresses of what the kernels work on."""

    tiles: int  # the machine code of `depthwise_rows`
    x: int
    depthwise: int
    offsets: int
    none: int
    pointwise: int
    start: int
    y: int
    scratch: int


_ROWS = types.void(*[types.int64] * 9)


@cache
def depthwise_rows(taps: int, stride: int, count: int) -> Entry:
    """Output rows of a block of channels, `count` columns at a time, as machine code."""

    def rows_of_block(
        x: int, x_row: int, offsets: int, lines: int, weights: int,
        start: int, y: int, rows: int, columns: int,
    ) -> None:  # fmt: skip
        for row in range(rows):
            run(
                x + row * x_row, VECTOR_BYTES, offsets, lines, weights, start,
                y + row * columns * VECTOR_BYTES, VECTOR_BYTES, columns,
                taps, stride, count, False,
            )  # fmt: skip

    return Entry(_ROWS, rows_of_block)


@intrinsic
def _depthwise_rows(
    typing: Any, entry: Any, x: Any, x_row: Any, offsets: Any, lines: Any, weights: Any,
    start: Any, y: Any, rows: Any, columns: Any,
) -> Any:  # fmt: skip
    """Start the machine code at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = [argument.type for argument in args[1:]]
        kind = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), generate


@inlined
def _clear(block: int, pixels: int) -> None:
    for pixel in range(pixels):
        store(block + pixel * VECTOR_BYTES, zeros())


@inlined
def _clear_padding(p: Plan, top: int, rows: int, padded: int) -> None:
    """Zeros wherever `rows` of the input, from row `top` on, lie outside of the image."""
    left = min(p.left, p.padded_width)
    right = min(p.left + p.width, p.padded_width)
    for row in range(rows):
        at = padded + row * p.padded_width * VECTOR_BYTES
        if 0 <= top + row < p.height:
            _clear(at, left)
            _clear(at + right * VECTOR_BYTES, p.padded_width - right)
        else:
            _clear(at, p.padded_width)


@inlined
def _fill(p: Plan, x: int, channel: int, top: int, rows: int, padded: int, narrow: int) -> None:
    """A block of channels of `rows` input rows, from row `top` on, between their padding."""
    some, row_bytes = min(LANES, p.channels - channel), p.padded_width * VECTOR_BYTES
    first, last = max(0, -top), min(rows, p.height - top)
    columns = min(p.left + p.width, p.padded_width) - p.left
    if first >= last or columns <= 0:
        return
    inner = padded + first * row_bytes + p.left * VECTOR_BYTES
    pixel = (top + first) * p.width
    if not p.planes:
        step = p.channels * FLOAT_BYTES
        source = x + pixel * step + channel * FLOAT_BYTES
        for row in range(last - first):
            row_x = source + row * p.width * step
            block_from_rows(row_x, step, some, columns, inner + row * row_bytes)
        return
    plane = p.height * p.width * FLOAT_BYTES
    source = x + channel * plane + pixel * FLOAT_BYTES
    if p.width >= LANES:
        for row in range(last - first):
            row_x = source + row * p.width * FLOAT_BYTES
            block_from_planes(row_x, plane, some, columns, inner + row * row_bytes)
        return
    # Rows shorter than a vector are transposed together, for they are neighbours.
    block_from_planes(source, plane, some, (last - first) * p.width, narrow)
    for row in range(last - first):
        row_x = narrow + row * p.width * VECTOR_BYTES
        block_from_rows(row_x, VECTOR_BYTES, LANES, columns, inner + row * row_bytes)


@inlined
def _depthwise_band(
    p: Plan, m: Memory, x: int, first: int, rows: int, padded: int, narrow: int, band: int
) -> None:
    """Output rows of all channels of an image as `[C_in / LANES][pixel][LANES]`."""
    top = first * p.stride - p.top
    needed = (rows - 1) * p.stride + p.reach
    row_step = p.stride * p.padded_width * VECTOR_BYTES
    _clear_padding(p, top, needed, padded)
    for channel in range(0, p.channels, LANES):
        _fill(p, x, channel, top, needed, padded, narrow)
        weights = m.depthwise + channel * p.lines * p.taps * FLOAT_BYTES
        _depthwise_rows(
            m.tiles, padded, row_step, m.offsets, p.lines, weights, m.none,
            band + channel * rows * p.out_width * FLOAT_BYTES, rows, p.out_width,
        )  # fmt: skip


@inlined
def _do_part(p: Plan, m: Memory, part: int, parts: int) -> None:
    """A thread's share of all bands of all images, times its shares of panels."""
    units = p.images * p.bands * p.shares
    count = (p.out_channels + PANEL - 1) // PANEL
    padded = m.scratch + part * p.part_bytes
    narrow = padded + p.padded_bytes
    band = narrow + p.narrow_bytes
    tile = band + p.band_bytes
    out_pixels = p.out_height * p.out_width
    pixel_step = FLOAT_BYTES if p.planes else p.out_channels * FLOAT_BYTES
    y_step = out_pixels * FLOAT_BYTES if p.planes else pixel_step
    for unit in range(part * units // parts, (part + 1) * units // parts):
        share, index = unit % p.shares, unit // p.shares
        image, index = index // p.bands, index % p.bands
        first = index * p.out_height // p.bands
        rows = (index + 1) * p.out_height // p.bands - first
        x = m.x + image * p.channels * p.height * p.width * FLOAT_BYTES
        _depthwise_band(p, m, x, first, rows, padded, narrow, band)
        y = m.y + image * p.out_channels * out_pixels * FLOAT_BYTES
        pixels = rows * p.out_width
        panels(
            band, VECTOR_BYTES, pixels * VECTOR_BYTES, pixels, p.channels, m.pointwise, m.start,
            share * count // p.shares, (share + 1) * count // p.shares, p.out_channels, tile,
            y + first * p.out_width * pixel_step, y_step, p.planes,
        )  # fmt: skip


@kernel
def convolve_alone(p: Plan, m: Memory) -> None:
    """All of the problem, by one thread."""
    _do_part(p, m, 0, 1)


@parallel_kernel
def convolve(p: Plan, m: Memory, parts: int) -> None:
    """All of the problem, spread over threads."""
    for part in prange(parts):
        _do_part(p, m, part, parts)
