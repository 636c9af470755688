"""Padded bands of a plane, for depthwise kernels whose lanes are pixels.

With a stride, column c goes to place `c // stride` of phase `c % stride`, so that inputs of
neighbouring outputs are neighbours. Copies and zeros reach up to two vectors beyond their end: rows
need this extra room.
"""

from __future__ import annotations

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.instructions import FLOAT_BYTES, LANES, VECTOR_BYTES
from convsweep.backends.kernels.vectors import (
    deinterleave,
    load,
    load_float,
    store,
    store_float,
    zeros,
)


@inlined
def clear(row: int, first: int, last: int) -> None:
    """Write zeros from one column to another, and up to one vector beyond."""
    column = first
    while column < last:
        store(row + column * FLOAT_BYTES, zeros())
        column += LANES


@inlined
def copy_floats(source: int, count: int, target: int) -> None:
    """Copy floats one by one; write nothing else."""
    for offset in range(0, count * FLOAT_BYTES, FLOAT_BYTES):
        store_float(target + offset, load_float(source + offset))


@inlined
def padded_rows(
    source: int, rows: int, width: int, end: int, left: int, needed: int, target: int, step: int
) -> None:
    """Copy rows, `step` apart, with `left` columns of zeros before and up to `needed` columns.

    Nothing from `end` on is read.
    """
    for row in range(rows):
        row_source, row_target = source + row * width * FLOAT_BYTES, target + row * step
        clear(row_target, 0, left)
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
            copy_floats(row_source, width, middle)
        clear(row_target, left + width, needed)


@inlined
def padded_even_odd(
    source: int, rows: int, width: int, end: int, left: int, needed: int, target: int, step: int,
    phase: int,
) -> None:  # fmt: skip
    """Copy as `padded_rows`, with odd columns `phase` bytes after even ones."""
    first = left % 2 * phase + left // 2 * FLOAT_BYTES  # where column 0 of the input goes
    second = (left + 1) % 2 * phase + (left + 1) // 2 * FLOAT_BYTES
    even_right, odd_right = (left + width + 1) // 2, (left + width) // 2
    last = (needed + 1) // 2
    for row in range(rows):
        row_source, row_target = source + row * width * FLOAT_BYTES, target + row * step
        clear(row_target, 0, (left + 1) // 2)
        clear(row_target + phase, 0, left // 2)
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
        clear(row_target, even_right, last)
        clear(row_target + phase, odd_right, last)


@inlined
def padded_phases(
    source: int, rows: int, width: int, left: int, needed: int, target: int, step: int,
    phase: int, stride: int,
) -> None:  # fmt: skip
    """Copy as `padded_rows`, with columns distributed to `stride` phases."""
    for row in range(rows):
        row_source, row_target = source + row * width * FLOAT_BYTES, target + row * step
        for q in range(stride):
            clear(row_target + q * phase, 0, (needed + stride - 1) // stride)
        for column in range(width):
            place = column + left
            spot = row_target + place % stride * phase + place // stride * FLOAT_BYTES
            store_float(spot, load_float(row_source + column * FLOAT_BYTES))
