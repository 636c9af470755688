"""Kernels of the fused depthwise and 1x1 convolution, band by band.

The input rows of a band are copied per block of channels, with padding, to `[row][column][LANES]`.
The depthwise output `[C_in / LANES][pixel][LANES]` is the input of the matrix product. Arguments
are raw addresses; steps are in bytes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from numba import prange, types

from convsweep.backends.kernels.compiling import Entry, inlined, kernel, parallel_kernel
from convsweep.backends.kernels.depthwise_tile import run
from convsweep.backends.kernels.layouts import block_from_planes, block_from_rows, clear_vectors
from convsweep.backends.kernels.pointwise import panels
from convsweep.backends.kernels.products import PANEL
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    call_address,
    intrinsic,
)


class SeparablePlan(NamedTuple):
    """Sizes of a 2-D problem, and its division into bands."""

    planes: int  # 1: contiguous; 0: channels_last
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
    part_bytes: int  # scratch per thread


class SeparableMemory(NamedTuple):
    """Addresses of machine code, tensors and scratch."""

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
    """Return code that computes output rows of a block of channels, `count` columns at a time."""

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
    """Call `depthwise_rows` at an address."""
    return types.void(*[types.int64] * 10), call_address


@inlined
def _clear_padding(p: SeparablePlan, top: int, rows: int, padded: int) -> None:
    """Write zeros where `rows` input rows from row `top` on are outside the image."""
    left = min(p.left, p.padded_width)
    right = min(p.left + p.width, p.padded_width)
    for row in range(rows):
        at = padded + row * p.padded_width * VECTOR_BYTES
        if 0 <= top + row < p.height:
            clear_vectors(at, left)
            clear_vectors(at + right * VECTOR_BYTES, p.padded_width - right)
        else:
            clear_vectors(at, p.padded_width)


@inlined
def _fill(
    p: SeparablePlan, x: int, channel: int, top: int, rows: int, padded: int, narrow: int
) -> None:
    """Copy a block of channels of `rows` input rows from row `top` on, inside the padding."""
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
    # Rows shorter than a vector are transposed together, since they are contiguous.
    block_from_planes(source, plane, some, (last - first) * p.width, narrow)
    for row in range(last - first):
        row_x = narrow + row * p.width * VECTOR_BYTES
        block_from_rows(row_x, VECTOR_BYTES, LANES, columns, inner + row * row_bytes)


@inlined
def _depthwise_band(
    p: SeparablePlan,
    m: SeparableMemory,
    x: int,
    first: int,
    rows: int,
    padded: int,
    narrow: int,
    band: int,
) -> None:
    """Compute depthwise output rows of all channels as `[C_in / LANES][pixel][LANES]`."""
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
def _do_part(p: SeparablePlan, m: SeparableMemory, part: int, parts: int) -> None:
    """Compute one part of all bands, images and shares of panels."""
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
def convolve_alone(p: SeparablePlan, m: SeparableMemory) -> None:
    """Compute the problem on one thread."""
    _do_part(p, m, 0, 1)


@parallel_kernel
def convolve(p: SeparablePlan, m: SeparableMemory, parts: int) -> None:
    """Compute the problem on several threads."""
    for part in prange(parts):
        _do_part(p, m, part, parts)
