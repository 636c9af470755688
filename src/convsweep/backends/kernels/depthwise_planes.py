"""Depthwise convolution of contiguous tensors: lanes are pixels of a row, one channel at a time.

A band of a plane is padded, then multiplied. Nothing is transposed, for any number of channels.

With a stride, column c goes to place `c // stride` of phase `c % stride`, so that inputs of
neighbouring outputs are neighbours. Copies and zeros reach up to two vectors beyond their end: rows
need this extra room.

Rows of sequences, whose kernel is one row high, are read in place. Only the tiles at both ends of a
row, which need padding, are copied.
"""

from functools import cache
from typing import Any

import numba

from convsweep.backends.kernels import layouts
from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.depthwise_tile import run, run_apart, tile
from convsweep.backends.kernels.depthwise_work import WORKER, finish
from convsweep.backends.kernels.streaming import fence
from convsweep.backends.kernels.vectors import (
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

BUFFERS = 2  # the next band is copied before this one is multiplied


@inlined
def _clear(row: int, first: int, last: int) -> None:
    """Write zeros from one column to another, and up to one vector beyond."""
    column = first
    while column < last:
        store(row + column * FLOAT_BYTES, zeros())
        column += LANES


@inlined
def _padded_rows(
    source: int, rows: int, width: int, end: int, left: int, needed: int, target: int, step: int
) -> None:
    """Copy rows, `step` apart, with `left` columns of zeros before and up to `needed` columns.

    Nothing from `end` on is read.
    """
    for row in range(rows):
        row_source, row_target = source + row * width * FLOAT_BYTES, target + row * step
        _clear(row_target, 0, left)
        middle = row_target + left * FLOAT_BYTES
        if width >= LANES:
            last = (width - LANES) * FLOAT_BYTES
            offset = 0
            while offset < last:
                store(middle + offset, load(row_source + offset))
                offset += VECTOR_BYTES
            store(middle + last, load(row_source + last))
        elif row_source + VECTOR_BYTES <= end:
            store(middle, load(row_source))
        else:
            layouts.copy_floats(row_source, middle, width)
        _clear(row_target, left + width, needed)


@inlined
def _padded_even_odd(
    source: int, rows: int, width: int, end: int, left: int, needed: int, target: int, step: int,
    phase: int,
) -> None:  # fmt: skip
    """Copy as `_padded_rows`, with odd columns `phase` bytes after even ones."""
    first = left % 2 * phase + left // 2 * FLOAT_BYTES  # where column 0 of the input goes
    second = (left + 1) % 2 * phase + (left + 1) // 2 * FLOAT_BYTES
    even_right, odd_right = (left + width + 1) // 2, (left + width) // 2
    last = (needed + 1) // 2
    for row in range(rows):
        row_source, row_target = source + row * width * FLOAT_BYTES, target + row * step
        _clear(row_target, 0, (left + 1) // 2)
        _clear(row_target + phase, 0, left // 2)
        column, offset = 0, 0
        while column < width and row_source + (column + 2 * LANES) * FLOAT_BYTES <= end:
            deinterleave(
                row_source + column * FLOAT_BYTES,
                row_target + first + offset,
                row_target + second + offset,
            )
            column += 2 * LANES
            offset += VECTOR_BYTES
        while column < width:
            spot = row_target + (second if column % 2 else first) + column // 2 * FLOAT_BYTES
            store_float(spot, load_float(row_source + column * FLOAT_BYTES))
            column += 1
        _clear(row_target, even_right, last)
        _clear(row_target + phase, odd_right, last)


@inlined
def _padded_phases(
    source: int, rows: int, width: int, left: int, needed: int, target: int, step: int,
    phase: int, stride: int,
) -> None:  # fmt: skip
    """Copy as `_padded_rows`, with columns distributed to `stride` phases."""
    for row in range(rows):
        row_source, row_target = source + row * width * FLOAT_BYTES, target + row * step
        for q in range(stride):
            _clear(row_target + q * phase, 0, (needed + stride - 1) // stride)
        for column in range(width):
            place = column + left
            spot = row_target + place % stride * phase + place // stride * FLOAT_BYTES
            store_float(spot, load_float(row_source + column * FLOAT_BYTES))


@inlined
def _place(p: Any, unit: int) -> tuple[int, int, int]:
    """Return the plane of a unit of work, and the first and last row of its band.

    Whole planes avoid the division, which takes as long as the products of a small plane.
    """
    if p.bands == 1:
        return unit, 0, p.out_height
    plane = unit // p.bands
    band = unit - plane * p.bands
    return plane, band * p.out_height // p.bands, (band + 1) * p.out_height // p.bands


@inlined
def _pad(p: Any, unit: int, fresh: bool, x: int, target: int) -> None:
    """Copy a band of a plane with its padding; zeros are kept between whole planes."""
    plane, first, last = _place(p, unit)
    top = first * p.stride_h - p.top
    below = top + (last - first - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h + 1
    phase = p.pitch * FLOAT_BYTES
    step = phase * p.stride_w
    some, most = min(max(top, 0), below), max(min(below, p.height), top)
    most = max(most, some)
    source = x + (plane * p.height + some) * p.width * FLOAT_BYTES
    end = x + p.images * p.channels * p.height * p.width * FLOAT_BYTES
    at = target + (some - top) * step
    kept = p.bands == 1 and not fresh
    if not kept:
        _clear(target, 0, (some - top) * step // FLOAT_BYTES)
        _clear(target + (most - top) * step, 0, (below - most) * step // FLOAT_BYTES)
    if p.stride_w == 1:
        if kept and p.width >= LANES:
            _padded_rows(source, most - some, p.width, end, 0, 0, at + p.left * FLOAT_BYTES, step)
        else:
            _padded_rows(source, most - some, p.width, end, p.left, p.needed, at, step)
    elif p.stride_w == 2:
        _padded_even_odd(source, most - some, p.width, end, p.left, p.needed, at, step, phase)
    else:
        _padded_phases(source, most - some, p.width, p.left, p.needed, at, step, phase, p.stride_w)


@inlined
def _finish(p: Any, tile: int, rows: int, y: int) -> None:
    """Compute ReLU, and copy output rows that were not written to `y` directly."""
    if p.out_width >= LANES:
        finish(p, tile, y, rows * p.out_width)
        return
    if p.relu:
        layouts.clip_vectors(tile, VECTOR_BYTES, rows, p.relu)
    layouts.rows_from_rows(tile, VECTOR_BYTES, p.out_width, rows, y, p.out_width * FLOAT_BYTES)


@cache
def planes_worker(taps: int, stride: int, count: int) -> Entry:
    """Return the worker for contiguous tensors: `taps` per kernel column, `count` output rows.

    Its lines are the columns of the kernel, or all its taps if `taps` is 1.
    """

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        out_width, out_height, bands = p.out_width, p.out_height, p.bands
        row_step = p.pitch * p.stride_w * FLOAT_BYTES
        gap = p.dilation_h if taps > 1 else 1  # between the rows of a tile
        x_step = row_step * (gap if taps > 1 else p.stride_h)
        narrow = out_width < LANES
        y_step = VECTOR_BYTES if narrow else out_width * FLOAT_BYTES
        tile = scratch + part * p.scratch_bytes
        padded = tile + p.scratch_bytes - BUFFERS * p.band_bytes
        units = p.images * p.channels * bands
        begin, stop = part * units // parts, (part + 1) * units // parts
        if begin < stop:
            _pad(p, begin, True, x, padded + begin % BUFFERS * p.band_bytes)
        for unit in range(begin, stop):
            if unit + 1 < stop:
                fresh = unit == begin
                _pad(p, unit + 1, fresh, x, padded + (unit + 1) % BUFFERS * p.band_bytes)
            plane, first, last = _place(p, unit)
            channel, rows = plane % p.channels, last - first
            target = y + (plane * out_height + first) * out_width * FLOAT_BYTES
            written = tile if narrow or p.streamed else target
            for column in range(0, out_width, LANES):
                at = max(0, min(column, out_width - LANES)) * FLOAT_BYTES
                if gap == 1:
                    run(
                        padded + unit % BUFFERS * p.band_bytes + at, x_step, p.offsets, p.lines,
                        p.weights + channel * p.weights_step, p.start + channel * FLOAT_BYTES,
                        written + at, y_step, rows, taps, stride, count, True,
                    )  # fmt: skip
                    continue
                run_apart(
                    gap, row_step, padded + unit % BUFFERS * p.band_bytes + at, x_step,
                    p.offsets, p.lines,
                    p.weights + channel * p.weights_step, 0, p.start + channel * FLOAT_BYTES,
                    written + at, y_step, rows, 1, 0, taps, stride, count, True,
                )  # fmt: skip
            _finish(p, tile, rows, target)
        if p.streamed:
            fence()

    return Entry(WORKER, work)


@inlined
def _padded(row: int, width: int, first: int, length: int, target: int) -> None:
    """Copy `length` positions of a row from `first` on, with zeros outside the row."""
    layouts.clear_vectors(target, (length + LANES - 1) // LANES)
    start, end = max(first, 0), min(first + length, width)
    if start < end:
        inside = target + (start - first) * FLOAT_BYTES
        layouts.copy_floats(row + start * FLOAT_BYTES, inside, end - start)


@cache
def sequences_worker(count: int) -> Entry:
    """Return the worker for contiguous rows at stride 1: `count` vectors of outputs per tile."""
    outputs = count * LANES

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        width, out_width, bands = p.width, p.out_width, p.bands
        length = p.needed - out_width + outputs  # inputs of a tile
        padded = scratch + part * p.scratch_bytes
        piece = padded + p.band_bytes
        units = p.images * p.channels * p.height * bands
        for unit in range(part * units // parts, (part + 1) * units // parts):
            row, band = unit // bands, unit % bands
            channel = row // p.height % p.channels
            row_x, row_y = x + row * width * FLOAT_BYTES, y + row * out_width * FLOAT_BYTES
            first, last = band * out_width // bands, (band + 1) * out_width // bands
            target = piece if p.streamed else row_y + first * FLOAT_BYTES
            for start in range(first, last, outputs):
                column = min(start, last - outputs)
                begin = column - p.left
                source = row_x + begin * FLOAT_BYTES
                if begin < 0 or begin + length > width:
                    _padded(row_x, width, begin, length, padded)
                    source = padded
                tile(
                    source, VECTOR_BYTES, p.offsets, p.lines,
                    p.weights + channel * p.weights_step, p.start + channel * FLOAT_BYTES,
                    target + (column - first) * FLOAT_BYTES, VECTOR_BYTES,
                    1, 1, count, True, False, False, 0, 0,
                )  # fmt: skip
            finish(p, piece, row_y + first * FLOAT_BYTES, last - first)
        if p.streamed:
            fence()

    return Entry(WORKER, work)
