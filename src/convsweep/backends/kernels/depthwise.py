"""Depthwise convolution: choice of the worker, its plan, packed weights, and the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import Entry, threads
from convsweep.backends.kernels.depthwise_blocks import blocks_worker
from convsweep.backends.kernels.depthwise_planes import BUFFERS, planes_worker
from convsweep.backends.kernels.depthwise_rows import HALVES, PIXEL_BYTES, rows_worker
from convsweep.backends.kernels.depthwise_work import DepthwisePlan, start
from convsweep.backends.kernels.layouts import as_planes_or_rows, empty_output, tells_layout
from convsweep.backends.kernels.pointwise import packed_panels, packed_start
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.steps import step
from convsweep.problems.problem import ConvProblem

PLANES_BYTES = 2**14  # per padded band of one plane: half of a typical first cache
BLOCKS_BYTES = 2**17  # per padded band of a block of channels: a quarter of a typical second cache
ALIGNMENT = buffers.ALIGNMENT_BYTES // FLOAT_BYTES


@dataclass(frozen=True)
class KernelWork:
    """One way to compute a problem: a worker, and the parameters of its plan."""

    name: str
    worker: Entry
    weights: Tensor  # one row per channel, or per vector of channels
    offsets: list[int]  # of the kernel's lines, in bytes
    bands: int  # of each plane or block
    units: int  # of work, bands of all of them
    needed: int  # columns of the padded input that are read
    pitch: int  # columns per padded row
    band_floats: int
    scratch_floats: int


@dataclass(frozen=True)
class Job:
    """Work with all addresses, ready to be started repeatedly."""

    work: KernelWork
    parts: int
    record: Tensor  # a `DepthwisePlan`
    kept: tuple[Tensor, ...]  # tensors whose addresses are in the plan


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Prepare the depthwise convolution for both layouts, with torch's threads."""
    works = planes_work if lanes_are_pixels(problem) else blocks_work
    jobs = {
        True: _job(problem, weights.bias, works(problem, weights.dense)),
        False: _job(problem, weights.bias, rows_work(problem, weights.dense)),
    }

    planes_or_rows, new_output = step("layout")(as_planes_or_rows), step("allocate")(empty_output)
    convolve = step("kernel")(start)

    def conv(x: Tensor) -> Tensor:
        x, planes = planes_or_rows(x, problem.input_shape)
        job = jobs[planes]
        y = new_output(problem.output_shape, planes)
        scratch = buffers.scratch("depthwise", job.parts * job.work.scratch_floats)
        convolve(job.work.worker, job.parts, job.record, x, y, scratch)
        return y

    planes, rows = jobs[True].work.name, jobs[False].work.name
    conversions = 0 if lanes_are_pixels(problem) else 2
    return tells_layout(conv, problem.input_shape, (planes, conversions), (rows, 0))


def lanes_are_pixels(problem: ConvProblem) -> bool:
    """Return whether planes are faster for a contiguous tensor than blocks, which are transposes.

    Planes waste lanes if rows are shorter than a vector. For large kernels the transposes matter
    less, and blocks skip kernel rows in the padding. Strides need a rearrangement of planes.
    """
    out_width = problem.output_size[1]
    if problem.in_channels < LANES:
        return True
    if problem.taps <= 9:
        return out_width >= LANES
    return out_width >= 3 * LANES and problem.stride[1] == 1


def shared_taps(kernel: int, stride: int, dilation: int) -> int:
    """Return the taps per line that share inputs: all of the kernel's side, or one."""
    return kernel if kernel in (3, 5, 7) and stride <= 2 and dilation == 1 else 1


def tile_length(size: int) -> int:
    """Return the outputs per tile: sizes in networks are multiples of 7 or of 8, or small."""
    if size < 4:
        return 1
    if size < 7:
        return 4
    return 8 if size % 8 == 0 and size % 7 else 7


