"""Depthwise convolution: what a problem's plan, weights and workers are, and the call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convsweep.backend import Conv, Weights
from convsweep.kernels import buffers
from convsweep.kernels.depthwise_planes import BUFFERS, planes_worker
from convsweep.kernels.depthwise_rows import HALVES, PIXEL_BYTES, rows_worker
from convsweep.kernels.depthwise_work import Plan, start, threads
from convsweep.kernels.layouts import answer, laid_out
from convsweep.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.problem import ConvProblem

PLANES_BYTES = 2**14  # of a padded band of one plane: half of a usual first cache
ROWS_BYTES = 2**17  # of a padded band of a block of channels: a quarter of a usual second cache


class Job(NamedTuple):
    """All that a call in one layout needs, apart from its tensors."""

    worker: Any
    parts: int
    record: Tensor  # a `Plan`
    scratch_floats: int
    kept: Sequence[Tensor]  # what the plan has addresses of


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """The depthwise convolution, spread over torch's threads; a plan for each layout it meets."""
    jobs: dict[bool, Job] = {}
    make = {
        True: partial(_planes_job, problem, weights),
        False: partial(_rows_job, problem, weights),
    }
    jobs = {True: make[True](), False: make[False]()}

    def conv(x: Tensor) -> Tensor:
        x, planes = laid_out(x)
        job = jobs[planes]
        y = answer(problem.output_shape, planes)
        scratch = buffers.scratch("depthwise", job.scratch_floats)
        start(job.worker, job.parts, job.record, x, y, scratch)
        return y

    return conv


def _shared_taps(kernel: int, stride: int, dilation: int) -> int:
    """How many taps a tile shares its inputs between: all of a usual kernel's side, or one."""
    return kernel if kernel in (3, 5, 7) and stride <= 2 and dilation == 1 else 1


def _tile_length(size: int) -> int:
    """Outputs of a tile: maps of real networks are multiples of 7, or of 8, or small."""
    if size < 4:
        return 1
    if size < 7:
        return 4
    return 8 if size % 8 == 0 and size % 7 else 7


