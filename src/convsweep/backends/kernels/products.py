"""Micro-kernel of matrix products: up to `MAX_ROWS` rows times two vectors, kept in registers.

Each row is broadcast float by float and multiplied with two vectors, `PANEL` columns: 12 sums and
2 vectors fit into 16 registers (Goto & van de Geijn 2008, Anatomy of High-Performance Matrix
Multiplication). All steps are in bytes. Only the given rows, columns and depth are read.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from convsweep.backends.kernels.compiling import inlined
from convsweep.backends.kernels.vectors import (
    FLOAT,
    FLOAT_BYTES,
    LANES,
    VECTOR,
    VECTOR_BYTES,
    in_every_lane,
    intrinsic,
    moved,
    multiply_add,
    pointer,
    read_vector,
    write_vector,
)

HALVES = 2
PANEL = HALVES * LANES
"""Columns per tile."""
MAX_ROWS = 6
"""Rows per tile."""
AHEAD_BYTES = 4096
"""Prefetch distance of panels; prefetching by the hardware stops at each page."""


def _tile(rows: int, ahead: int) -> Any:
    """Return an intrinsic that multiplies `rows` rows with one panel; arguments as in `products`.

    The panel is prefetched `ahead` bytes before it is read; 0: not prefetched.
    """

    @intrinsic
    def tile(
        typing: Any, a: Any, a_row: Any, a_block: Any, b: Any, b_step: Any, depth: Any,
        start: Any, start_row: Any, start_half: Any, out: Any, out_row: Any, out_half: Any,
    ) -> Any:  # fmt: skip
        return types.void(*[types.int64] * 12), _generate

    def _generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, a_row, a_block, b, b_step, depth, start, start_row, start_half, out, *out_steps = args
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(rows * HALVES)]
        for address, total in zip(
            _places(builder, rows, start, start_row, start_half), sums, strict=True
        ):
            builder.store(read_vector(builder, address), total)
        firsts = [moved(builder, a, a_row, row) for row in range(rows)]
        lanes = ir.Constant(depth.type, LANES)
        blocks, rest = builder.sdiv(depth, lanes), builder.srem(depth, lanes)
        with cgutils.for_range(builder, blocks) as block:
            shift = builder.mul(block.index, a_block)
            b_at = builder.add(b, builder.mul(block.index, builder.mul(b_step, lanes)))
            for lane in range(LANES):
                offset = builder.add(shift, ir.Constant(shift.type, lane * FLOAT_BYTES))
                _add_products(builder, firsts, offset, b_at, sums, ahead)
                b_at = builder.add(b_at, b_step)
        with cgutils.for_range(builder, rest) as lane:
            shift = builder.mul(blocks, a_block)
            offset = moved(builder, shift, lane.index, FLOAT_BYTES)
            done = builder.add(builder.mul(blocks, lanes), lane.index)
            b_at = builder.add(b, builder.mul(done, b_step))
            _add_products(builder, firsts, offset, b_at, sums, ahead)
        for address, total in zip(_places(builder, rows, out, *out_steps), sums, strict=True):
            write_vector(builder, builder.load(total), address)
        return context.get_dummy_value()

    return tile


def _places(builder: Any, rows: int, address: Any, row_step: Any, half_step: Any) -> list[Any]:
    """Return the addresses of all vectors of a tile, row by row."""
    return [
        moved(builder, moved(builder, address, row_step, row), half_step, half)
        for row in range(rows)
        for half in range(HALVES)
    ]


def _fetch(builder: Any, address: Any) -> None:
    """Prefetch the cache line at an address; any address is allowed."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, keep, data = flag(0), flag(3), flag(1)
    builder.call(fetch, [builder.inttoptr(address, byte), read, keep, data])


def _add_products(
    builder: Any, rows: list[Any], offset: Any, b: Any, sums: list[Any], ahead: int
) -> None:
    """Add the products of one float of each row with one row of the panel to all sums."""
    if ahead:
        _fetch(builder, builder.add(b, ir.Constant(b.type, ahead)))
    columns = [
        read_vector(builder, builder.add(b, ir.Constant(b.type, half * VECTOR_BYTES)))
        for half in range(HALVES)
    ]
    for i, row in enumerate(rows):
        value = builder.load(pointer(builder, builder.add(row, offset), FLOAT))
        factor = in_every_lane(builder, value)
        for half, column in enumerate(columns):
            total = sums[i * HALVES + half]
            builder.store(multiply_add(builder, factor, column, builder.load(total)), total)


def _products(ahead: int) -> Any:  # noqa: C901 - one branch per tile height
    one_row, two_rows, three_rows = (_tile(rows, ahead) for rows in (1, 2, 3))
    four_rows, five_rows, six_rows = (_tile(rows, ahead) for rows in (4, 5, 6))

    @inlined
    def products(
        a: int, a_row: int, a_block: int, rows: int, b: int, b_step: int, depth: int, start: int,
        start_row: int, start_half: int, out: int, out_row: int, out_half: int,
    ) -> None:  # fmt: skip
        """`out = start + a @ b` for any number of rows and `PANEL` columns.

        Element (row, d) of `a` lies at `a + row * a_row + d // LANES * a_block + d % LANES`
        floats: channels in blocks of `LANES`, or with `a_block = VECTOR_BYTES` in plain rows. Row d
        of `b` is `PANEL` floats at `b + d * b_step`. The two vectors of an output's row lie at
        `out + row * out_row` and `out_half` after it, likewise those of the start values: a bias
        (`start_row` 0), zeros, or earlier sums (`out` itself). All steps are in bytes.

        Rows are split evenly, 16 as 5 + 5 + 6: a tile of few rows takes as long as one of many.
        """
        tiles = (rows + MAX_ROWS - 1) // MAX_ROWS
        for tile in range(tiles):
            first = tile * rows // tiles
            count = (tile + 1) * rows // tiles - first
            tile_args = (
                a + first * a_row, a_row, a_block, b, b_step, depth,
                start + first * start_row, start_row, start_half,
                out + first * out_row, out_row, out_half,
            )  # fmt: skip
            if count == 6:
                six_rows(*tile_args)
            elif count == 5:
                five_rows(*tile_args)
            elif count == 4:
                four_rows(*tile_args)
            elif count == 3:
                three_rows(*tile_args)
            elif count == 2:
                two_rows(*tile_args)
            elif count == 1:
                one_row(*tile_args)

    return products


products = _products(ahead=0)
"""For panels in the first cache, each used by many rows."""
streamed_products = _products(ahead=AHEAD_BYTES)
"""For panels in memory, each used by few rows: the same with prefetching."""