def _bands(problem: ConvProblem, row_bytes: int, limit: int, least: int) -> tuple[int, int]:
    """Return the number of bands of at most `limit` padded bytes, and the padded rows per band."""
    out_height, stride = problem.output_size[0], problem.stride[0]
    span = (problem.kernel_size[0] - 1) * problem.dilation[0] + 1
    rows = (limit // row_bytes - span) // stride + 1
    bands = max(1, out_height // min(max(least, rows), out_height))
    most = -(-out_height // bands)
    return bands, (most - 1) * stride + span


def _aligned(floats: int) -> int:
    return -(-floats // ALIGNMENT) * ALIGNMENT


def _line_offsets(problem: ConvProblem, row_bytes: int, across: list[int]) -> list[int]:
    """Return the offsets of all taps, row by row, from those of one row."""
    down = (i * problem.dilation[0] * row_bytes for i in range(problem.kernel_size[0]))
    return [row + column for row in down for column in across]


def planes_work(problem: ConvProblem, dense: Tensor) -> KernelWork:
    """Return the work whose lanes are pixels of a row and whose taps are a kernel column."""
    (kernel_h, kernel_w), (stride_h, stride_w) = problem.kernel_size, problem.stride
    out_height, out_width = problem.output_size
    taps = shared_taps(kernel_h, stride_h, problem.dilation[0])
    count = tile_length(out_height)
    columns = [t * problem.dilation[1] for t in range(kernel_w)]
    needed = (max(out_width, LANES) - 1) * stride_w + columns[-1] + 1
    reach = max(needed, problem.padding[1] + problem.input_size[1])
    pitch = -(-reach // stride_w) // LANES * LANES + 3 * LANES
    row_bytes = pitch * stride_w * FLOAT_BYTES
    across = [(c % stride_w * pitch + c // stride_w) * FLOAT_BYTES for c in columns]
    kernels = dense.flatten(0, 1)  # (C, K_h, K_w)
    bands, rows = _bands(problem, row_bytes, PLANES_BYTES, count)
    band_floats = rows * row_bytes // FLOAT_BYTES
    tile_floats = (out_height // bands + 1) * LANES
    return KernelWork(
        name=f"planes taps={taps} tile={count}",
        worker=planes_worker(taps, stride_h if taps > 1 else 1, count),
        weights=(kernels.mT if taps > 1 else kernels).flatten(1),
        offsets=across if taps > 1 else _line_offsets(problem, row_bytes, across),
        bands=bands,
        units=problem.batch_size * problem.in_channels * bands,
        needed=needed,
        pitch=pitch,
        band_floats=band_floats,
        scratch_floats=_aligned(BUFFERS * band_floats + tile_floats),
    )


def rows_work(problem: ConvProblem, dense: Tensor) -> KernelWork:
    """Return the work whose lanes are channels of channels_last pixels."""
    out_width = problem.output_size[1]
    return _channels_work(problem, dense, rows_worker, HALVES, PIXEL_BYTES, out_width)


def blocks_work(problem: ConvProblem, dense: Tensor) -> KernelWork:
    """Return the work whose lanes are channels, transposed from planes and back."""
    pixels = problem.output_size[0] * problem.output_size[1]
    return _channels_work(problem, dense, blocks_worker, 1, VECTOR_BYTES, pixels)


def _channels_work(
    problem: ConvProblem, dense: Tensor, worker: Any, vectors: int, pixel_bytes: int, tile: int
) -> KernelWork:
    """Return work with `vectors` vectors of channels per block, and `tile` pixels of scratch."""
    (_, kernel_w), (_, stride_w) = problem.kernel_size, problem.stride
    (_, dilation_w), (_, out_width) = problem.dilation, problem.output_size
    taps = shared_taps(kernel_w, stride_w, dilation_w)
    needed = (out_width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    pitch = max(needed, problem.padding[1] + problem.input_size[1]) + LANES
    row_bytes = pitch * pixel_bytes
    across = [t * dilation_w * pixel_bytes for t in range(kernel_w)]
    weights = packed_panels(dense.flatten(1), LANES).flatten(1)
    bands, rows = _bands(problem, row_bytes, BLOCKS_BYTES, 1)
    band_floats = rows * row_bytes // FLOAT_BYTES
    shape = (taps, stride_w, 1) if taps > 1 else (1, 1, stride_w)
    count = tile_length(out_width)
    return KernelWork(
        name=f"{worker.__name__.removesuffix('_worker')} taps={taps} tile={count}",
        worker=worker(shape[0], shape[1], count, shape[2]),
        weights=weights,
        offsets=_line_offsets(problem, row_bytes, across[:1] if taps > 1 else across),
        bands=bands,
        units=problem.batch_size * -(-len(weights) // vectors) * bands,
        needed=needed,
        pitch=pitch,
        band_floats=band_floats,
        scratch_floats=_aligned(band_floats + tile * LANES),
    )


def _job(problem: ConvProblem, bias: Tensor | None, work: KernelWork) -> Job:
    """Pack the weights of some work and write its plan."""
    weights = buffers.packed(work.weights.numel())
    weights.view(work.weights.shape).copy_(work.weights)
    sums = packed_start(bias, problem.in_channels)
    offsets = torch.tensor(work.offsets, dtype=torch.int64)
    plan = DepthwisePlan(
        images=problem.batch_size,
        channels=problem.in_channels,
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
        bands=work.bands,
        needed=work.needed,
        pitch=work.pitch,
        band_bytes=work.band_floats * FLOAT_BYTES,
        scratch_bytes=work.scratch_floats * FLOAT_BYTES,
        offsets=offsets.data_ptr(),
        lines=len(work.offsets),
        weights=weights.data_ptr(),
        weights_step=work.weights.shape[1] * FLOAT_BYTES,
        start=sums.data_ptr(),
    )
    parts = min(threads(), work.units)
    return Job(work, parts, torch.tensor(plan, dtype=torch.int64), (offsets, weights, sums))