def _bands(out_height: int, stride: int, span: int, row_bytes: int, limit: int, least: int) -> int:
    """Into how many bands output rows are cut, so that a padded band has at most `limit` bytes."""
    rows = max(least, (limit // row_bytes - span) // stride + 1)
    return max(1, out_height // max(least, min(rows, out_height)))


def _planes_job(problem: ConvProblem, weights: Weights) -> Job:
    (kernel_h, kernel_w), (stride_h, stride_w) = problem.kernel_size, problem.stride
    dilation_h, dilation_w = problem.dilation
    out_height, out_width = problem.output_size
    taps = _shared_taps(kernel_h, stride_h, dilation_h)
    count = _tile_length(out_height)
    needed = (max(out_width, LANES) - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    reach = max(needed, problem.padding[1] + problem.input_size[1])
    pitch = -(-reach // stride_w) // LANES * LANES + 3 * LANES
    row_bytes = pitch * stride_w * FLOAT_BYTES
    columns = [t * dilation_w for t in range(kernel_w)]
    across = [c % stride_w * pitch * FLOAT_BYTES + c // stride_w * FLOAT_BYTES for c in columns]
    down = [i * dilation_h * row_bytes for i in range(kernel_h)]
    dense = weights.dense.flatten(0, 1)  # (C, K_h, K_w)
    if taps > 1:
        offsets, dense = across, dense.mT
    else:
        offsets = [row + column for row in down for column in across]
    packed = buffers.packed(dense.numel())
    packed.view(dense.shape).copy_(dense)
    span = (kernel_h - 1) * dilation_h + 1
    bands = _bands(out_height, stride_h, span, row_bytes, PLANES_BYTES, count)
    most = -(-out_height // bands)
    band_floats = ((most - 1) * stride_h + span) * row_bytes // FLOAT_BYTES
    floats = (most + 1) * LANES + BUFFERS * band_floats
    return _job(
        problem,
        weights.bias,
        planes_worker(taps, stride_h if taps > 1 else 1, count),
        offsets,
        packed,
        taps_bytes=kernel_h * kernel_w * FLOAT_BYTES,
        bands=bands,
        needed=needed,
        pitch=pitch,
        floats=floats,
        band_floats=band_floats,
        units=problem.batch_size * problem.in_channels * bands,
    )


def _rows_job(problem: ConvProblem, weights: Weights) -> Job:
    (kernel_h, kernel_w), (stride_h, stride_w) = problem.kernel_size, problem.stride
    dilation_h, dilation_w = problem.dilation
    out_height, out_width = problem.output_size
    channels = problem.in_channels
    taps = _shared_taps(kernel_w, stride_w, dilation_w)
    count = _tile_length(out_width)
    needed = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    pitch = max(needed, problem.padding[1] + problem.input_size[1])
    row_bytes = pitch * PIXEL_BYTES
    down = [i * dilation_h * row_bytes for i in range(kernel_h)]
    across = [t * dilation_w * PIXEL_BYTES for t in range(kernel_w)]
    offsets = down if taps > 1 else [row + column for row in down for column in across]
    dense = weights.dense.flatten(1)  # (C, K_h * K_w)
    firsts = [max(0, min(c, channels - LANES)) for c in range(0, channels, LANES)]
    packed = buffers.packed(len(firsts) * dense.shape[1] * LANES).view(len(firsts), -1, LANES)
    for vector, first in zip(packed, firsts, strict=True):
        lanes = dense[first : first + LANES].T  # (K_h * K_w, LANES)
        vector[:, : lanes.shape[1]] = lanes
    span = (kernel_h - 1) * dilation_h + 1
    bands = _bands(out_height, stride_h, span, row_bytes, ROWS_BYTES, 1)
    most = -(-out_height // bands)
    band_floats = ((most - 1) * stride_h + span) * row_bytes // FLOAT_BYTES
    floats = out_width * LANES + band_floats
    step = 1 if taps > 1 else stride_w
    return _job(
        problem,
        weights.bias,
        rows_worker(taps, stride_w if taps > 1 else 1, count, step),
        offsets,
        packed,
        taps_bytes=kernel_h * kernel_w * VECTOR_BYTES,
        bands=bands,
        needed=needed,
        pitch=pitch,
        floats=floats,
        band_floats=band_floats,
        units=problem.batch_size * -(-len(firsts) // HALVES) * bands,
    )


def _job(
    problem: ConvProblem,
    bias: Tensor | None,
    worker: Any,
    offsets: list[int],
    packed: Tensor,
    *,
    taps_bytes: int,
    bands: int,
    needed: int,
    pitch: int,
    band_floats: int,
    floats: int,
    units: int,
) -> Job:
    table = torch.tensor(offsets, dtype=torch.int64)
    channels = problem.in_channels
    start = buffers.packed(max(channels, LANES))
    if bias is not None:
        start[:channels] = bias
    floats = -(-floats // 16) * 16
    plan = Plan(
        images=problem.batch_size,
        channels=channels,
        height=problem.input_size[0],
        width=problem.input_size[1],
        out_height=problem.output_size[0],
        out_width=problem.output_size[1],
        top=problem.padding[0],
        left=problem.padding[1],
        stride_h=problem.stride[0],
        stride_w=problem.stride[1],
        dilation_h=problem.dilation[0],
        kernel_h=problem.kernel_size[0],
        bands=bands,
        needed=needed,
        pitch=pitch,
        band_bytes=band_floats * FLOAT_BYTES,
        scratch_bytes=floats * FLOAT_BYTES,
        offsets=table.data_ptr(),
        lines=len(offsets),
        weights=packed.data_ptr(),
        weights_step=taps_bytes,
        start=start.data_ptr(),
    )
    parts = min(threads(), units)
    record = torch.tensor(plan, dtype=torch.int64)
    return Job(worker, parts, record, parts * floats, (table, packed, start))
