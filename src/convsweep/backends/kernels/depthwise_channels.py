"""Depthwise convolution whose lanes are channels of a pixel, copied band by band with padding.

Of channels_last tensors a block of channels is copied, pixels 64 bytes apart. In the tensor the
distance is the number of channels, often a power of two, for which caches have few lines.
Contiguous tensors are transposed to blocks and back. For small images that is cheaper than lanes of
pixels: rows do not fill a vector, and kernel rows outside the image cost nothing.
"""

from functools import cache
from typing import Any

import numba

from convsweep.backends.kernels import layouts
from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.depthwise_tile import OFFSET_BYTES, run_apart
from convsweep.backends.kernels.depthwise_work import WORKER
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES, transpose

PIXEL_BYTES = 64  # bytes per pixel of a block: a line of memory
PIXEL_VECTORS = PIXEL_BYTES // VECTOR_BYTES


@inlined
def kernel_rows_inside(first: int, height: int, kernel: int, dilation: int) -> tuple[int, int]:
    """Return the range of kernel rows inside the image, if the first one is at row `first`."""
    if first >= 0 and first + (kernel - 1) * dilation < height:
        return 0, kernel
    above = min(kernel, max(0, -first + dilation - 1) // dilation)
    below = min(kernel, max(0, height - first + dilation - 1) // dilation)
    return above, max(above, below)


@inlined
def _finish(p: Any, tile: int, y: int, vectors: int, last_bytes: int) -> None:
    """Compute ReLU of some vectors of a row, and copy less than one vector from the tile."""
    pixel_step = p.channels * FLOAT_BYTES
    partial = p.channels < LANES
    if p.relu:
        for vector in range(vectors):
            out = tile if partial else y + min(vector * VECTOR_BYTES, last_bytes)
            between = VECTOR_BYTES if partial else pixel_step
            layouts.clip_vectors(out, between, p.out_width, p.relu)
    if partial:
        layouts.rows_from_rows(tile, VECTOR_BYTES, p.channels, p.out_width, y, pixel_step)


@cache
def rows_worker(taps: int, stride: int, count: int, step: int) -> Entry:
    """Return the worker for channels_last tensors: `taps` per kernel row, `count` output columns.

    Its lines are the rows of the kernel, or all its taps if `taps` is 1. Tiles read pixels that
    are `step` apart.
    """
    x_step = step * PIXEL_BYTES
    gap = step if taps > 1 else 1  # between the outputs of a tile

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        channels, width, height, out_width = p.channels, p.width, p.height, p.out_width
        bands, left = p.bands, p.left
        row_step, pixel_step = p.pitch * PIXEL_BYTES, channels * FLOAT_BYTES
        vectors = (channels + LANES - 1) // LANES
        partial = channels < LANES
        blocks = (vectors + PIXEL_VECTORS - 1) // PIXEL_VECTORS
        lines = p.lines // p.kernel_h  # per kernel row
        padded = scratch + part * p.scratch_bytes
        tile = padded + p.band_bytes
        units = p.images * blocks * bands
        for unit in range(part * units // parts, (part + 1) * units // parts):
            image, block, band = unit // bands // blocks, unit // bands % blocks, unit % bands
            some = min(PIXEL_VECTORS, vectors - block * PIXEL_VECTORS)
            first, last = band * p.out_height // bands, (band + 1) * p.out_height // bands
            channel = max(0, min(block * PIXEL_VECTORS * LANES, channels - LANES))
            last_bytes = max(0, channels - LANES - channel) * FLOAT_BYTES
            weights = p.weights + block * PIXEL_VECTORS * p.weights_step
            top = first * p.stride_h - p.top
            reach = (last - first - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h + 1
            for row in range(max(0, top), min(height, top + reach)):
                target = padded + (row - top) * row_step
                layouts.clear_vectors(target, left * PIXEL_VECTORS)
                source = x + (image * height + row) * width * pixel_step
                for half in range(some):
                    at = channel * FLOAT_BYTES + min(half * VECTOR_BYTES, last_bytes)
                    layouts.rows_from_rows(
                        source + at, pixel_step, min(channels, LANES), width,
                        target + left * PIXEL_BYTES + half * VECTOR_BYTES, PIXEL_BYTES,
                    )  # fmt: skip
                right = left + width
                layouts.clear_vectors(
                    target + right * PIXEL_BYTES, (p.needed - right) * PIXEL_VECTORS
                )
            for row in range(first, last):
                i = row * p.stride_h - p.top
                above, below = kernel_rows_inside(i, height, p.kernel_h, p.dilation_h)
                target = y + (image * p.out_height + row) * out_width * pixel_step
                target += channel * FLOAT_BYTES
                run_apart(
                    gap, PIXEL_BYTES, padded + (i - top) * row_step, x_step,
                    p.offsets + above * lines * OFFSET_BYTES, (below - above) * lines,
                    weights + above * lines * taps * VECTOR_BYTES, p.weights_step,
                    p.start + channel * FLOAT_BYTES,
                    tile if partial else target, VECTOR_BYTES if partial else pixel_step,
                    out_width, some, last_bytes, taps, stride, count, False,
                )  # fmt: skip
                _finish(p, tile, target, some, last_bytes)

    return Entry(WORKER, work)


@inlined
def _block_row(source: int, plane_step: int, width: int, end: int, target: int) -> None:
    """Copy a row of `LANES` planes to `[pixel][LANES]`, and write up to one block beyond it.

    Nothing from `end` on is read.
    """
    if width < LANES and source + (LANES - 1) * plane_step + VECTOR_BYTES <= end:
        transpose(source, plane_step, target, VECTOR_BYTES)
    else:
        layouts.block_from_planes(source, plane_step, LANES, width, target)


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
                layouts.clear_vectors(target, left)
                _block_row(source, plane_step, width, end, target + left * VECTOR_BYTES)
                right = left + width
                layouts.clear_vectors(target + right * VECTOR_BYTES, p.needed - right)
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
                layouts.clip_vectors(tile, VECTOR_BYTES, pixels, p.relu)
            layouts.planes_from_rows(tile, VECTOR_BYTES, LANES, pixels, target, out_step)

    return Entry(WORKER, work)
