"""Direct convolution as matrix products on the input itself, without im2col.

In rows of pixels with all channels, the inputs of one kernel row are contiguous: kernel_width *
C_in floats. Those of the next output start stride * C_in floats later. Output pixels are rows of
matrix products that read a band of padded input rows, once per kernel row
(Anderson et al. 2017, Low-memory GEMM-based convolution algorithms; Georganas et al. 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange, set_num_threads
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import inlined, kernel, parallel_kernel, threads
from convsweep.backends.kernels.layouts import (
    as_planes_or_rows,
    empty_output,
    planes_from_rows,
    rows_from_rows,
)
from convsweep.backends.kernels.pointwise import PANEL_BYTES, packed_panels, packed_start
from convsweep.backends.kernels.products import PANEL, products
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    store,
    store_float,
    zeros,
)
from convsweep.problems.problem import ConvProblem

BAND_BYTES = 2**18  # of a band's input rows: half of a typical second cache
LINE_BYTES = 64


class DirectPlan(NamedTuple):
    """Sizes of a 2-D problem, and its division into bands."""

    planes: int  # 1: contiguous; 0: channels_last
    images: int
    channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel_height: int
    stride_y: int
    stride_x: int
    top: int  # rows of padding
    left: int  # columns of padding
    dilation_y: int
    dilation_x: int
    runs: int  # of neighbouring taps per kernel row: 1, or with dilation one per tap
    depth: int  # per run: its taps times channels
    padded_width: int  # columns that all output columns need
    bands: int  # of output rows of an image
    shares: int  # of the panels of output channels
    padded_bytes: int
    part_bytes: int  # scratch per thread


class DirectMemory(NamedTuple):
    """Addresses of tensors and scratch."""

    x: int
    weights: int
    start: int
    y: int
    scratch: int


@inlined
def _clear(address: int, floats: int) -> None:
    whole = floats // LANES * LANES
    for i in range(0, whole, LANES):
        store(address + i * FLOAT_BYTES, zeros())
    for i in range(whole, floats):
        store_float(address + i * FLOAT_BYTES, np.float32(0))


@inlined
def _fill(p: DirectPlan, x: int, top: int, rows: int, padded: int) -> None:
    """Copy `rows` input rows from row `top` on to `[row][column][C_in]`, with padding."""
    pixel_bytes = p.channels * FLOAT_BYTES
    left = min(p.left, p.padded_width)
    right = min(p.left + p.width, p.padded_width)
    for row in range(rows):
        at = padded + row * p.padded_width * pixel_bytes
        if top + row < 0 or top + row >= p.height:
            _clear(at, p.padded_width * p.channels)
            continue
        _clear(at, left * p.channels)
        _clear(at + right * pixel_bytes, (p.padded_width - right) * p.channels)
        inner, first = at + left * pixel_bytes, (top + row) * p.width
        if p.planes:  # transposed
            planes, step = x + first * FLOAT_BYTES, p.height * p.width * FLOAT_BYTES
            planes_from_rows(planes, step, right - left, p.channels, inner, pixel_bytes)
        else:
            floats = (right - left) * p.channels
            rows_from_rows(x + first * pixel_bytes, 0, floats, 1, inner, 0)


@inlined
def _multiply(
    p: DirectPlan, m: DirectMemory, padded: int, rows: int, panel: int, tile: int
) -> None:
    """Compute a panel of the output for a band of output rows, as `[pixel][PANEL]`."""
    channel = max(0, min(panel * PANEL, p.out_channels - PANEL))
    b = m.weights + panel * p.kernel_height * p.runs * p.depth * PANEL_BYTES
    pixel_bytes = p.channels * FLOAT_BYTES
    for line in range(p.kernel_height):
        for tap in range(p.runs):
            first = line == 0 and tap == 0
            for row in range(rows):
                pixel = (row * p.stride_y + line * p.dilation_y) * p.padded_width
                out = tile + row * p.out_width * PANEL_BYTES
                products(
                    padded + (pixel + tap * p.dilation_x) * pixel_bytes,
                    p.stride_x * pixel_bytes, VECTOR_BYTES, p.out_width, b, PANEL_BYTES, p.depth,
                    m.start + channel * FLOAT_BYTES if first else out,
                    0 if first else PANEL_BYTES, VECTOR_BYTES, out, PANEL_BYTES, VECTOR_BYTES,
                )  # fmt: skip
            b += p.depth * PANEL_BYTES


@inlined
def _do_part(p: DirectPlan, m: DirectMemory, part: int, parts: int) -> None:
    """Compute one part of all bands, images and shares of panels."""
    units = p.images * p.bands * p.shares
    count = (p.out_channels + PANEL - 1) // PANEL
    padded = m.scratch + part * p.part_bytes
    tile = padded + p.padded_bytes
    out_pixels = p.out_height * p.out_width
    some = min(PANEL, p.out_channels)
    for unit in range(part * units // parts, (part + 1) * units // parts):
        share, index = unit % p.shares, unit // p.shares
        image, index = index // p.bands, index % p.bands
        first, last = index * p.out_height // p.bands, (index + 1) * p.out_height // p.bands
        rows, pixels = last - first, (last - first) * p.out_width
        x = m.x + image * p.channels * p.height * p.width * FLOAT_BYTES
        y = m.y + image * p.out_channels * out_pixels * FLOAT_BYTES
        above = first * p.stride_y - p.top
        reach = (p.kernel_height - 1) * p.dilation_y + 1
        _fill(p, x, above, (rows - 1) * p.stride_y + reach, padded)
        for panel in range(share * count // p.shares, (share + 1) * count // p.shares):
            _multiply(p, m, padded, rows, panel, tile)
            channel, pixel = max(0, min(panel * PANEL, p.out_channels - PANEL)), first * p.out_width
            if p.planes:
                target = y + (channel * out_pixels + pixel) * FLOAT_BYTES
                planes_from_rows(tile, PANEL_BYTES, some, pixels, target, out_pixels * FLOAT_BYTES)
            else:
                target = y + (pixel * p.out_channels + channel) * FLOAT_BYTES
                step = p.out_channels * FLOAT_BYTES
                rows_from_rows(tile, PANEL_BYTES, some, pixels, target, step)


@kernel
def _convolve_alone(p: DirectPlan, m: DirectMemory) -> None:
    """Compute the problem on one thread."""
    _do_part(p, m, 0, 1)


@parallel_kernel
def _convolve(p: DirectPlan, m: DirectMemory, parts: int) -> None:
    """Compute the problem on several threads."""
    for part in prange(parts):
        _do_part(p, m, part, parts)


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Pack the weights in panels of 16 output channels, for torch's threads."""
    parts = threads()
    plan = _planned(problem, parts)
    panels = packed_panels(weights.dense.permute(0, 2, 3, 1).flatten(1))  # (C_out, taps * C_in)
    start = packed_start(weights.bias, problem.out_channels)

    def conv(x: Tensor) -> Tensor:
        x, planes = as_planes_or_rows(x, problem.input_shape)
        y = empty_output(problem.output_shape, planes)
        scratch = buffers.scratch("direct", parts * plan.part_bytes // FLOAT_BYTES)
        memory = DirectMemory(*(tensor.data_ptr() for tensor in (x, panels, start, y, scratch)))
        if parts == 1:
            _convolve_alone(plan._replace(planes=int(planes)), memory)
        else:
            set_num_threads(parts)
            _convolve(plan._replace(planes=int(planes)), memory, parts)
        return y

    return conv


def _planned(problem: ConvProblem, parts: int) -> DirectPlan:
    """Divide the problem into bands that fit into the cache and occupy all threads."""
    (height, width), (out_height, out_width) = problem.input_size, problem.output_size
    (kernel_height, kernel_width), (stride_y, stride_x) = problem.kernel_size, problem.stride
    dilation_y, dilation_x = problem.dilation
    padded_width = (out_width - 1) * stride_x + (kernel_width - 1) * dilation_x + 1
    row_bytes = FLOAT_BYTES * problem.in_channels * padded_width
    reach = (kernel_height - 1) * dilation_y + 1
    bands = -(-out_height // max(1, (BAND_BYTES // row_bytes - reach) // stride_y + 1))
    if problem.batch_size * bands % parts:
        bands = min(out_height, -(-bands // parts) * parts)
    rows = -(-out_height // bands)
    padded = ((rows - 1) * stride_y + reach) * row_bytes
    tile = rows * out_width * PANEL_BYTES
    padded, tile = (-(-size // LINE_BYTES) * LINE_BYTES for size in (padded, tile))
    runs = 1 if dilation_x == 1 else kernel_width
    return DirectPlan(
        planes=1,
        images=problem.batch_size,
        channels=problem.in_channels,
        height=height,
        width=width,
        out_channels=problem.out_channels,
        out_height=out_height,
        out_width=out_width,
        kernel_height=kernel_height,
        stride_y=stride_y,
        stride_x=stride_x,
        top=problem.padding[0],
        left=problem.padding[1],
        dilation_y=dilation_y,
        dilation_x=dilation_x,
        runs=runs,
        depth=kernel_width // runs * problem.in_channels,
        padded_width=padded_width,
        bands=bands,
        shares=1 if problem.batch_size * bands >= parts else parts,
        padded_bytes=padded,
        part_bytes=padded + tile,
    )
