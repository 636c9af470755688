"""Micro-kernel of matrix products: up to `MAX_ROWS` rows times two vectors, kept in registers.

Each row is broadcast float by float and multiplied with a panel, two vectors of columns: the sums
and both vectors fit into the registers (Goto & van de Geijn 2008, Anatomy of High-Performance
Matrix Multiplication). 16 registers hold 12 sums, the 32 of AVX-512 hold 28. All steps are in
bytes. Only the given rows, columns and depth are read.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from torch import Tensor

from convsweep.backends.kernels.compiling import Entry, inlined
from convsweep.backends.kernels.vectors import (
    FLOAT,
    FLOAT_BYTES,
    LANES,
    LINE_BYTES,
    REGISTERS,
    VECTOR,
    VECTOR_BYTES,
    call_address,
    fetch,
    in_every_lane,
    intrinsic,
    intrinsic_of_constants,
    moved,
    multiply_add,
    pointer,
    read_vector,
    write_vector,
)
from convsweep.system.calibration import machine

PANEL_VECTORS = 2
PANEL = PANEL_VECTORS * LANES
"""Columns per tile."""
PANEL_BYTES = PANEL * FLOAT_BYTES
MAX_ROWS = (REGISTERS - 4) // PANEL_VECTORS
"""Rows per tile."""
UNROLLED = REGISTERS < 32
"""Whether the steps of a block are unrolled; with 28 sums a loop costs little."""
AHEAD_BYTES = 4096
"""Prefetch distance of panels; prefetching by the hardware stops at each page."""


@inlined
def panel_place(panel: int, columns: int) -> tuple[int, int]:
    """Return the first column of a panel, and its vectors: one if those left fit into it.

    The last panel overlaps the one before it, unless there are fewer columns than in a vector.
    """
    first = panel * PANEL
    vectors = 1 if columns - first <= LANES else PANEL_VECTORS
    return max(0, min(first, columns - vectors * LANES)), vectors


@intrinsic_of_constants
def _tile(
    typing: Any, ahead: Any, rows: Any, vectors: Any, a: Any, a_row: Any, a_block: Any, b: Any,
    depth: Any, start: Any, start_row: Any, start_half: Any, out: Any, out_row: Any, out_half: Any,
) -> Any:  # fmt: skip
    """Multiply up to `MAX_ROWS` rows with a panel, as `products` does.

    The panel is prefetched `ahead` bytes, a constant, before it is read; 0: not prefetched.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        args = args[1:]
        shape = moved(builder, args[1], args[0], PANEL_VECTORS)  # one number per rows and vectors
        done = builder.append_basic_block("done")
        branches = builder.switch(shape, done)
        for rows in range(1, MAX_ROWS + 1):
            for vectors in range(1, PANEL_VECTORS + 1):
                block = builder.append_basic_block(f"tile_{rows}x{vectors}")
                branches.add_case(ir.Constant(shape.type, PANEL_VECTORS * rows + vectors), block)
                builder.position_at_end(block)
                _multiply(builder, rows, vectors, args[2:], ahead.literal_value)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(ahead, *[types.int64] * 13), generate


def _multiply(builder: Any, rows: int, vectors: int, args: Any, ahead: int) -> None:
    a, a_row, a_block, b, depth, start, start_row, start_half, out, *out_steps = args
    sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(rows * vectors)]
    places = _places(builder, rows, vectors, start, start_row, start_half)
    for address, total in zip(places, sums, strict=True):
        builder.store(read_vector(builder, address), total)
    firsts = _rows(builder, rows, a, a_row)
    lanes, none = ir.Constant(depth.type, LANES), ir.Constant(depth.type, 0)
    blocks = builder.sdiv(builder.add(depth, ir.Constant(depth.type, LANES - 1)), lanes)
    whole = builder.sdiv(depth, lanes) if UNROLLED else none

    def add_products(block: Any, lane: Any) -> None:
        offset = moved(builder, builder.mul(block, a_block), lane, FLOAT_BYTES)
        b_block = moved(builder, b, block, LANES * PANEL_BYTES)
        b_row = moved(builder, b_block, lane, PANEL_BYTES)
        _add_products(builder, firsts, offset, b_row, sums, ahead)

    with cgutils.for_range(builder, whole) as block:
        for lane in range(LANES if UNROLLED else 0):
            add_products(block.index, ir.Constant(depth.type, lane))
    with cgutils.for_range_slice(builder, whole, blocks, lanes.type(1)) as (block, _):
        left = builder.sub(depth, builder.mul(block, lanes))
        count = builder.select(builder.icmp_signed("<", left, lanes), left, lanes)
        with cgutils.for_range(builder, count) as lane:
            add_products(block, lane.index)
    for address, total in zip(_places(builder, rows, vectors, out, *out_steps), sums, strict=True):
        write_vector(builder, builder.load(total), address)


