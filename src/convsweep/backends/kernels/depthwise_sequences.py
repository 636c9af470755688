"""Depthwise convolution along contiguous rows, such as sequences: lanes are positions of a row.

The kernel is one row high, so that rows are independent. Inputs are read in place. Only the tiles
at both ends of a row, which need padding, are copied.
"""

from functools import cache
from typing import Any

import numba

from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.depthwise_tile import tile
from convsweep.backends.kernels.depthwise_work import WORKER, finish
from convsweep.backends.kernels.layouts import clear_vectors, copy_floats
from convsweep.backends.kernels.streaming import fence
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES


@inlined
def _padded(row: int, width: int, first: int, length: int, target: int) -> None:
    """Copy `length` positions of a row from `first` on, with zeros outside the row."""
    clear_vectors(target, (length + LANES - 1) // LANES)
    start, end = max(first, 0), min(first + length, width)
    if start < end:
        inside = target + (start - first) * FLOAT_BYTES
        copy_floats(row + start * FLOAT_BYTES, inside, end - start)


@cache
def sequences_worker(count: int) -> Entry:
    """Return the worker for contiguous rows at stride 1: `count` vectors of outputs per tile."""
    outputs = count * LANES

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        width, out_width, bands = p.width, p.out_width, p.bands
        length = p.needed - out_width + outputs  # inputs of a tile
        padded = scratch + part * p.scratch_bytes
        piece = padded + p.band_bytes
        units = p.images * p.channels * p.height * bands
        for unit in range(part * units // parts, (part + 1) * units // parts):
            row, band = unit // bands, unit % bands
            channel = row // p.height % p.channels
            row_x, row_y = x + row * width * FLOAT_BYTES, y + row * out_width * FLOAT_BYTES
            first, last = band * out_width // bands, (band + 1) * out_width // bands
            target = piece if p.streamed else row_y + first * FLOAT_BYTES
            for start in range(first, last, outputs):
                column = min(start, last - outputs)
                begin = column - p.left
                source = row_x + begin * FLOAT_BYTES
                if begin < 0 or begin + length > width:
                    _padded(row_x, width, begin, length, padded)
                    source = padded
                tile(
                    source, VECTOR_BYTES, p.offsets, p.lines,
                    p.weights + channel * p.weights_step, p.start + channel * FLOAT_BYTES,
                    target + (column - first) * FLOAT_BYTES, VECTOR_BYTES,
                    1, 1, count, True, False, False, 0, 0,
                )  # fmt: skip
            finish(p, piece, row_y + first * FLOAT_BYTES, last - first)
        if p.streamed:
            fence()

    return Entry(WORKER, work)
