"""Conversion between PyTorch's layouts and blocks of `LANES` channels, `[pixel][LANES]`.

Contiguous tensors consist of planes, one per channel; blocks are transposes of them. channels_last
tensors consist of rows of all channels, one per pixel; blocks are parts of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from convsweep.backends.base import Conv, Implementation, tells
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    clipped,
    load,
    load_float,
    store,
    store_float,
    transpose,
    zeros,
)
from convsweep.backends.tensor_layout import check_input, is_channels_last


@inlined
def clear_vectors(address: int, count: int) -> None:
    """Write zeros to `count` vectors."""
    for i in range(count):
        store(address + i * VECTOR_BYTES, zeros())


@inlined
def clip_vectors(address: int, step: int, count: int) -> None:
    """Replace negative numbers by zeros in `count` vectors, `step` bytes apart."""
    for i in range(count):
        store(address + i * step, clipped(load(address + i * step)))


@inlined
def block_from_planes(planes: int, plane_step: int, channels: int, pixels: int, block: int) -> None:
    """Copy pixels of up to `LANES` planes to `[pixel][LANES]`; missing channels are zeros."""
    if channels < LANES or pixels < LANES:
        _block_from_floats(planes, FLOAT_BYTES, plane_step, channels, pixels, block)
        return
    for start in range(0, pixels, LANES):
        pixel = min(start, pixels - LANES)  # the last transpose overlaps the one before it
        source, target = planes + pixel * FLOAT_BYTES, block + pixel * VECTOR_BYTES
        transpose(source, plane_step, target, VECTOR_BYTES)


@inlined
def block_from_rows(rows: int, row_step: int, channels: int, pixels: int, block: int) -> None:
    """Copy up to `LANES` channels of rows to `[pixel][LANES]`; missing channels are zeros."""
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
    """Copy the channels of rows, `row_step` bytes apart, to planes; write nothing else."""
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
    """Copy the channels of rows to rows with another step; write nothing else."""
    whole = channels // LANES * LANES
    for pixel in range(pixels):
        source, sink = rows + pixel * row_step, target + pixel * target_step
        for channel in range(0, whole, LANES):
            store(sink + channel * FLOAT_BYTES, load(source + channel * FLOAT_BYTES))
        for channel in range(whole, channels):
            offset = channel * FLOAT_BYTES
            store_float(sink + offset, load_float(source + offset))


def as_planes_or_rows(x: Tensor, shape: Sequence[int]) -> tuple[Tensor, bool]:
    """Return the input in a layout for kernels, and whether it consists of planes, not of rows.

    A single pixel is a row. Layouts other than PyTorch's two are made contiguous.

    Raises:
        ValueError: an input of another shape, or not in float32: kernels read raw memory.
    """
    check_input(x, shape)
    if math.prod(x.shape[2:]) == 1:
        return x.contiguous(), False
    return (x, False) if is_channels_last(x) else (x.contiguous(), True)


def empty_output(shape: Sequence[int], planes: bool) -> Tensor:
    """Return new memory for (N, C_out, *output_size), in planes or in rows."""
    if planes:
        return buffers.empty(shape)
    batch_size, channels, *size = shape
    return buffers.empty((batch_size, *size, channels)).movedim(-1, 1)


def tells_layout(
    conv: Conv, shape: Sequence[int], planes: tuple[str, int], rows: tuple[str, int]
) -> Conv:
    """Let a kernel tell its name and conversions of layout, for planes and for rows of pixels.

    A conversion counts once per tensor, although kernels convert block by block.
    """

    def implementation(x: Tensor) -> Implementation:
        given, is_planes = as_planes_or_rows(x, shape)
        name, reorders = planes if is_planes else rows
        return Implementation(f"{name} lanes={LANES}", reorders + (given is not x))

    return tells(conv, implementation)
