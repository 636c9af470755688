"""Depthwise convolution of channels_last tensors in place: lanes are channels of a pixel.

All channels of a tile of outputs are computed before the next tile, so that memory is read and
written in its order. Nothing is copied or padded: windows that reach outside have fewer taps.
"""

from functools import cache
from typing import Any

import numba
from numba import types

from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.depthwise_channels import kernel_rows_inside
from convsweep.backends.kernels.depthwise_tile import OFFSET_BYTES, tile
from convsweep.backends.kernels.depthwise_work import WORKER, DepthwisePlan, finish
from convsweep.backends.kernels.launch import plan_pointer
from convsweep.backends.kernels.streaming import fence, prefetch
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, LINE_BYTES, VECTOR_BYTES


@inlined
def _edge(p: Any, x: int, column: int, above: int, below: int, y: int) -> None:
    """Compute the output of one column, whose window may reach outside the image.

    `x` is the address of column 0 in the first row of the window, `y` that of output column 0.
    """
    y += column * p.channels * FLOAT_BYTES
    pixel_step, row_step = p.channels * FLOAT_BYTES, p.width * p.channels * FLOAT_BYTES
    begin = column * p.stride_w - p.left
    first, last = kernel_rows_inside(begin, p.width, p.kernel_w, p.dilation_w)
    offsets = p.offsets + (p.lines + first) * OFFSET_BYTES  # of the columns of a kernel row
    for vector in range((p.channels + LANES - 1) // LANES):
        channel = min(vector * LANES, p.channels - LANES) * FLOAT_BYTES
        weights = p.weights + vector * p.weights_step + first * VECTOR_BYTES
        start = p.start + channel
        for row in range(above, max(below, above + 1)):
            tile(
                x + row * p.dilation_h * row_step + begin * pixel_step + channel, 0,
                offsets, last - first if row < below else 0,
                weights + row * p.kernel_w * VECTOR_BYTES, start, y + channel, 0,
                1, 1, 1, False, False, False, 0, 0,
            )  # fmt: skip
            start = y + channel


@inlined
def _prefetch_below(p: Any, x: int, first: int, last: int) -> None:
    """Prefetch bytes of the input rows that the next output row adds to those of a window at `x`.

    Each vector of channels prefetches a part: more lines at once than the processor keeps track of
    would stop it.
    """
    row_step = p.width * p.channels * FLOAT_BYTES
    below = x + ((p.kernel_h - 1) * p.dilation_h + 1) * row_step
    for row in range(p.stride_h):
        for offset in range(first, last, LINE_BYTES):
            prefetch(below + row * row_step + offset)


@inlined
def _inside(
    p: Any, x: int, first: int, last: int, above: int, below: int, y: int, y_step: int,
    y_spread: int, taps: int, stride: int, count: int, step: int, gap: int, before: int,
    behind: int,
) -> None:  # fmt: skip
    """Compute columns `first` to `last`, none or at least `count * gap`, as `_edge`.

    Of a row's first tile, the first `before` inputs are padding, and the last `behind` of the last.
    Outputs are `y_step` bytes apart, their vectors of channels `y_spread` vectors.
    """
    pixel_step, vectors = p.channels * FLOAT_BYTES, (p.channels + LANES - 1) // LANES
    share = count * p.stride_w * pixel_step // vectors  # of the inputs of a tile, per row
    lines = p.lines // p.kernel_h  # per kernel row
    offsets, some = p.offsets + above * lines * OFFSET_BYTES, (below - above) * lines
    weights = p.weights + above * lines * taps * VECTOR_BYTES
    for residue in range(gap):
        length = (last - first - residue + gap - 1) // gap
        for place in range(0, length, count):
            column = first + residue + min(place, length - count) * gap
            tile_x = x + (column * p.stride_w - p.left) * pixel_step
            tile_y = y + column * y_step
            at_left = column < gap
            at_right = column + count * gap >= p.out_width
            for vector in range(vectors):
                if p.streamed:
                    _prefetch_below(p, tile_x, vector * share, (vector + 1) * share)
                channel = min(vector * LANES, p.channels - LANES) * FLOAT_BYTES
                tile(
                    tile_x + channel, step * pixel_step, offsets, some,
                    weights + vector * p.weights_step, p.start + channel,
                    tile_y + channel * y_spread, gap * y_step,
                    numba.literally(taps), numba.literally(stride), numba.literally(count),
                    numba.literally(False), at_left, at_right,
                    numba.literally(before), numba.literally(behind),
                )  # fmt: skip


@cache
def pixels_worker(
    taps: int, stride: int, count: int, step: int, before: int = 0, behind: int = 0
) -> Entry:
    """Return the worker for at least `LANES` channels; see `rows_worker` and `_inside`."""
    gap = step if taps > 1 else 1  # between the outputs of a tile

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        width, out_width, bands = p.width, p.out_width, p.bands
        pixel_step = p.channels * FLOAT_BYTES
        piece = scratch + part * p.scratch_bytes
        units = p.images * p.out_height * bands
        for unit in range(part * units // parts, (part + 1) * units // parts):
            line, band = unit // bands, unit % bands
            image, row = line // p.out_height, line % p.out_height
            first, last = band * out_width // bands, (band + 1) * out_width // bands
            i = row * p.stride_h - p.top
            above, below = kernel_rows_inside(i, p.height, p.kernel_h, p.dilation_h)
            row_x = x + (image * p.height + i) * width * pixel_step
            row_y = y + (line * out_width + first) * pixel_step
            target = (piece if p.streamed else row_y) - first * pixel_step
            begin = max(first, min(p.inside_first, last))
            end = max(begin, min(p.inside_last, last))
            if end - begin < count * gap:
                end = begin
            for column in range(first, begin):
                _edge(p, row_x, column, above, below, target)
            _inside(
                p, row_x, begin, end, above, below, target, pixel_step, 1,
                taps, stride, count, step, gap, before, behind,
            )  # fmt: skip
            for column in range(end, last):
                _edge(p, row_x, column, above, below, target)
            finish(p, piece, row_y, (last - first) * p.channels)
        if p.streamed:
            fence()

    return Entry(WORKER, work)


@cache
def pixels_band(taps: int, stride: int, count: int, step: int, before: int, behind: int) -> Entry:
    """Return code for output rows of an image as `[C / LANES][pixel][LANES]`, without edges.

    C is a multiple of `LANES`. Arguments: the plan, the image, the first row, their number and y.
    """
    gap = step if taps > 1 else 1

    def rows_of_band(plan: Any, x: int, first: int, rows: int, y: int) -> None:
        p = numba.carray(plan, 1)[0]
        row_bytes = p.width * p.channels * FLOAT_BYTES
        for row in range(rows):
            i = (first + row) * p.stride_h - p.top
            above, below = kernel_rows_inside(i, p.height, p.kernel_h, p.dilation_h)
            _inside(
                p, x + i * row_bytes, 0, p.out_width, above, below,
                y + row * p.out_width * VECTOR_BYTES, VECTOR_BYTES, rows * p.out_width,
                taps, stride, count, step, gap, before, behind,
            )  # fmt: skip

    return Entry(types.void(plan_pointer(DepthwisePlan), *[types.int64] * 4), rows_of_band)
