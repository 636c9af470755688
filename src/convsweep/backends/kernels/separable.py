"""Depthwise and 1x1 convolution, fused per band of output rows.

The matrix product reads the depthwise output of a band from the second cache, and never from
memory (Zhang, Lo & Lu 2020). The depthwise output is `[C_in / LANES][pixel][LANES]`. channels_last
inputs are read in place if `depthwise` does so. Else the input rows of a band are copied per block
of channels, with padding, to `[row][column][LANES]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from numba import carray, types
from torch import Tensor

from convsweep.backends.base import Conv, GraphLayer, Weights
from convsweep.backends.blocks import layer_by_layer, separable_graph
from convsweep.backends.kernels import buffers, depthwise, layouts, pointwise
from convsweep.backends.kernels.bands import BandPlan, convolution, divided, sizes
from convsweep.backends.kernels.compiling import Entry, inlined, threads
from convsweep.backends.kernels.depthwise_pixels import pixels_band
from convsweep.backends.kernels.depthwise_tile import run
from convsweep.backends.kernels.depthwise_works import (
    channels_tile,
    pixels_work,
    shared_taps,
    tile_edges,
)
from convsweep.backends.kernels.launch import worker_with
from convsweep.backends.kernels.pointwise import packed_panels, packed_start, panels
from convsweep.backends.kernels.products import PANEL
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    call_address,
    intrinsic,
)
from convsweep.backends.kernels.working_sets import working_sets
from convsweep.problems.problem import ConvProblem
from convsweep.system import calibration
from convsweep.system.calibration import Machine

COLUMNS = 7  # of a row at a time: image sizes of many networks are multiples of it


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


@intrinsic
def _depthwise_in_place(
    typing: Any, entry: Any, plan: Any, x: Any, first: Any, rows: Any, y: Any
) -> Any:
    """Call `pixels_band` at an address."""
    return types.void(*[types.int64] * 6), call_address


@inlined
def _clear_padding(p: Any, top: int, rows: int, padded: int) -> None:
    """Write zeros where `rows` input rows from row `top` on are outside the image."""
    left = min(p.left, p.padded_width)
    right = min(p.left + p.width, p.padded_width)
    for row in range(rows):
        at = padded + row * p.padded_width * VECTOR_BYTES
        if 0 <= top + row < p.height:
            layouts.clear_vectors(at, left)
            layouts.clear_vectors(at + right * VECTOR_BYTES, p.padded_width - right)
        else:
            layouts.clear_vectors(at, p.padded_width)


@inlined
def _fill(p: Any, x: int, channel: int, top: int, rows: int, padded: int) -> None:
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
            layouts.block_from_rows(row_x, step, some, columns, inner + row * row_bytes)
        return
    plane = p.height * p.width * FLOAT_BYTES
    source = x + channel * plane + pixel * FLOAT_BYTES
    for row in range(last - first):
        row_x = source + row * p.width * FLOAT_BYTES
        layouts.block_from_planes(row_x, plane, some, columns, inner + row * row_bytes)


@inlined
def _depthwise_band(p: Any, x: int, first: int, rows: int, padded: int, band: int) -> None:
    """Compute depthwise output rows of all channels as `[C_in / LANES][pixel][LANES]`."""
    if p.depthwise_band:
        _depthwise_in_place(p.depthwise_band, p.depthwise_plan, x, first, rows, band)
        if p.inner_relu:
            pixels = p.channels // LANES * rows * p.out_width
            layouts.clip_vectors(band, VECTOR_BYTES, pixels, p.inner_relu)
        return
    top = first * p.stride_y - p.top
    needed = (rows - 1) * p.stride_y + p.reach
    row_step = p.stride_y * p.padded_width * VECTOR_BYTES
    lines = p.kernel_height * p.runs  # of `taps` weights each
    _clear_padding(p, top, needed, padded)
    for channel in range(0, p.channels, LANES):
        _fill(p, x, channel, top, needed, padded)
        weights = p.depthwise + channel * lines * p.taps * FLOAT_BYTES
        start, between = p.depthwise_start + channel * FLOAT_BYTES, rows * p.out_width
        y = band + channel * between * FLOAT_BYTES
        _depthwise_rows(
            p.depthwise_rows, padded, row_step, p.offsets, lines, weights, start, y,
            rows, p.out_width,
        )  # fmt: skip
        if p.inner_relu:
            layouts.clip_vectors(y, VECTOR_BYTES, between, p.inner_relu)


def _convolve(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
    """Compute one part of all bands, images and shares of panels."""
    p = carray(plan, 1)[0]
    units = p.images * p.bands * p.shares
    count = (p.out_channels + PANEL - 1) // PANEL
    padded = scratch + part * p.part_bytes
    band = padded + p.padded_bytes
    tile = band + p.between_bytes
    out_pixels = p.out_height * p.out_width
    pixel_step = FLOAT_BYTES if p.planes else p.out_channels * FLOAT_BYTES
    y_step = out_pixels * FLOAT_BYTES if p.planes else pixel_step
    for unit in range(part * units // parts, (part + 1) * units // parts):
        share, index = unit % p.shares, unit // p.shares
        image, index = index // p.bands, index % p.bands
        first = index * p.out_height // p.bands
        rows = (index + 1) * p.out_height // p.bands - first
        image_x = x + image * p.channels * p.height * p.width * FLOAT_BYTES
        _depthwise_band(p, image_x, first, rows, padded, band)
        image_y = y + image * p.out_channels * out_pixels * FLOAT_BYTES
        pixels = rows * p.out_width
        panels(
            p, p.weights, p.start, band, VECTOR_BYTES, pixels * VECTOR_BYTES, pixels,
            share * count // p.shares, (share + 1) * count // p.shares, tile,
            image_y + first * p.out_width * pixel_step, y_step,
        )  # fmt: skip


CONVOLVE = Entry(worker_with(BandPlan), _convolve)


def prepare(problem: ConvProblem, weights: Weights, machine: Machine | None = None) -> Conv:
    """Compute the two parts of the weight."""
    return fused(separable_graph(problem, weights), machine)


def prepare_block(layers: Sequence[GraphLayer]) -> Conv:
    """Fuse folded layers; with batch norms between them, compute each part by its own kernel."""
    if not any(layer.norm for layer in layers):
        return fused(layers)
    return layer_by_layer(prepare_part, layers)


def prepare_part(problem: ConvProblem, weights: Weights) -> Conv:
    """Prepare the kernel of one part."""
    is_product = problem.is_pointwise and problem.groups == 1
    return (pointwise.prepare if is_product else depthwise.prepare)(problem, weights)


def fused(layers: Sequence[GraphLayer], machine: Machine | None = None) -> Conv:
    """Pack both weights in blocks of channels, for torch's threads."""
    first, last = layers
    problem = replace(first.problem, out_channels=last.problem.out_channels, groups=1)
    parts = threads()
    plan = planned(problem, parts, machine)
    blocks, offsets = _packed_blocks(first.weight.flatten(1)), _offsets(problem, plan)
    matrix = packed_panels(last.weight.flatten(1))
    starts = [
        packed_start(layer.bias, -(-layer.problem.out_channels // LANES) * LANES)
        for layer in layers
    ]
    data = {
        "depthwise": blocks,
        "offsets": offsets,
        "depthwise_start": starts[0],
        "weights": matrix,
        "start": starts[1],
    }
    rows = depthwise_rows(plan.taps, plan.stride_x, COLUMNS if plan.out_width >= COLUMNS else 1)
    plan = plan._replace(
        inner_relu=layouts.relu_bits(first.relu), relu=layouts.relu_bits(last.relu)
    )
    in_place = _in_place(first, machine or calibration.machine())

    def fields_for(planes: bool) -> dict[str, int]:
        if planes or in_place is None:
            return {"depthwise_rows": rows.address}
        job, band = in_place
        return {"depthwise_band": band.address, "depthwise_plan": job.record.data_ptr()}

    return convolution("fused", problem, plan, parts, CONVOLVE, data, fields_for)


def _in_place(layer: GraphLayer, machine: Machine) -> tuple[depthwise.Job, Entry] | None:
    """Return code that reads channels_last inputs in place, and its plan, if it is faster."""
    problem, edges = layer.problem, tile_edges(layer.problem)
    if problem.in_channels % LANES or edges is None:
        return None
    if depthwise.work_of_rows(problem, machine) is not pixels_work:
        return None
    work = pixels_work(problem, layer.weight, machine)
    job = depthwise.job_of(problem, layer.bias, work, relu=0.0)
    return job, pixels_band(*channels_tile(problem), *edges)


def planned(problem: ConvProblem, parts: int, machine: Machine | None = None) -> BandPlan:
    """Divide the problem into bands whose depthwise output fits into the cache."""
    width, stride, dilation = problem.kernel_size[1], problem.stride[1], problem.dilation[1]
    plan = sizes(problem, taps=shared_taps(width, stride, dilation) if dilation == 1 else 1)
    return divided(
        plan,
        parts,
        rows=working_sets(machine).band // (FLOAT_BYTES * plan.channels * plan.out_width),
        padded_row=plan.padded_width * LANES,
        between_row=-(-plan.channels // LANES) * LANES * plan.out_width,
    )


def _offsets(problem: ConvProblem, plan: BandPlan) -> Tensor:
    """Return the bytes from an output's first input to the first one of each line of taps."""
    rows = torch.arange(problem.kernel_size[0])[:, None] * problem.dilation[0] * plan.padded_width
    columns = torch.arange(0, problem.kernel_size[1], plan.taps) * problem.dilation[1]
    return (rows + columns).flatten() * VECTOR_BYTES


def _packed_blocks(depthwise: Tensor) -> Tensor:
    """Pack (C_in, taps) as `[C_in / LANES][taps][LANES]`; missing channels are zeros."""
    channels, taps = depthwise.shape
    packed = buffers.packed(-(-channels // LANES) * taps * LANES).view(-1, taps, LANES)
    for block, part in zip(packed, depthwise.split(LANES), strict=True):
        block[:, : len(part)] = part.T
    return packed
