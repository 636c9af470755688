"""Winograd's convolution for 3x3 kernels at stride 1: F(2x2), F(4x4) or F(6x6), by size.

Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks.
"""

from __future__ import annotations

import numba
import torch
from torch import Tensor

from convsweep.backend import Conv, Weights
from convsweep.cook_toom import transforms
from convsweep.kernels import buffers
from convsweep.kernels.products import PANEL
from convsweep.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.kernels.winograd_phases import (
    OVERLAP,
    Memory,
    Plan,
    all_blocks,
    shared_blocks,
    shared_inputs,
    shared_outputs,
    shared_products,
)
from convsweep.problem import ConvProblem

LINE_BYTES = 64
BLOCK_BYTES = 2**20


def tile_of(problem: ConvProblem) -> int:
    """How many outputs along each side a tile has: 2, 4 or 6."""
    height, width = problem.output_size
    if problem.batch_size == 1 and max(height, width) <= 7:
        return 2
    return 6 if min(height, width) >= 28 and problem.in_channels <= 128 else 4


def products_of(problem: ConvProblem) -> int:
    """The real multiplications of the second phase, those of tiles that hang over counted."""
    tile = tile_of(problem)
    tiles = problem.batch_size * _tiles(problem.output_size[0], tile)
    tiles *= _tiles(problem.output_size[1], tile)
    return tiles * (tile + OVERLAP) ** 2 * problem.in_channels * problem.out_channels


def _tiles(outputs: int, tile: int) -> int:
    return -(-outputs // tile)


def prepare(problem: ConvProblem, weights: Weights, tile: int | None = None) -> Conv:
    """Transform the weights; `tile` is 2, 4 or 6, by default what suits the problem's size."""
    tile = tile or tile_of(problem)
    threads = torch.get_num_threads()
    plans = {
        last: _plan(problem, tile, threads, channels_last=last) for last in (False, True)
    }
    packed_weights, packed_bias = _packed_weights(weights.dense, tile), _packed_bias(problem, weights)
    size = tile + OVERLAP

    def conv(x: Tensor) -> Tensor:
        channels_last = not x.is_contiguous()
        if channels_last and not x.is_contiguous(memory_format=torch.channels_last):
            x, channels_last = x.contiguous(), False
        plan = plans[channels_last]
        y = _empty(problem, channels_last=channels_last)
        tiles = buffers.scratch("winograd tiles", plan.shares * plan.tiles_bytes // FLOAT_BYTES)
        lines = buffers.scratch("winograd lines", threads * plan.lines_bytes // FLOAT_BYTES)
        memory = Memory(*(t.data_ptr() for t in (x, packed_weights, packed_bias, y, tiles, lines)))
        _run(plan, memory, threads)
        return y

    return conv


def _run(plan: Plan, memory: Memory, threads: int) -> None:
    if threads == 1:
        all_blocks(plan, memory)
        return
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    if plan.bands_of_block < plan.bands:
        shared_blocks(plan, memory)
        return
    shared_inputs(plan, memory)
    shared_products(plan, memory)
    shared_outputs(plan, memory)


def _empty(problem: ConvProblem, *, channels_last: bool) -> Tensor:
    batch, channels, height, width = problem.output_shape
    if not channels_last:
        return buffers.empty(problem.output_shape)
    return buffers.empty((batch, height, width, channels)).permute(0, 3, 1, 2)


def _plan(problem: ConvProblem, tile: int, threads: int, *, channels_last: bool) -> Plan:
    height, width = problem.output_size
    tiles_x, bands_of_image = _tiles(width, tile), _tiles(height, tile)
    bands = problem.batch_size * bands_of_image
    size = tile + OVERLAP
    in_blocks = -(-problem.in_channels // LANES)
    out_blocks = -(-problem.out_channels // PANEL) * PANEL // LANES
    band_bytes = size * size * (in_blocks + out_blocks) * tiles_x * VECTOR_BYTES
    bands_of_block = min(bands, max(1, BLOCK_BYTES // band_bytes))
    step = bands_of_block * tiles_x * VECTOR_BYTES
    input_step, output_step = (_odd_lines(blocks * step) for blocks in (in_blocks, out_blocks))
    lines = max(size * (tiles_x * tile + OVERLAP), tile * tiles_x * tile + tile * size)
    return Plan(
        tile=tile,
        channels_last=int(channels_last),
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
        shares=threads,
        input_step=input_step,
        output_step=output_step,
        tiles_bytes=size * size * (input_step + output_step),
        lines_bytes=_odd_lines(lines * VECTOR_BYTES),
    )


def _odd_lines(size: int) -> int:
    """As many bytes in an odd number of cache lines: steps of a power of 2 fill few of its sets."""
    lines = -(-size // LINE_BYTES)
    return (lines | 1) * LINE_BYTES


def _packed_weights(dense: Tensor, tile: int) -> Tensor:
    """(C_out, C_in, 3, 3) as `[frequency][C_out / PANEL][C_in][PANEL]`, rounded once."""
    G = torch.from_numpy(transforms(tile).G)
    transformed = torch.einsum("fi,ocij,gj->fgco", G, dense.double(), G).flatten(0, 1)
    frequencies, in_channels, out_channels = transformed.shape
    panels = -(-out_channels // PANEL)
    packed = buffers.packed(frequencies * panels * in_channels * PANEL)
    blocks = packed.view(frequencies, panels, in_channels, PANEL).transpose(1, 2)
    for panel in range(panels):
        part = transformed[..., panel * PANEL : (panel + 1) * PANEL]
        blocks[:, :, panel, : part.shape[-1]] = part
    return packed


def _packed_bias(problem: ConvProblem, weights: Weights) -> Tensor:
    """The bias up to a whole panel, then a panel of zeros."""
    packed = buffers.packed((-(-problem.out_channels // PANEL) + 1) * PANEL)
    if weights.bias is not None:
        packed[: problem.out_channels] = weights.bias
    return packed
