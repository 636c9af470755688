"""Depthwise convolution of contiguous tensors: lanes are pixels of a row, one channel at a time.

A band of a plane is padded, then multiplied. Nothing is transposed, for any number of channels.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba

from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.depthwise_padding import (
    clear,
    copy_floats,
    padded_even_odd,
    padded_phases,
    padded_rows,
)
from convsweep.backends.kernels.depthwise_tile import run
from convsweep.backends.kernels.depthwise_work import worker
from convsweep.backends.kernels.instructions import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.vectors import load, store

BUFFERS = 2  # the next band is copied before this one is multiplied


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
        clear(target, 0, (some - top) * step // FLOAT_BYTES)
        clear(target + (most - top) * step, 0, (below - most) * step // FLOAT_BYTES)
    if p.stride_w == 1:
        if kept and p.width >= LANES:
            padded_rows(source, most - some, p.width, end, 0, 0, at + p.left * FLOAT_BYTES, step)
        else:
            padded_rows(source, most - some, p.width, end, p.left, p.needed, at, step)
    elif p.stride_w == 2:
        padded_even_odd(source, most - some, p.width, end, p.left, p.needed, at, step, phase)
    else:
        padded_phases(source, most - some, p.width, p.left, p.needed, at, step, phase, p.stride_w)


@inlined
def _narrow_rows(tile: int, rows: int, width: int, y: int) -> None:
    """Copy rows shorter than a vector, one per vector, to adjacent rows; write nothing else."""
    for row in range(rows):
        source, target = tile + row * VECTOR_BYTES, y + row * width * FLOAT_BYTES
        if (rows - row) * width >= LANES:
            store(target, load(source))
        else:
            copy_floats(source, width, target)


@cache
def planes_worker(taps: int, stride: int, count: int) -> Entry:
    """Return the worker for contiguous tensors: `taps` per kernel column, `count` output rows.

    Its lines are the columns of the kernel, or all its taps if `taps` is 1.
    """

    def work(part: int, parts: int, plan: Any, x: int, y: int, scratch: int) -> None:
        p = numba.carray(plan, 1)[0]
        out_width, out_height, bands = p.out_width, p.out_height, p.bands
        x_step = p.pitch * p.stride_w * FLOAT_BYTES
        x_step *= p.stride_h if taps == 1 else 1
        narrow = out_width < LANES
        tile = scratch + part * p.scratch_bytes
        padded = tile + (out_height // bands + 1) * VECTOR_BYTES
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
            for column in range(0, out_width, LANES):
                at = max(0, min(column, out_width - LANES)) * FLOAT_BYTES
                run(
                    padded + unit % BUFFERS * p.band_bytes + at, x_step, p.offsets, p.lines,
                    p.weights + channel * p.weights_step, p.start + channel * FLOAT_BYTES,
                    tile if narrow else target + at,
                    VECTOR_BYTES if narrow else out_width * FLOAT_BYTES,
                    rows, taps, stride, count, True,
                )  # fmt: skip
                if narrow:
                    _narrow_rows(tile, rows, out_width, target)

    return worker(work)
