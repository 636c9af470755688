"""Depthwise convolution of contiguous tensors in blocks: lanes are channels, after a transpose.

For small images two transposes are cheaper than lanes of pixels: rows do not fill a vector, and
kernel rows outside the image cost nothing if lanes are channels.
"""

from functools import cache
from typing import Any

import numba

from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.depthwise_rows import kernel_rows_inside
from convsweep.backends.kernels.depthwise_tile import OFFSET_BYTES, run_apart
from convsweep.backends.kernels.depthwise_work import WORKER
from convsweep.backends.kernels.layouts import (
    block_from_planes,
    clear_vectors,
    clip_vectors,
    planes_from_rows,
)
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES, transpose


@inlined
def _block_row(source: int, plane_step: int, width: int, end: int, target: int) -> None:
    """Copy a row of `LANES` planes to `[pixel][LANES]`, and write up to one block beyond it.

    Nothing from `end` on is read.
    """
    if width < LANES and source + (LANES - 1) * plane_step + VECTOR_BYTES <= end:
        transpose(source, plane_step, target, VECTOR_BYTES)
    else:
        block_from_planes(source, plane_step, LANES, width, target)


@cache
def blocks_worker(taps: int, stride: int, count: int, step: int) -> Entry:
    """Return the worker for contiguous tensors of at least `LANES` channels; see `rows_worker`."""
    x_step = step * VECTOR_BYTES
    gap = step if taps > 1 else 1  # between the outputs of a tile

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        channels, width, height, left = p.channels, p.width, p.height, p.left
        out_height, out_width, bands = p.out_height, p.out_width, p.bands
        row_step, plane_step = p.pitch * VECTOR_BYTES, height * width * FLOAT_BYTES
        out_step = out_height * out_width * FLOAT_BYTES
        end = x + p.images * channels * plane_step
        vectors = (channels + LANES - 1) // LANES
        lines = p.lines // p.kernel_h  # per kernel row
        padded = scratch + part * p.scratch_bytes
        tile = padded + p.band_bytes
        units = p.images * vectors * bands
        for unit in range(part * units // parts, (part + 1) * units // parts):
            image, vector, band = unit // bands // vectors, unit // bands % vectors, unit % bands
            channel = min(vector * LANES, channels - LANES)
            plane = image * channels + channel
            first, last = band * out_height // bands, (band + 1) * out_height // bands
            top = first * p.stride_h - p.top
            reach = (last - first - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h + 1
            for row in range(max(0, top), min(height, top + reach)):
                target = padded + (row - top) * row_step
                source = x + plane * plane_step + row * width * FLOAT_BYTES
                clear_vectors(target, left)
                _block_row(source, plane_step, width, end, target + left * VECTOR_BYTES)
                right = left + width
                clear_vectors(target + right * VECTOR_BYTES, p.needed - right)
            for row in range(first, last):
                i = row * p.stride_h - p.top
                above, below = kernel_rows_inside(i, height, p.kernel_h, p.dilation_h)
                run_apart(
                    gap, VECTOR_BYTES, padded + (i - top) * row_step, x_step,
                    p.offsets + above * lines * OFFSET_BYTES, (below - above) * lines,
                    p.weights + vector * p.weights_step + above * lines * taps * VECTOR_BYTES,
                    0, p.start + channel * FLOAT_BYTES,
                    tile + (row - first) * out_width * VECTOR_BYTES, VECTOR_BYTES,
                    out_width, 1, 0, taps, stride, count, False,
                )  # fmt: skip
            target = y + plane * out_step + first * out_width * FLOAT_BYTES
            pixels = (last - first) * out_width
            if p.relu:
                clip_vectors(tile, VECTOR_BYTES, pixels, p.relu)
            planes_from_rows(tile, VECTOR_BYTES, LANES, pixels, target, out_step)

    return Entry(WORKER, work)
