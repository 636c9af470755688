"""Winograd convolution for 3x3 kernels at stride 1: F(2x2), F(4x4) or F(6x6), by size.

Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks.
"""

from functools import cache, partial

import torch
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels import winograd_phases as phases
from convsweep.backends.kernels.compiling import threads
from convsweep.backends.kernels.launch import record
from convsweep.backends.kernels.layouts import output_maker, relu_bits, tells_layout
from convsweep.backends.kernels.pointwise import packed_start
from convsweep.backends.kernels.products import PANEL, STREAMED_PRODUCTS
from convsweep.backends.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.winograd_phases import WinogradPlan
from convsweep.backends.kernels.winograd_tiles import (
    OVERLAP,
    best_tile,
    frequencies,
    seconds,
    tiles_across,
    tiles_per_reading,
    weights_stay,
)
from convsweep.backends.kernels.working_sets import working_sets
from convsweep.backends.steps import is_timed, step
from convsweep.backends.tensor_layout import check_input
from convsweep.backends.winograd_transforms import transforms
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine

MAX_IMBALANCE = 1.1
"""Largest share of a thread relative to the mean; above, all threads share each phase."""
SHARING_S = 20e-6  # time to start three phases on several threads, which exchange data between them


def prepare(
    problem: ConvProblem,
    weights: Weights,
    tile: int | None = None,
    machine: Machine | None = None,
    *,
    relu: float = 0.0,
) -> Conv:
    """Transform the weights; `tile` is 2, 4 or 6, by default the best one on the machine."""
    tile = tile or best_tile(problem, machine)
    parts = threads()
    plan = planned(problem, tile, parts, machine)
    panels = -(-problem.out_channels // PANEL)
    matrices = _packed_weights(weights.dense, tile)
    start = packed_start(weights.bias, (panels + 1) * PANEL)  # the last panel is zeros
    in_blocks = plan.bands_of_block < plan.bands
    tiles_floats = plan.tiles_bytes // FLOAT_BYTES * (parts if in_blocks else 1)
    lines_floats = plan.lines_bytes // FLOAT_BYTES * parts
    # For a stopwatch, one thread runs the phases of each block apart.
    fused = in_blocks if parts > 1 else not is_timed()
    workers = phases.FUSED if fused else phases.PHASES
    size = plan.bands if fused else plan.bands_of_block
    launches = [
        step(name)(partial(phases.start, worker, first, min(first + size, plan.bands), parts))
        for first in range(0, plan.bands, size)
        for name, worker in workers.items()
    ]
    new_output = step("allocate")(output_maker(problem.output_shape))

    @cache
    def plan_for(planes: bool) -> Tensor:
        complete = plan._replace(
            channels_last=int(not planes),
            relu=relu_bits(relu),
            weights=matrices.data_ptr(),
            bias=start.data_ptr(),
        )
        return record(complete, micro_kernel=STREAMED_PRODUCTS, **phases.PHASES)

    def conv(x: Tensor) -> Tensor:
        check_input(x, problem.input_shape)
        planes = x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last)
        x = x.contiguous() if planes else x
        y = new_output(planes)
        tiles = buffers.scratch("winograd tiles", tiles_floats)
        lines = buffers.scratch("winograd lines", lines_floats)
        addresses = [tensor.data_ptr() for tensor in (plan_for(planes), x, y, tiles, lines)]
        for launch in launches:
            launch(addresses)
        return y

    name = f"F({tile}x{tile},3x3) panel={PANEL}"
    return tells_layout(conv, problem.input_shape, (name, 2), (name, 0))


def planned(
    problem: ConvProblem, tile: int, parts: int, machine: Machine | None = None
) -> WinogradPlan:
    """Divide the bands of tiles into blocks: few enough for the cache, enough per reading."""
    height, width = problem.output_size
    tiles_x, bands_of_image = tiles_across(width, tile), tiles_across(height, tile)
    bands = problem.batch_size * bands_of_image
    in_blocks = tiles_across(problem.in_channels, LANES)
    out_blocks = tiles_across(problem.out_channels, PANEL) * PANEL // LANES
    band_bytes = frequencies(tile) * (in_blocks + out_blocks) * tiles_x * VECTOR_BYTES
    at_best = max(
        tiles_across(tiles_per_reading(problem, tile, machine), tiles_x),
        working_sets(machine).tiles // band_bytes,
    )
    patience_s = SHARING_S if weights_stay(problem, tile, machine) else 0.0
    bands_of_block = _bands_of_block(
        bands, at_best, parts, patience_s / seconds(problem, tile, machine)
    )
    step = bands_of_block * tiles_x * VECTOR_BYTES
    input_step, output_step = (_odd_lines(blocks * step) for blocks in (in_blocks, out_blocks))
    size = tile + OVERLAP
    lines = max(size * (tiles_x * tile + OVERLAP), tile * (tiles_x * tile + size))
    return WinogradPlan(
        tile=tile,
        in_channels=problem.in_channels,
        out_channels=problem.out_channels,
        height=problem.input_size[0],
        width=problem.input_size[1],
        out_height=height,
        out_width=width,
        padding_y=problem.padding[0],
        padding_x=problem.padding[1],
        tiles_x=tiles_x,
        bands_of_image=bands_of_image,
        bands=bands,
        bands_of_block=bands_of_block,
        input_step=input_step,
        output_step=output_step,
        tiles_bytes=frequencies(tile) * (input_step + output_step),
        lines_bytes=_odd_lines(lines * VECTOR_BYTES),
    )


def _bands_of_block(bands: int, at_best: int, parts: int, sharing: float) -> int:
    """Return the bands per block; all of them if all threads share each phase.

    `sharing` is the time that this takes, relative to that of one thread for all bands. Blocks of a
    thread are about equal: a small last one would read all weights for few tiles.
    """
    share = tiles_across(bands, parts)
    imbalance = share * parts / bands
    waiting = (imbalance - 1) / parts
    if waiting >= sharing and (at_best >= share or imbalance > MAX_IMBALANCE):
        return bands
    return tiles_across(share, max(1, share // at_best))


def _odd_lines(size: int) -> int:
    """Round up to an odd number of cache lines: steps of a power of 2 use few cache sets."""
    lines = -(-size // buffers.ALIGNMENT_BYTES)
    return (lines | 1) * buffers.ALIGNMENT_BYTES


def _packed_weights(dense: Tensor, tile: int) -> Tensor:
    """Pack (C_out, C_in, 3, 3) as `[frequency][C_out / PANEL][C_in][PANEL]`, rounded once."""
    G = torch.from_numpy(transforms(tile).G)
    transformed = torch.einsum("fi,ocij,gj->fgco", G, dense.double(), G).flatten(0, 1)
    frequencies, in_channels, out_channels = transformed.shape
    panels = -(-out_channels // PANEL)
    packed = buffers.packed(frequencies * panels * in_channels * PANEL)
    blocks = packed.view(frequencies, panels, in_channels, PANEL)
    for panel, part in enumerate(transformed.split(PANEL, -1)):
        blocks[:, panel, :, : part.shape[-1]] = part
    return packed
