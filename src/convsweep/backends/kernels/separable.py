"""Depthwise and 1x1 convolution, fused per band of output rows.

The matrix product reads the depthwise output of a band from the second cache, and never from
memory (Zhang, Lo & Lu 2020).
"""

from __future__ import annotations

import math

import torch
from numba import set_num_threads
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import threads
from convsweep.backends.kernels.layouts import as_planes_or_rows, empty_output
from convsweep.backends.kernels.pointwise import packed_panels, packed_start
from convsweep.backends.kernels.products import PANEL
from convsweep.backends.kernels.separable_bands import (
    SeparableMemory,
    SeparablePlan,
    convolve,
    convolve_alone,
    depthwise_rows,
)
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.problems.problem import ConvProblem

BAND_BYTES = 2**18  # of a band's depthwise output: half of a typical second cache
LINE_BYTES = 64
COLUMNS = 7  # of a row at a time: image sizes of many networks are multiples of it
ROWS_OF_TAPS = (3, 5, 7)  # kernel widths with one line per kernel row; others have one line per tap


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Pack both factors of the weight in blocks of channels, for torch's threads."""
    assert weights.factors is not None
    depthwise, pointwise = (factor.flatten(1) for factor in weights.factors)
    parts = threads()
    plan = _planned(problem, parts)
    blocks, none, offsets = (
        _packed_blocks(depthwise),
        buffers.packed(LANES),
        _offsets(problem, plan),
    )
    panels, start = packed_panels(pointwise), packed_start(weights.bias, problem.out_channels)
    columns = COLUMNS if plan.out_width >= COLUMNS else 1
    tiles = depthwise_rows(plan.taps, problem.stride[1], columns)

    def conv(x: Tensor) -> Tensor:
        x, planes = as_planes_or_rows(x, problem.input_shape)
        y = empty_output(problem.output_shape, planes)
        scratch = buffers.scratch("separable", parts * plan.part_bytes // FLOAT_BYTES)
        tensors = (x, blocks, offsets, none, panels, start, y, scratch)
        memory = SeparableMemory(tiles.address, *(tensor.data_ptr() for tensor in tensors))
        if parts == 1:
            convolve_alone(plan._replace(planes=int(planes)), memory)
        else:
            set_num_threads(parts)
            convolve(plan._replace(planes=int(planes)), memory, parts)
        return y

    return conv


def _planned(problem: ConvProblem, parts: int) -> SeparablePlan:
    """Divide the problem into bands that fit into the cache and occupy all threads."""
    (height, width), (out_height, out_width) = problem.input_size, problem.output_size
    reach_y, reach_x = (
        (k - 1) * d + 1 for k, d in zip(problem.kernel_size, problem.dilation, strict=True)
    )
    padded_width = (out_width - 1) * problem.stride[1] + reach_x
    bands, shares = _divided(problem, parts)
    neighbours = problem.dilation[1] == 1 and problem.kernel_size[1] in ROWS_OF_TAPS
    taps = problem.kernel_size[1] if neighbours else 1
    rows = -(-out_height // bands)
    padded_rows = (rows - 1) * problem.stride[0] + reach_y
    blocks = -(-problem.in_channels // LANES)
    sizes = (
        padded_rows * padded_width * LANES,
        padded_rows * width * LANES if width < LANES else 0,
        blocks * rows * out_width * LANES,
        rows * out_width * PANEL,
    )
    padded, narrow, band, tile = (-(-4 * floats // LINE_BYTES) * LINE_BYTES for floats in sizes)
    return SeparablePlan(
        planes=1,
        images=problem.batch_size,
        channels=problem.in_channels,
        height=height,
        width=width,
        out_channels=problem.out_channels,
        out_height=out_height,
        out_width=out_width,
        stride=problem.stride[0],
        top=problem.padding[0],
        left=problem.padding[1],
        reach=reach_y,
        padded_width=padded_width,
        lines=math.prod(problem.kernel_size) // taps,
        taps=taps,
        bands=bands,
        shares=shares,
        padded_bytes=padded,
        narrow_bytes=narrow,
        band_bytes=band,
        part_bytes=padded + narrow + band + tile,
    )


def _divided(problem: ConvProblem, parts: int) -> tuple[int, int]:
    """Return bands per image, and shares of panels if there are fewer bands than threads."""
    out_height, out_width = problem.output_size
    row_bytes = FLOAT_BYTES * problem.in_channels * out_width
    bands = -(-out_height // max(1, BAND_BYTES // row_bytes))
    if problem.batch_size * bands % parts:
        bands = min(out_height, -(-bands // parts) * parts)
    return bands, 1 if problem.batch_size * bands >= parts else parts


def _offsets(problem: ConvProblem, plan: SeparablePlan) -> Tensor:
    """Return the bytes from an output's first input to the first one of each line of taps."""
    rows = torch.arange(problem.kernel_size[0])[:, None] * problem.dilation[0] * plan.padded_width
    columns = torch.arange(0, problem.kernel_size[1], plan.taps) * problem.dilation[1]
    return (rows + columns).flatten() * VECTOR_BYTES


def _packed_blocks(depthwise: Tensor) -> Tensor:
    """Pack (C_in, taps) as `[C_in / LANES][taps][LANES]`; missing channels are zeros."""
    channels, taps = depthwise.shape
    blocks = -(-channels // LANES)
    padded = depthwise.new_zeros(blocks * LANES, taps)
    padded[:channels] = depthwise
    packed = buffers.packed(blocks * taps * LANES)
    return packed.copy_(padded.view(blocks, LANES, taps).transpose(1, 2).flatten())
