"""Products of small constant matrices with vectors in memory, unrolled, with few operations.

Winograd's transforms consist of them. Their matrices interpolate at pairs of points +-p. So columns
or rows come in pairs that differ only in signs, and half of the products are shared
(Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks, section 4).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from convsweep.backends.kernels.vectors import (
    CONTRACT,
    LANES,
    VECTOR,
    intrinsic,
    moved,
    multiply_add,
    read_vector,
    write_vector,
)

Rows = list[list[float]]


def times(matrix: NDArray[np.float64]) -> Any:
    """Return an intrinsic `(source, source_step, target, target_step)` that multiplies vectors.

    Vector i of the target is `sum(matrix[i][j] * vector j of the source)`. All vectors are read
    before any is written. Addresses and steps are in bytes.
    """

    @intrinsic
    def product(typing: Any, source: Any, source_step: Any, target: Any, target_step: Any) -> Any:
        return types.void(*[types.int64] * 4), _generator(matrix)

    return product


def times_plus(matrix: NDArray[np.float64]) -> Any:
    """Return an intrinsic as `times` does, plus the vector at a fifth address."""

    @intrinsic
    def product(
        typing: Any, source: Any, source_step: Any, target: Any, target_step: Any, plus: Any
    ) -> Any:
        return types.void(*[types.int64] * 5), _generator(matrix)

    return product


def _generator(matrix: NDArray[np.float64]) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, source_step, target, target_step, *plus = args
        places = (moved(builder, source, source_step, j) for j in range(len(matrix[0])))
        vectors = [read_vector(builder, place) for place in places]
        added = [read_vector(builder, address) for address in plus]
        for i, value in enumerate(_product(builder, matrix, vectors)):
            total = builder.fadd(value, added[0], flags=CONTRACT) if added else value
            write_vector(builder, total, moved(builder, target, target_step, i))
        return context.get_dummy_value()

    return generate


def _product(builder: Any, matrix: NDArray[np.float64], vectors: Sequence[Any]) -> list[Any]:
    rows, vectors = _columns_paired(builder, [list(map(float, row)) for row in matrix], vectors)
    done: dict[int, Any] = {}
    for i, k in _pairs(rows):
        even = [a if a == b else 0.0 for a, b in zip(rows[i], rows[k], strict=True)]
        odd = [a if a != b else 0.0 for a, b in zip(rows[i], rows[k], strict=True)]
        x, y = _sum(builder, even, vectors), _sum(builder, odd, vectors)
        done[i], done[k] = builder.fadd(x, y), builder.fsub(x, y)
    return [done[i] if i in done else _sum(builder, row, vectors) for i, row in enumerate(rows)]


def _columns_paired(builder: Any, rows: Rows, vectors: Sequence[Any]) -> tuple[Rows, Sequence[Any]]:
    """Replace vectors whose columns are a pair by their sum and difference; adapt the matrix."""
    columns, values = [list(column) for column in zip(*rows, strict=True)], list(vectors)
    for i, k in _pairs(columns):
        first, second = columns[i], columns[k]
        columns[i] = [a if a == b else 0.0 for a, b in zip(first, second, strict=True)]
        columns[k] = [a if a != b else 0.0 for a, b in zip(first, second, strict=True)]
        x, y = values[i], values[k]
        values[i], values[k] = builder.fadd(x, y), builder.fsub(x, y)
    return [list(row) for row in zip(*columns, strict=True)], values


def _pairs(rows: Rows) -> Iterator[tuple[int, int]]:
    """Return pairs of rows that differ only in some signs; each row at most once."""
    free = list(range(len(rows)))
    while free:
        i = free.pop(0)
        for k in free:
            same = any(a == b != 0 for a, b in zip(rows[i], rows[k], strict=True))
            flipped = any(a == -b != 0 for a, b in zip(rows[i], rows[k], strict=True))
            if same and flipped and list(map(abs, rows[i])) == list(map(abs, rows[k])):
                free.remove(k)
                yield i, k
                break


def _sum(builder: Any, weights: Sequence[float], vectors: Sequence[Any]) -> Any:
    """Return the weighted sum of vectors, those of weight 1 first."""
    terms = [(w, v) for w, v in zip(weights, vectors, strict=True) if w]
    terms.sort(key=lambda term: (term[0] != 1, abs(term[0]) != 1))
    total: Any = None
    for weight, value in terms:
        factor = ir.Constant(VECTOR, [weight] * LANES)
        if total is None:
            total = value if weight == 1 else builder.fmul(value, factor)
        elif abs(weight) == 1:
            total = builder.fadd(total, value) if weight > 0 else builder.fsub(total, value)
        else:
            total = multiply_add(builder, value, factor, total)
    return total
