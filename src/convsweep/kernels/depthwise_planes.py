"""Depthwise convolution of contiguous tensors: lanes are pixels of a row, one channel at a time.

A band of a plane is copied between its padding, columns that are a stride apart side by side: then
any output row reads neighbours. Nothing is transposed, and channels need no multiple of anything.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import carray

from convsweep.kernels.compiling import inlined
from convsweep.kernels.depthwise_tile import run
from convsweep.kernels.depthwise_work import worker
from convsweep.kernels.vectors import (
    FLOAT_BYTES,
    LANES,
    VECTOR_BYTES,
    deinterleave,
    load,
    load_float,
    store,
    store_float,
    zeros,
)


@inlined
def _clear(row: int, first: int, last: int) -> None:
    """Zeros from one column to another, and up to a vector beyond."""
    for column in range(first, last, LANES):
        store(row + column * FLOAT_BYTES, zeros())


@inlined
def _copy_row(source: int, width: int, end: int, target: int) -> None:
    """Copy a row; up to a vector beyond it is written too, and read where that is before `end`."""
    if width >= LANES:
        for first in range(0, width, LANES):
            offset = min(first, width - LANES) * FLOAT_BYTES
            store(target + offset, load(source + offset))
    elif source + VECTOR_BYTES <= end:
        store(target, load(source))
    else:
        for column in range(width):
            store_float(target + column * FLOAT_BYTES, load_float(source + column * FLOAT_BYTES))


@inlined
def _split_row(source: int, width: int, end: int, left: int, target: int, phase: int) -> None:
    """Copy a row, its even and odd columns apart by `phase`; beyond it as `_copy_row` does."""
    whole = width if source + (width + 2 * LANES) * FLOAT_BYTES <= end else width - 2 * LANES + 1
    for first in range(0, whole, 2 * LANES):
        place = first + left
        even = target + place % 2 * phase + place // 2 * FLOAT_BYTES
        odd = target + (place + 1) % 2 * phase + (place + 1) // 2 * FLOAT_BYTES
        deinterleave(source + first * FLOAT_BYTES, even, odd)
    if whole == width:
        return
    for column in range(max(0, whole + 2 * LANES - 1) // (2 * LANES) * 2 * LANES, width):
        place = column + left
        spot = target + place % 2 * phase + place // 2 * FLOAT_BYTES
        store_float(spot, load_float(source + column * FLOAT_BYTES))


@inlined
def _deal_row(source: int, width: int, left: int, target: int, phase: int, stride: int) -> None:
    """Copy a row, its columns dealt to so many phases."""
    for column in range(width):
        place = column + left
        spot = target + place % stride * phase + place // stride * FLOAT_BYTES
        store_float(spot, load_float(source + column * FLOAT_BYTES))


@inlined
def _padded_row(
    source: int, width: int, end: int, left: int, needed: int, target: int, phase: int, stride: int
) -> None:
    """A row between its padding, as `stride` phases: column c is `c // stride` of `c % stride`."""
    if stride > 2:
        for q in range(stride):
            _clear(target + q * phase, 0, (needed + stride - 1) // stride)
        _deal_row(source, width, left, target, phase, stride)
        return
    for q in range(stride):
        _clear(target + q * phase, 0, (left + stride - 1 - q) // stride)
    if stride == 1:
        _copy_row(source, width, end, target + left * FLOAT_BYTES)
    else:
        _split_row(source, width, end, left, target, phase)
    for q in range(stride):
        first = (left + width + stride - 1 - q) // stride
        _clear(target + q * phase, first, (needed + stride - 1) // stride)


@inlined
def _narrow_rows(tile: int, rows: int, width: int, y: int) -> None:
    """Rows of less than a vector, from one a vector to side by side; nothing beyond the last."""
    for row in range(rows):
        source, target = tile + row * VECTOR_BYTES, y + row * width * FLOAT_BYTES
        if (rows - row) * width >= LANES:
            store(target, load(source))
        else:
            for offset in range(0, width * FLOAT_BYTES, FLOAT_BYTES):
                store_float(target + offset, load_float(source + offset))


@cache
def planes_worker(taps: int, stride: int, count: int) -> Any:
    """The worker for contiguous tensors: `taps` in a column of the kernel, `count` output rows.

    Its lines are the columns of the kernel, or all its taps where `taps` is 1.
    """

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = carray(plan, 1)[0]
        width, out_width, out_height, needed = p.width, p.out_width, p.out_height, p.needed
        bands, stride_w, start = p.bands, p.stride_w, p.start
        phase = p.pitch * FLOAT_BYTES
        row_step = phase * stride_w
        x_step = row_step if taps > 1 else row_step * p.stride_h
        end = x + p.images * p.channels * p.height * width * FLOAT_BYTES
        tile, padded = scratch + part * p.scratch_bytes, scratch + part * p.scratch_bytes
        padded += (out_height // bands + 1) * VECTOR_BYTES
        units = p.images * p.channels * bands
        for unit in range(part * units // parts, (part + 1) * units // parts):
            plane, band = unit // bands, unit % bands
            channel = plane % p.channels
            first = band * out_height // bands
            rows = (band + 1) * out_height // bands - first
            top = first * p.stride_h - p.top
            for i in range((rows - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h + 1):
                row = padded + i * row_step
                if 0 <= top + i < p.height:
                    source = x + (plane * p.height + top + i) * width * FLOAT_BYTES
                    _padded_row(source, width, end, p.left, needed, row, phase, stride_w)
                else:
                    _clear(row, 0, row_step // FLOAT_BYTES)
            weights = p.weights + channel * p.weights_step
            bias = start + channel * FLOAT_BYTES
            target = y + (plane * out_height + first) * out_width * FLOAT_BYTES
            for column in range(0, out_width, LANES):
                at = max(0, min(column, out_width - LANES)) * FLOAT_BYTES
                narrow = out_width < LANES
                run(
                    padded + at, x_step, p.offsets, p.lines, weights, bias,
                    tile if narrow else target + at,
                    VECTOR_BYTES if narrow else out_width * FLOAT_BYTES,
                    rows, taps, stride, count, True,
                )  # fmt: skip
                if narrow:
                    _narrow_rows(tile, rows, out_width, target)

    return worker(work)
