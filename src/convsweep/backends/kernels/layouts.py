"""Conversion between PyTorch's layouts and blocks of `LANES` channels, `[pixel][LANES]`.

Contiguous tensors consist of planes, one per channel; blocks are transposes of them. channels_last
tensors consist of rows of all channels, one per pixel; blocks are parts of the rows.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from convsweep.backends.base import Conv, Implementation, tells
from convsweep.backends.kernels import buffers
from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    QUAD,
    VECTOR_BYTES,
    clipped,
    copy_quad,
    float_of,
    load,
    load_float,
    store,
    store_float,
    transpose,
    transpose_columns,
    transpose_rows,
    zeros,
)
from convsweep.backends.tensor_layout import check_input, is_channels_last


def relu_bits(relu: float) -> int:
    """Return the bits of the bound of a ReLU in float32; 0 for none."""
    return int(np.float32(relu).view(np.int32))


@inlined
def clear_vectors(address: int, count: int) -> None:
    """Write zeros to `count` vectors."""
    for i in range(count):
        store(address + i * VECTOR_BYTES, zeros())


@inlined
def clip_vectors(address: int, step: int, count: int, relu: int) -> None:
    """Compute ReLU of `count` vectors, `step` bytes apart; `relu` has the bits of its bound."""
    high = float_of(relu)
    for i in range(count):
        store(address + i * step, clipped(load(address + i * step), high))


@inlined
def clip_floats(address: int, count: int, relu: int) -> None:
    """Compute ReLU of `count` adjacent floats; `relu` has the bits of its bound."""
    high = float_of(relu)
    if count >= LANES:
        for i in range(0, count, LANES):
            at = address + min(i, count - LANES) * FLOAT_BYTES
            store(at, clipped(load(at), high))
        return
    for i in range(count):
        at = address + i * FLOAT_BYTES
        if load_float(at) < 0:
            store_float(at, np.float32(0))
        elif load_float(at) > high:
            store_float(at, high)


@inlined
def block_from_planes(planes: int, plane_step: int, channels: int, pixels: int, block: int) -> None:
    """Copy pixels of up to `LANES` planes to `[pixel][LANES]`; missing channels are zeros."""
    if channels < LANES:
        clear_vectors(block, pixels)
    planes_from_rows(planes, plane_step, pixels, channels, block, VECTOR_BYTES)


@inlined
def block_from_rows(rows: int, row_step: int, channels: int, pixels: int, block: int) -> None:
    """Copy up to `LANES` channels of rows to `[pixel][LANES]`; missing channels are zeros."""
    if channels < LANES:
        clear_vectors(block, pixels)
    rows_from_rows(rows, row_step, channels, pixels, block, VECTOR_BYTES)


@inlined
def planes_from_rows(
    rows: int, row_step: int, channels: int, pixels: int, planes: int, plane_step: int
) -> None:
    """Copy the channels of rows, `row_step` bytes apart, to planes; write nothing else.

    Where the sizes are no multiples of a part, the last part overlaps the one before it.
    """
    if pixels < QUAD or channels < QUAD or max(pixels, channels) < LANES:
        for channel in range(channels):
            for pixel in range(pixels):
                value = load_float(rows + pixel * row_step + channel * FLOAT_BYTES)
                store_float(planes + channel * plane_step + pixel * FLOAT_BYTES, value)
        return
    high, wide = LANES if pixels >= LANES else QUAD, LANES if channels >= LANES else QUAD
    for start in range(0, channels, wide):
        channel = min(start, channels - wide)
        for first in range(0, pixels, high):
            pixel = min(first, pixels - high)
            source = rows + pixel * row_step + channel * FLOAT_BYTES
            target = planes + channel * plane_step + pixel * FLOAT_BYTES
            if high == wide:
                transpose(source, row_step, target, plane_step)
            elif high == LANES:
                transpose_columns(source, row_step, target, plane_step)
            else:
                transpose_rows(source, row_step, target, plane_step)


@inlined
def copy_floats(source: int, target: int, count: int) -> None:
    """Copy floats in vectors, of which the last one overlaps the one before it; write no more."""
    if count >= LANES:
        for start in range(0, count, LANES):
            offset = min(start, count - LANES) * FLOAT_BYTES
            store(target + offset, load(source + offset))
    elif count >= QUAD:
        for start in range(0, count, QUAD):
            offset = min(start, count - QUAD) * FLOAT_BYTES
            copy_quad(source + offset, target + offset)
    else:
        for offset in range(0, count * FLOAT_BYTES, FLOAT_BYTES):
            store_float(target + offset, load_float(source + offset))


@inlined
def rows_from_rows(
    rows: int, row_step: int, channels: int, pixels: int, target: int, target_step: int
) -> None:
    """Copy the channels of rows to rows with another step; write nothing else."""
    if channels == LANES:
        for pixel in range(pixels):
            store(target + pixel * target_step, load(rows + pixel * row_step))
    else:
        for pixel in range(pixels):
            copy_floats(rows + pixel * row_step, target + pixel * target_step, channels)


def as_planes_or_rows(x: Tensor, shape: Sequence[int]) -> tuple[Tensor, bool]:
    """Return the input in a layout for kernels, and whether it consists of planes, not of rows.

    A single pixel is a row. Layouts other than PyTorch's two are made contiguous.

    Raises:
        ValueError: an input of another shape, or not in float32: kernels read raw memory.
    """
    check_input(x, shape)
    if is_channels_last(x):
        return x, False
    return x.contiguous(), math.prod(x.shape[2:]) > 1


def output_maker(shape: Sequence[int]) -> Callable[[bool], Tensor]:
    """Return a function of `planes` for new memory: (N, C_out, *output_size), in planes or rows."""
    batch_size, channels, *size = shape
    rows = torch.empty((batch_size, *size, channels), device="meta").movedim(-1, 1).stride()
    strides = {True: torch.empty(shape, device="meta").stride(), False: rows}
    return lambda planes: buffers.empty(shape, strides[planes])


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
