"""1x1 convolution: pixels are the rows of a matrix product, output channels its columns.

Bands of pixels that fit into the second cache are multiplied with all panels of output channels
(Goto & van de Geijn 2008). channels_last pixels are rows. Contiguous inputs and outputs are
transposed band by band.
"""

import math
from functools import cache
from typing import Any, NamedTuple

from numba import carray
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import buffers, layouts
from convsweep.backends.kernels.compiling import Entry, inlined, threads
from convsweep.backends.kernels.launch import launch, record, worker_with
from convsweep.backends.kernels.products import (
    PANEL,
    PANEL_BYTES,
    panel_place,
    products,
    products_for,
)
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.working_sets import working_sets
from convsweep.backends.steps import step
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine


class PointwisePlan(NamedTuple):
    """Sizes of a problem, its division, and addresses of constant data and machine code."""

    images: int
    pixels: int  # per image
    channels: int
    out_channels: int
    bands: int  # of the pixels of an image
    shares: int  # of the panels of output channels
    scratch_bytes: int  # per part
    relu: int  # bits of its bound; 0: none
    planes: int = 0  # 1: contiguous; 0: channels_last
    weights: int = 0
    start: int = 0
    micro_kernel: int = 0


@inlined
def panels(
    p: Any, weights: int, start: int, a: int, a_row: int, a_block: int, pixels: int,
    first: int, last: int, tile: int, y: int, y_step: int,
) -> None:  # fmt: skip
    """Compute panels `first` to `last` of the output for a run of pixels, and write them to y.

    y consists of planes or of rows, `y_step` bytes apart. The last panel overlaps the previous one,
    so that nothing else is written. Results that are not written to y directly go to a tile
    `[pixel][PANEL]`.
    """
    channels, out_channels = p.channels, p.out_channels
    for panel in range(first, last):
        channel, vectors = panel_place(panel, out_channels)
        width = vectors * LANES
        b, sums = weights + panel * channels * PANEL_BYTES, start + channel * FLOAT_BYTES
        if not p.planes and out_channels >= width:
            out, out_row = y + channel * FLOAT_BYTES, y_step
        else:
            out, out_row = tile, PANEL_BYTES
        products(
            p.micro_kernel, a, a_row, a_block, pixels, b, vectors, channels,
            sums, 0, VECTOR_BYTES, out, out_row, VECTOR_BYTES,
        )  # fmt: skip
        if p.relu:
            for half in range(vectors):
                layouts.clip_vectors(out + half * VECTOR_BYTES, out_row, pixels, p.relu)
        if p.planes:
            count = min(width, out_channels)
            layouts.planes_from_rows(tile, PANEL_BYTES, count, pixels, y + channel * y_step, y_step)
        elif out_channels < width:
            layouts.rows_from_rows(tile, PANEL_BYTES, out_channels, pixels, y, y_step)


