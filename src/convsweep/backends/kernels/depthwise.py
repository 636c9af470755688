"""Depthwise convolution: choice of the worker, its plan, packed weights, and the call."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import buffers, layouts
from convsweep.backends.kernels.compiling import threads
from convsweep.backends.kernels.depthwise_channels import PIXEL_BYTES, kernel_rows_inside
from convsweep.backends.kernels.depthwise_work import DepthwisePlan
from convsweep.backends.kernels.depthwise_works import (
    KernelWork,
    blocks_work,
    channels_tile,
    columns_inside,
    exceed_caches,
    pixels_work,
    planes_work,
    rows_work,
    sequences_work,
    tile_edges,
)
from convsweep.backends.kernels.launch import launch, record
from convsweep.backends.kernels.pointwise import packed_start
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, LINE_BYTES, VECTOR_BYTES
from convsweep.backends.steps import step
from convsweep.problems.problem import ConvProblem
from convsweep.system import calibration
from convsweep.system.calibration import Machine

Work: TypeAlias = Callable[[ConvProblem, Tensor, Machine], KernelWork]
SET_BYTES = 4096  # distance of addresses that compete for the same lines of the first cache


@dataclass(frozen=True)
class Job:
    """Work with all addresses, ready to be started repeatedly."""

    work: KernelWork
    parts: int
    record: Tensor  # a `DepthwisePlan`
    kept: tuple[Tensor, ...]  # tensors whose addresses are in the plan


def prepare(
    problem: ConvProblem,
    weights: Weights,
    machine: Machine | None = None,
    kinds: tuple[Work | None, Work | None] = (None, None),
    *,
    relu: float = 0.0,
) -> Conv:
    """Prepare the depthwise convolution for both layouts, with torch's threads.

    `kinds` are kinds of work for contiguous and channels_last tensors in place of the chosen ones.

    Raises:
        ValueError: a kind of work that needs more channels or columns than there are.
    """
    image = as_image(problem)
    dense = weights.dense.reshape(image.weight_shape)
    machine = machine or calibration.machine()
    works = {
        True: kinds[0] or work_of_planes(image),
        False: kinds[1] or work_of_rows(image, machine),
    }
    jobs = {
        key: job_of(image, weights.bias, work(image, dense, machine), relu)
        for key, work in works.items()
    }

    planes_or_rows = step("layout")(layouts.as_planes_or_rows)
    new_output = step("allocate")(layouts.output_maker(problem.output_shape))
    convolve = step("kernel")(launch)

    def conv(x: Tensor) -> Tensor:
        x, planes = planes_or_rows(x, problem.input_shape)
        job = jobs[planes]
        y = new_output(planes)
        scratch = buffers.scratch("depthwise", job.parts * job.work.scratch_floats)
        convolve(job.work.worker, job.parts, job.record, x, y, scratch)
        return y

    planes, rows = jobs[True].work.name, jobs[False].work.name
    conversions = 2 if works[True] is blocks_work else 0
    return layouts.tells_layout(conv, problem.input_shape, (planes, conversions), (rows, 0))


def as_image(problem: ConvProblem) -> ConvProblem:
    """Return a 1-D problem as an image of one row, which lies in memory in the same way."""
    if problem.rank == 2:
        return problem
    return replace(
        problem,
        input_size=(1, *problem.input_size),
        kernel_size=(1, *problem.kernel_size),
        stride=(1, *problem.stride),
        padding=(0, *problem.padding),
        padding_end=(0, *problem.padding_end),
        dilation=(1, *problem.dilation),
        output_padding=(0, *problem.output_padding),
    )


def work_of_planes(problem: ConvProblem) -> Work:
    """Return the kind of work for contiguous tensors."""
    plain = problem.kernel_size[0] == 1 and problem.stride == (1, 1) and not any(problem.margins[0])
    if plain and problem.output_size[1] >= LANES:
        return sequences_work
    return planes_work if lanes_are_pixels(problem) else blocks_work


def work_of_rows(problem: ConvProblem, machine: Machine) -> Work:
    """Return the kind of work for channels_last tensors.

    Inputs are read in place if all tiles of a row read the image, and the first cache keeps the
    window of a tile until its last channel. A larger window is read again from the second cache,
    more often the smaller vectors are; to copy it is faster, unless it comes from memory.
    """
    (kernel_h, kernel_w), stride_w = problem.kernel_size, problem.stride[1]
    pixel_bytes = problem.in_channels * FLOAT_BYTES
    taps, _, count, step = channels_tile(problem)
    gap = step if taps > 1 else 1  # between the outputs of a tile
    edges, (first, last) = tile_edges(problem), columns_inside(problem)
    if problem.in_channels < LANES or (edges is None and last - first < count * gap):
        return rows_work
    columns = min((count - 1) * stride_w + kernel_w, problem.input_size[1])
    window = kernel_h * columns * max(PIXEL_BYTES, math.gcd(gap * pixel_bytes, SET_BYTES))
    few = problem.taps <= 9 or edges is not None
    kept = window <= 3 * machine.l1_bytes * VECTOR_BYTES // LINE_BYTES
    fits = kept or exceed_caches(machine, problem.input_shape, problem.output_shape)
    return pixels_work if (few and fits) or kernel_h == 1 else rows_work


def lanes_are_pixels(problem: ConvProblem) -> bool:
    """Return whether planes are faster for a contiguous tensor than blocks, which are transposes.

    Planes waste lanes at the end of rows, and strides need a rearrangement. Blocks skip kernel rows
    in the padding, but two transposes take more instructions per output than copies.
    """
    (height, _), (kernel_h, kernel_w) = problem.input_size, problem.kernel_size
    out_height, out_width = problem.output_size
    if problem.in_channels < LANES:
        return True
    if problem.stride[1] > 1 or out_width < LANES:
        return False
    if problem.taps <= 9:
        return True
    dilation, (top, _), stride = problem.dilation[0], problem.padding, problem.stride[0]
    firsts = range(-top, out_height * stride - top, stride)
    ranges = [kernel_rows_inside.py_func(i, height, kernel_h, dilation) for i in firsts]
    inside = sum(below - above for above, below in ranges) / out_height
    filled = -(-out_width // LANES) * LANES / out_width
    planes = kernel_h * kernel_w * filled
    return bool(planes <= inside * kernel_w + math.log2(LANES))


def job_of(problem: ConvProblem, bias: Tensor | None, work: KernelWork, relu: float) -> Job:
    """Pack the weights of some work and write its plan."""
    weights = buffers.packed(work.weights.numel())
    weights.view(work.weights.shape).copy_(work.weights)
    sums = packed_start(bias, problem.in_channels)
    offsets = torch.tensor([*work.offsets, *work.across], dtype=torch.int64)
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
        dilation_w=problem.dilation[1],
        kernel_h=problem.kernel_size[0],
        kernel_w=problem.kernel_size[1],
        inside_first=work.inside[0],
        inside_last=work.inside[1],
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
        streamed=work.streamed,
        relu=layouts.relu_bits(relu),
    )
    parts = min(threads(), work.units)
    return Job(work, parts, record(plan), (offsets, weights, sums))
