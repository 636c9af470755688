"""Winograd's three phases for 3x3 kernels: transform inputs, multiply, transform back.

Images are cut into tiles of `tile` x `tile` outputs, which overlap by 2 in the input; a row of
tiles is a band, and some bands are a block. Phases hand each other `[frequency][channel block]
[tile of the block][LANES]`. Everything is at raw addresses, steps are in bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import prange

from convsweep.cook_toom import transforms
from convsweep.kernels.compiling import inlined, kernel, parallel_kernel
from convsweep.kernels.layouts import (
    block_from_planes,
    block_from_rows,
    planes_from_rows,
    rows_from_rows,
)
from convsweep.kernels.products import PANEL, products
from convsweep.kernels.small_matrices import times, times_plus
from convsweep.kernels.vectors import FLOAT_BYTES, LANES, VECTOR_BYTES, store, zeros

OVERLAP = 2

_F2, _F4, _F6 = transforms(2), transforms(4), transforms(6)
_forward_2, _forward_4, _forward_6 = times(_F2.B.T), times(_F4.B.T), times(_F6.B.T)
_back_2, _back_4, _back_6 = times(_F2.A.T), times(_F4.A.T), times(_F6.A.T)
_back_2_plus, _back_4_plus = times_plus(_F2.A.T), times_plus(_F4.A.T)
_back_6_plus = times_plus(_F6.A.T)


class Plan(NamedTuple):
    """A problem cut into tiles; sizes, and steps in bytes."""

    tile: int
    channels_last: int
    in_channels: int
    out_channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    padding_y: int
    padding_x: int
    tiles_x: int
    bands_of_image: int
    bands: int
    bands_of_block: int
    shares: int
    input_step: int
    output_step: int
    tiles_bytes: int
    lines_bytes: int


class Memory(NamedTuple):
    """Addresses of what the phases work on."""

    x: int
    weights: int
    bias: int
    y: int
    tiles: int
    lines: int


@inlined
def _forward(tile: int, source: int, source_step: int, target: int, target_step: int) -> None:
    if tile == 2:
        _forward_2(source, source_step, target, target_step)
    elif tile == 4:
        _forward_4(source, source_step, target, target_step)
    else:
        _forward_6(source, source_step, target, target_step)


@inlined
def _back(tile: int, source: int, source_step: int, target: int, target_step: int) -> None:
    if tile == 2:
        _back_2(source, source_step, target, target_step)
    elif tile == 4:
        _back_4(source, source_step, target, target_step)
    else:
        _back_6(source, source_step, target, target_step)


@inlined
def _back_plus(
    tile: int, source: int, source_step: int, target: int, target_step: int, plus: int
) -> None:
    if tile == 2:
        _back_2_plus(source, source_step, target, target_step, plus)
    elif tile == 4:
        _back_4_plus(source, source_step, target, target_step, plus)
    else:
        _back_6_plus(source, source_step, target, target_step, plus)


@inlined
def _clear(address: int, vectors: int) -> None:
    for i in range(vectors):
        store(address + i * VECTOR_BYTES, zeros())


@inlined
def _gather(plan: Plan, x: int, band: int, block: int, lines: int, line_step: int) -> None:
    """The padded input lines of a band, up to `LANES` channels of them, as `[line][pixel][LANES]`."""
    image, first = band // plan.bands_of_image, band % plan.bands_of_image * plan.tile
    channel = block * LANES
    channels = min(LANES, plan.in_channels - channel)
    plane_step = plan.height * plan.width * FLOAT_BYTES
    columns = line_step // VECTOR_BYTES
    for i in range(plan.tile + OVERLAP):
        line, row = lines + i * line_step, first + i - plan.padding_y
        if row < 0 or row >= plan.height:
            _clear(line, columns)
            continue
        inside = line + plan.padding_x * VECTOR_BYTES
        _clear(line, plan.padding_x)
        _clear(inside + plan.width * VECTOR_BYTES, columns - plan.padding_x - plan.width)
        if plan.channels_last:
            pixel = (image * plan.height + row) * plan.width
            source = x + (pixel * plan.in_channels + channel) * FLOAT_BYTES
            block_from_rows(
                source, plan.in_channels * FLOAT_BYTES, channels, plan.width, inside
            )
        else:
            plane = image * plan.in_channels + channel
            source = x + plane * plane_step + row * plan.width * FLOAT_BYTES
            block_from_planes(source, plane_step, channels, plan.width, inside)


@inlined
def _scatter(plan: Plan, y: int, band: int, block: int, lines: int, line_step: int) -> None:
    """Write a band of results, up to `LANES` channels of them, to where they belong."""
    image, first = band // plan.bands_of_image, band % plan.bands_of_image * plan.tile
    channel = block * LANES
    channels = min(LANES, plan.out_channels - channel)
    plane_step = plan.out_height * plan.out_width * FLOAT_BYTES
    for i in range(min(plan.tile, plan.out_height - first)):
        line, row = lines + i * line_step, first + i
        if plan.channels_last:
            pixel = (image * plan.out_height + row) * plan.out_width
            target = y + (pixel * plan.out_channels + channel) * FLOAT_BYTES
            rows_from_rows(
                line, VECTOR_BYTES, channels, plan.out_width, target, plan.out_channels * FLOAT_BYTES
            )
        else:
            plane = image * plan.out_channels + channel
            target = y + plane * plane_step + row * plan.out_width * FLOAT_BYTES
            planes_from_rows(line, VECTOR_BYTES, channels, plan.out_width, target, plane_step)


@inlined
def _transform_inputs(
    plan: Plan, x: int, first_band: int, band: int, block: int, tiles: int, lines: int
) -> None:
    """The transforms of a band's tiles, up to `LANES` channels of them; a block of channels."""
    size = plan.tile + OVERLAP
    columns = plan.tiles_x * plan.tile + OVERLAP
    line_step = columns * VECTOR_BYTES
    _gather(plan, x, band, block, lines, line_step)
    for column in range(columns):
        at = lines + column * VECTOR_BYTES
        _forward(plan.tile, at, line_step, at, line_step)
    in_block = plan.bands_of_block * plan.tiles_x
    for tile in range(plan.tiles_x):
        place = block * in_block + (band - first_band) * plan.tiles_x + tile
        target = tiles + place * VECTOR_BYTES
        source = lines + tile * plan.tile * VECTOR_BYTES
        for i in range(size):
            _forward(
                plan.tile,
                source + i * line_step,
                VECTOR_BYTES,
                target + i * size * plan.input_step,
                plan.input_step,
            )


