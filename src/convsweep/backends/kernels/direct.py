"""Direct convolution as matrix products on the input itself, without im2col.

In rows of pixels with all channels, the inputs of one kernel row are contiguous: kernel_width *
C_in floats. Those of the next output start stride * C_in floats later. Output pixels are rows of
matrix products that read a band of padded input rows, once per kernel row
(Anderson et al. 2017, Low-memory GEMM-based convolution algorithms; Georganas et al. 2018).
"""

from typing import Any

import numpy as np
from numba import carray

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import layouts
from convsweep.backends.kernels.bands import BandPlan, convolution, divided, sizes
from convsweep.backends.kernels.compiling import Entry, inlined, threads
from convsweep.backends.kernels.launch import worker_with
from convsweep.backends.kernels.pointwise import packed_panels, packed_start
from convsweep.backends.kernels.products import PANEL, PANEL_BYTES, panel_place, products
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    store,
    store_float,
    zeros,
)
from convsweep.backends.kernels.working_sets import working_sets
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine


@inlined
def _clear(address: int, floats: int) -> None:
    whole = floats // LANES * LANES
    for i in range(0, whole, LANES):
        store(address + i * FLOAT_BYTES, zeros())
    for i in range(whole, floats):
        store_float(address + i * FLOAT_BYTES, np.float32(0))


@inlined
def _fill(p: Any, x: int, top: int, rows: int, padded: int) -> None:
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
            layouts.planes_from_rows(planes, step, right - left, p.channels, inner, pixel_bytes)
        else:
            layouts.copy_floats(x + first * pixel_bytes, inner, (right - left) * p.channels)


@inlined
def _multiply(p: Any, padded: int, rows: int, panel: int, tile: int) -> None:
    """Compute a panel of the output for a band of output rows, as `[pixel][PANEL]`."""
    channel, vectors = panel_place(panel, p.out_channels)
    depth = p.taps * p.channels
    b = p.weights + panel * p.kernel_height * p.runs * depth * PANEL_BYTES
    pixel_bytes = p.channels * FLOAT_BYTES
    for line in range(p.kernel_height):
        for tap in range(p.runs):
            first = line == 0 and tap == 0
            for row in range(rows):
                pixel = (row * p.stride_y + line * p.dilation_y) * p.padded_width
                out = tile + row * p.out_width * PANEL_BYTES
                products(
                    p.micro_kernel,
                    padded + (pixel + tap * p.dilation_x) * pixel_bytes,
                    p.stride_x * pixel_bytes, VECTOR_BYTES, p.out_width, b, vectors, depth,
                    p.start + channel * FLOAT_BYTES if first else out,
                    0 if first else PANEL_BYTES, VECTOR_BYTES, out, PANEL_BYTES, VECTOR_BYTES,
                )  # fmt: skip
            b += depth * PANEL_BYTES


def _convolve(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
    """Compute one part of all bands, images and shares of panels."""
    p = carray(plan, 1)[0]
    units = p.images * p.bands * p.shares
    count = (p.out_channels + PANEL - 1) // PANEL
    padded = scratch + part * p.part_bytes
    tile = padded + p.padded_bytes
    out_pixels = p.out_height * p.out_width
    for unit in range(part * units // parts, (part + 1) * units // parts):
        share, index = unit % p.shares, unit // p.shares
        image, index = index // p.bands, index % p.bands
        first, last = index * p.out_height // p.bands, (index + 1) * p.out_height // p.bands
        rows, pixels = last - first, (last - first) * p.out_width
        image_x = x + image * p.channels * p.height * p.width * FLOAT_BYTES
        image_y = y + image * p.out_channels * out_pixels * FLOAT_BYTES
        above = first * p.stride_y - p.top
        _fill(p, image_x, above, (rows - 1) * p.stride_y + p.reach, padded)
        for panel in range(share * count // p.shares, (share + 1) * count // p.shares):
            _multiply(p, padded, rows, panel, tile)
            channel, vectors = panel_place(panel, p.out_channels)
            some, pixel = min(vectors * LANES, p.out_channels), first * p.out_width
            if p.relu:
                for half in range(vectors):
                    layouts.clip_vectors(tile + half * VECTOR_BYTES, PANEL_BYTES, pixels, p.relu)
            if p.planes:
                target = image_y + (channel * out_pixels + pixel) * FLOAT_BYTES
                layouts.planes_from_rows(
                    tile, PANEL_BYTES, some, pixels, target, out_pixels * FLOAT_BYTES
                )
            else:
                target = image_y + (pixel * p.out_channels + channel) * FLOAT_BYTES
                step = p.out_channels * FLOAT_BYTES
                layouts.rows_from_rows(tile, PANEL_BYTES, some, pixels, target, step)


CONVOLVE = Entry(worker_with(BandPlan), _convolve)


def prepare(
    problem: ConvProblem, weights: Weights, machine: Machine | None = None, *, relu: float = 0.0
) -> Conv:
    """Pack the weights in panels of output channels, for torch's threads."""
    parts = threads()
    panels = packed_panels(weights.dense.permute(0, 2, 3, 1).flatten(1))  # (C_out, taps * C_in)
    start = packed_start(weights.bias, problem.out_channels)

    plan = planned(problem, parts, machine)._replace(relu=layouts.relu_bits(relu))
    data = {"weights": panels, "start": start}
    return convolution("direct", problem, plan, parts, CONVOLVE, data)


def planned(problem: ConvProblem, parts: int, machine: Machine | None = None) -> BandPlan:
    """Divide the problem into bands whose input rows fit into the cache."""
    # The taps of a kernel row are neighbours, unless it has dilation.
    plan = sizes(problem, taps=problem.kernel_size[1] if problem.dilation[1] == 1 else 1)
    padded_row = plan.channels * plan.padded_width
    most = working_sets(machine).band // (FLOAT_BYTES * padded_row)  # input rows
    rows = (most - plan.reach) // plan.stride_y + 1
    return divided(plan, parts, rows, padded_row)
