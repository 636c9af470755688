"""Between PyTorch's layouts and blocks of `LANES` channels: `[pixel][LANES]`, channels as lanes.

Pixels of contiguous tensors lie in planes, one for each channel: blocks are their transposes.
Pixels of channels_last tensors lie in rows of all channels: blocks are parts of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.instructions import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.vectors import load, load_float, store, store_float, transpose
from convsweep.backends.tensor_layout import check_input


@inlined
def block_from_planes(planes: int, plane_step: int, channels: int, pixels: int, block: int) -> None:
    """A run of pixels of up to `LANES` planes as `[pixel][LANES]`; absent channels are zeros."""
    if channels < LANES or pixels < LANES:
        _block_from_floats(planes, FLOAT_BYTES, plane_step, channels, pixels, block)
        return
    for start in range(0, pixels, LANES):
        pixel = min(start, pixels - LANES)  # the last transpose overlaps the one before it
        source, target = planes + pixel * FLOAT_BYTES, block + pixel * VECTOR_BYTES
        transpose(source, plane_step, target, VECTOR_BYTES)


@inlined
def block_from_rows(rows: int, row_step: int, channels: int, pixels: int, block: int) -> None:
    """Up to `LANES` channels of a run of rows as `[pixel][LANES]`; absent channels are zeros."""
    if channels < LANES:
        _block_from_floats(rows, row_step, FLOAT_BYTES, channels, pixels, block)
        return
    for pixel in range(pixels):
        store(block + pixel * VECTOR_BYTES, load(rows + pixel * row_step))


@inlined
def _block_from_floats(
    source: int, pixel_step: int, channel_step: int, channels: int, pixels: int, block: int
) -> None:
    for pixel in range(pixels):
        source_pixel, block_pixel = source + pixel * pixel_step, block + pixel * VECTOR_BYTES
        for channel in range(channels):
            value = load_float(source_pixel + channel * channel_step)
            store_float(block_pixel + channel * FLOAT_BYTES, value)
        for channel in range(channels, LANES):
            store_float(block_pixel + channel * FLOAT_BYTES, np.float32(0))


@inlined
def planes_from_rows(
    rows: int, row_step: int, channels: int, pixels: int, planes: int, plane_step: int
) -> None:
    """Write the channels of a run of rows, `row_step` bytes apart, into planes; nothing beside."""
    whole = channels // LANES * LANES if pixels >= LANES else 0
    for channel in range(0, whole, LANES):
        for start in range(0, pixels, LANES):
            pixel = min(start, pixels - LANES)
            source = rows + pixel * row_step + channel * FLOAT_BYTES
            target = planes + channel * plane_step + pixel * FLOAT_BYTES
            transpose(source, row_step, target, plane_step)
    for channel in range(whole, channels):
        for pixel in range(pixels):
            value = load_float(rows + pixel * row_step + channel * FLOAT_BYTES)
            store_float(planes + channel * plane_step + pixel * FLOAT_BYTES, value)


@inlined
def rows_from_rows(
    rows: int, row_step: int, channels: int, pixels: int, target: int, target_step: int
) -> None:
    """Copy the channels of a run of rows to rows of another step; nothing beside them."""
    whole = channels // LANES * LANES
    for pixel in range(pixels):
        source, sink = rows + pixel * row_step, target + pixel * target_step
        for channel in range(0, whole, LANES):
            store(sink + channel * FLOAT_BYTES, load(source + channel * FLOAT_BYTES))
        for channel in range(whole, channels):
            offset = channel * FLOAT_BYTES
            store_float(sink + offset, load_float(source + offset))


def laid_out(x: Tensor, shape: Sequence[int]) -> tuple[Tensor, bool]:
    """The input in a layout that kernels take, and whether its pixels lie in planes, not in rows.

    A single pixel is a row, as it is. Other layouts than PyTorch's two are made contiguous.

    Raises:
        ValueError: an input of another shape, or not in float32: kernels read raw memory.
    """
    check_input(x, shape)
    if math.prod(x.shape[2:]) == 1:
        return x.contiguous(), False
    if x.is_contiguous() or not x.movedim(1, -1).is_contiguous():
        return x.contiguous(), True
    return x, False


def answer(shape: Sequence[int], planes: bool) -> Tensor:
    """Fresh memory for (N, C_out, *output_size), its pixels in planes or in rows."""
    if planes:
        return buffers.empty(shape)
    batch_size, channels, *size = shape
    return buffers.empty((batch_size, *size, channels)).movedim(-1, 1)