@inlined
def _multiply(plan: Plan, memory: Memory, tiles: int, count: int, first: int, last: int) -> None:
    """The products of some of the pairs of a frequency and a panel of output channels."""
    panels = (plan.out_channels + PANEL - 1) // PANEL
    size = plan.tile + OVERLAP
    step = plan.bands_of_block * plan.tiles_x * VECTOR_BYTES
    outputs = tiles + size * size * plan.input_step
    panel_bytes = plan.in_channels * PANEL * FLOAT_BYTES
    nothing = memory.bias + panels * PANEL * FLOAT_BYTES
    for pair in range(first, last):
        frequency, panel = pair // panels, pair % panels
        products(
            tiles + frequency * plan.input_step,
            VECTOR_BYTES,
            step,
            count,
            memory.weights + pair * panel_bytes,
            PANEL * FLOAT_BYTES,
            plan.in_channels,
            nothing,
            0,
            VECTOR_BYTES,
            outputs + frequency * plan.output_step + panel * 2 * step,
            VECTOR_BYTES,
            step,
        )


@inlined
def _transform_back(
    plan: Plan, memory: Memory, first_band: int, band: int, block: int, tiles: int, lines: int
) -> None:
    """The outputs of a band's tiles, up to `LANES` channels of them; a block of channels."""
    size = plan.tile + OVERLAP
    line_step = plan.tiles_x * plan.tile * VECTOR_BYTES
    inner = lines + plan.tile * line_step
    inner_step = size * VECTOR_BYTES
    bias = memory.bias + block * VECTOR_BYTES
    in_block = plan.bands_of_block * plan.tiles_x
    outputs = tiles + size * size * plan.input_step
    for tile in range(plan.tiles_x):
        place = block * in_block + (band - first_band) * plan.tiles_x + tile
        source = outputs + place * VECTOR_BYTES
        target = lines + tile * plan.tile * VECTOR_BYTES
        for j in range(size):
            _back(
                plan.tile,
                source + j * plan.output_step,
                size * plan.output_step,
                inner + j * VECTOR_BYTES,
                inner_step,
            )
        for i in range(plan.tile):
            _back_plus(
                plan.tile,
                inner + i * inner_step,
                VECTOR_BYTES,
                target + i * line_step,
                VECTOR_BYTES,
                bias,
            )
    _scatter(plan, memory.y, band, block, lines, line_step)