def _rows(builder: Any, rows: int, a: Any, a_row: Any) -> list[Any]:
    """Return the addresses of rows, of which each third one is in a register of its own.

    LLVM would compute each address from the one before it, a chain as long as the products take.
    """
    kind = ir.FunctionType(a.type, [a.type])
    kept = [
        builder.asm(kind, "", "=r,0", [moved(builder, a, a_row, row)], side_effect=False)
        for row in range(0, rows, 3)
    ]
    return [moved(builder, kept[row // 3], a_row, row % 3) for row in range(rows)]


def _places(
    builder: Any, rows: int, vectors: int, address: Any, row_step: Any, half_step: Any
) -> list[Any]:
    """Return the addresses of all vectors of a tile, row by row."""
    return [
        moved(builder, moved(builder, address, row_step, row), half_step, half)
        for row in range(rows)
        for half in range(vectors)
    ]


def _add_products(
    builder: Any, rows: list[Any], offset: Any, b: Any, sums: list[Any], ahead: int
) -> None:
    """Add the products of one float of each row with one row of the panel to all sums."""
    vectors = len(sums) // len(rows)
    for line in range(0, vectors * VECTOR_BYTES, LINE_BYTES) if ahead else ():
        fetch(builder, builder.add(b, ir.Constant(b.type, ahead + line)))
    columns = [
        read_vector(builder, builder.add(b, ir.Constant(b.type, half * VECTOR_BYTES)))
        for half in range(vectors)
    ]
    for i, row in enumerate(rows):
        value = builder.load(pointer(builder, builder.add(row, offset), FLOAT))
        factor = in_every_lane(builder, value)
        for half, column in enumerate(columns):
            total = sums[i * vectors + half]
            builder.store(multiply_add(builder, factor, column, builder.load(total)), total)


def _products(ahead: int) -> Entry:
    def products(
        a: int, a_row: int, a_block: int, rows: int, b: int, vectors: int, depth: int, start: int,
        start_row: int, start_half: int, out: int, out_row: int, out_half: int,
    ) -> None:  # fmt: skip
        tiles = (rows + MAX_ROWS - 1) // MAX_ROWS
        for tile in range(tiles):
            first = tile * rows // tiles
            _tile(
                ahead, (tile + 1) * rows // tiles - first, vectors,
                a + first * a_row, a_row, a_block, b, depth,
                start + first * start_row, start_row, start_half,
                out + first * out_row, out_row, out_half,
            )  # fmt: skip

    return Entry(types.void(*[types.int64] * 13), products)


PRODUCTS = _products(ahead=0)
"""For panels in the first cache, each used by many rows."""
STREAMED_PRODUCTS = _products(ahead=AHEAD_BYTES)
"""For panels in memory, each used by few rows: the same with prefetching."""


def products_for(weights: Tensor) -> Entry:
    """Return the code for weights that stay in the second cache, or do not."""
    stay = 2 * FLOAT_BYTES * weights.numel() <= machine().l2_bytes
    return PRODUCTS if stay else STREAMED_PRODUCTS


@intrinsic
def products(
    typing: Any, code: Any, a: Any, a_row: Any, a_block: Any, rows: Any, b: Any, vectors: Any,
    depth: Any, start: Any, start_row: Any, start_half: Any, out: Any, out_row: Any, out_half: Any,
) -> Any:  # fmt: skip
    """`out = start + a @ b` for any number of rows and one or two vectors of columns.

    `code` is the address of `PRODUCTS` or `STREAMED_PRODUCTS`, which are compiled once for all
    kernels. Element (row, d) of `a` lies at `a + row * a_row + d // LANES * a_block + d % LANES`
    floats: channels in blocks of `LANES`, or with `a_block = VECTOR_BYTES` in plain rows. Row d of
    `b` is `vectors` vectors at `b + d * PANEL_BYTES`. Those of a row of the output lie at
    `out + row * out_row` and `out_half` after it, likewise those of the start values: a bias
    (`start_row` 0), zeros, or earlier sums (`out` itself). All steps are in bytes.

    Rows are split evenly, 16 as 5 + 5 + 6: a tile of few rows takes as long as one of many.
    """
    return types.void(*[types.int64] * 14), call_address