def _multiply(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
    """Multiply one part of all bands of all images and shares of panels."""
    p = carray(plan, 1)[0]
    pixels, channels, bands, shares = p.pixels, p.channels, p.bands, p.shares
    units = p.images * bands * shares
    count = (p.out_channels + PANEL - 1) // PANEL
    most = (pixels + bands - 1) // bands
    block = scratch + part * p.scratch_bytes
    tile = block + (channels + LANES - 1) // LANES * most * VECTOR_BYTES
    for unit in range(part * units // parts, (part + 1) * units // parts):
        image, band, share = unit // shares // bands, unit // shares % bands, unit % shares
        first = band * pixels // bands
        run = (band + 1) * pixels // bands - first
        if p.planes:
            a, a_row, a_block = block, VECTOR_BYTES, run * VECTOR_BYTES
            step = pixels * FLOAT_BYTES
            source = x + image * channels * step + first * FLOAT_BYTES
            target = y + image * p.out_channels * step + first * FLOAT_BYTES
            for channel in range(0, channels, LANES):
                some = min(LANES, channels - channel)
                at = block + channel // LANES * a_block
                layouts.block_from_planes(source + channel * step, step, some, run, at)
        else:
            a_row, a_block = channels * FLOAT_BYTES, VECTOR_BYTES
            step = p.out_channels * FLOAT_BYTES
            a = x + (image * pixels + first) * a_row
            target = y + (image * pixels + first) * step
        panels(
            p, p.weights, p.start, a, a_row, a_block, run,
            share * count // shares, (share + 1) * count // shares, tile, target, step,
        )  # fmt: skip


MULTIPLY = Entry(worker_with(PointwisePlan), _multiply)


def packed_panels(matrix: Tensor, width: int = PANEL) -> Tensor:
    """Pack (C_out, C_in) as `[panel][C_in][width]`; the last panel overlaps the previous one."""
    out_channels, channels = matrix.shape
    firsts = [
        max(0, min(c, out_channels - (width if out_channels - c > LANES else LANES)))
        for c in range(0, out_channels, width)
    ]
    panels = buffers.packed(len(firsts) * channels * width).view(-1, channels, width)
    for panel, first in zip(panels, firsts, strict=True):
        columns = matrix[first : first + width].T  # (C_in, width)
        panel[:, : columns.shape[1]] = columns
    return panels


def packed_start(bias: Tensor | None, floats: int) -> Tensor:
    """Return the start values of the sums: the bias, then zeros, at least one panel."""
    start = buffers.packed(max(floats, PANEL))
    if bias is not None:
        start[: len(bias)] = bias
    return start


def bands_of(problem: ConvProblem, parts: int, machine: Machine | None = None) -> int:
    """Return the bands of pixels per image: inputs and the outputs of a panel fit into caches."""
    pixels, sets = math.prod(problem.output_size), working_sets(machine)
    most = min(sets.panel // PANEL_BYTES, sets.band // (FLOAT_BYTES * problem.in_channels))
    bands = -(-pixels // max(1, most))
    return parts if problem.batch_size * bands < parts <= pixels else bands


def prepare(
    problem: ConvProblem, weights: Weights, machine: Machine | None = None, *, relu: float = 0.0
) -> Conv:
    """Pack the weights in panels of output channels, for torch's threads."""
    matrix = packed_panels(weights.dense.flatten(1))
    start = packed_start(weights.bias, problem.out_channels)
    parts = threads()
    pixels, bands = math.prod(problem.output_size), bands_of(problem, parts, machine)
    most = -(-pixels // bands)
    blocks = -(-problem.in_channels // LANES)
    floats = -(-(blocks * LANES + PANEL) * most // PANEL) * PANEL
    plan = PointwisePlan(
        images=problem.batch_size,
        pixels=pixels,
        channels=problem.in_channels,
        out_channels=problem.out_channels,
        bands=bands,
        shares=1 if problem.batch_size * bands >= parts else parts,
        scratch_bytes=floats * FLOAT_BYTES,
        relu=layouts.relu_bits(relu),
    )

    @cache
    def plan_for(planes: bool) -> Tensor:
        addresses = {"weights": matrix.data_ptr(), "start": start.data_ptr()}
        complete = plan._replace(planes=planes, **addresses)
        return record(complete, micro_kernel=products_for(matrix))

    new_output = step("allocate")(layouts.output_maker(problem.output_shape))
    multiply = step("kernel")(launch)

    @step("layout")
    def planes_or_rows(x: Tensor) -> tuple[Tensor, bool]:
        x, planes = layouts.as_planes_or_rows(x, problem.input_shape)
        x = problem.strided(x)  # copied if the stride skips pixels
        return x.contiguous() if planes else x.movedim(1, -1).contiguous(), planes

    def conv(x: Tensor) -> Tensor:
        x, planes = planes_or_rows(x)
        y = new_output(planes)
        scratch = buffers.scratch("pointwise", parts * floats)
        multiply(MULTIPLY, parts, plan_for(planes), x, y, scratch)
        return y

    name, copies = f"product panel={PANEL}", int(max(problem.stride) > 1)
    return layouts.tells_layout(conv, problem.input_shape, (name, 2 + copies), (name, copies))