@inlined
def _blocks_of(channels: int) -> int:
    return (channels + LANES - 1) // LANES


@inlined
def _pairs(plan: Plan) -> int:
    return (plan.tile + OVERLAP) ** 2 * ((plan.out_channels + PANEL - 1) // PANEL)


@inlined
def _one_block(plan: Plan, memory: Memory, first: int, tiles: int, lines: int) -> None:
    last = min(first + plan.bands_of_block, plan.bands)
    for band in range(first, last):
        for block in range(_blocks_of(plan.in_channels)):
            _transform_inputs(plan, memory.x, first, band, block, tiles, lines)
    _multiply(plan, memory, tiles, (last - first) * plan.tiles_x, 0, _pairs(plan))
    for band in range(first, last):
        for block in range(_blocks_of(plan.out_channels)):
            _transform_back(plan, memory, first, band, block, tiles, lines)


@kernel
def all_blocks(plan: Plan, memory: Memory) -> None:
    """Block after block, each through all phases while it is in the cache."""
    for first in range(0, plan.bands, plan.bands_of_block):
        _one_block(plan, memory, first, memory.tiles, memory.lines)


@parallel_kernel
def shared_blocks(plan: Plan, memory: Memory) -> None:
    """Blocks dealt to threads, each with memory of its own."""
    blocks = (plan.bands + plan.bands_of_block - 1) // plan.bands_of_block
    for share in prange(plan.shares):
        tiles = memory.tiles + share * plan.tiles_bytes
        lines = memory.lines + share * plan.lines_bytes
        for i in range(blocks * share // plan.shares, blocks * (share + 1) // plan.shares):
            _one_block(plan, memory, i * plan.bands_of_block, tiles, lines)


@parallel_kernel
def shared_inputs(plan: Plan, memory: Memory) -> None:
    """The first phase of a problem that is one block."""
    work = plan.bands * _blocks_of(plan.in_channels)
    for share in prange(plan.shares):
        lines = memory.lines + share * plan.lines_bytes
        for i in range(work * share // plan.shares, work * (share + 1) // plan.shares):
            band, block = i % plan.bands, i // plan.bands
            _transform_inputs(plan, memory.x, 0, band, block, memory.tiles, lines)


@parallel_kernel
def shared_products(plan: Plan, memory: Memory) -> None:
    """The second phase of a problem that is one block."""
    work, count = _pairs(plan), plan.bands * plan.tiles_x
    for share in prange(plan.shares):
        first, last = work * share // plan.shares, work * (share + 1) // plan.shares
        _multiply(plan, memory, memory.tiles, count, first, last)


@parallel_kernel
def shared_outputs(plan: Plan, memory: Memory) -> None:
    """The third phase of a problem that is one block."""
    work = plan.bands * _blocks_of(plan.out_channels)
    for share in prange(plan.shares):
        lines = memory.lines + share * plan.lines_bytes
        for i in range(work * share // plan.shares, work * (share + 1) // plan.shares):
            band, block = i % plan.bands, i // plan.bands
            _transform_back(plan, memory, 0, band, block, memory.tiles, lines)
