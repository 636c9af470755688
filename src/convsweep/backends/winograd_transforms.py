"""Transforms that let a small convolution do with fewer products (Toom, Cook, Winograd).

F(m, r) gives m outputs of a correlation of m + r - 1 inputs d with r taps g by m + r - 1 products,
y = A^T [(G g) * (B^T d)], instead of m r; in more dimensions a transform acts along each of them.
It is Toom and Cook's product of polynomials, by interpolation in m + r - 2 points and infinity,
transposed (Toom 1963; Cook 1966; Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray
2016, Fast Algorithms for Convolutional Neural Networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = tuple[tuple[Fraction, ...], ...]

_POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-1/2", "2", "-2")))
_FIVE_POINTS = tuple(map(Fraction, ("0", "5/8", "-5/8", "3/2", "-3/2")))


def good_points(count: int) -> tuple[Fraction, ...]:
    """Where to interpolate so that rounding errors grow little: 0, and pairs near +-c and +-1/c.

    The small fractions for F(2, 3) and F(6, 3) are those of Barabasz, Anderson, Soodhalter & Gregg
    2020 (Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
    Networks); five are such pairs as Alam, Anderson, Barabasz & Gregg 2022 describe (Winograd
    Convolution for Deep Neural Networks: Efficient Point Selection), short in binary: F(4x4, 3x3)
    errs by less than half of what 0, +-1, +-2 cost it. Raises `ValueError` beyond 7.
    """
    if count > len(_POINTS):
        raise ValueError(f"no more than {len(_POINTS)} good points are known, not {count}")
    return _FIVE_POINTS if count == len(_FIVE_POINTS) else _POINTS[:count]


class Transforms(NamedTuple):
    """The matrices of F(m, r) in float64, n = m + r - 1."""

    A: NDArray[np.float64]  # (n, m): y = A^T (...)
    B: NDArray[np.float64]  # (n, n): B^T d
    G: NDArray[np.float64]  # (n, r): G g


def transforms(outputs: int, taps: int = 3, points: Sequence[Fraction] | None = None) -> Transforms:
    """The matrices of F(outputs, taps), rounded once; errors as `exact_transforms` raises them."""
    exact = exact_transforms(outputs, taps, points)
    return Transforms(*(np.array(matrix, dtype=np.float64) for matrix in exact))


def exact_transforms(
    outputs: int, taps: int = 3, points: Sequence[Fraction] | None = None
) -> tuple[Matrix, Matrix, Matrix]:
    """A (n, m), B (n, n) and G (n, r) of F(outputs, taps) in fractions, n = outputs + taps - 1.

    They interpolate in n - 1 `points`, the good ones unless told. All divisors go to G, which acts
    on weights alone: A and B stay small and, at points short in binary, exact in floating point.
    Raises `ValueError` where outputs or taps are below 1, or points repeat or are too few or many.
    """
    if outputs < 1 or taps < 1:
        raise ValueError(f"F({outputs}, {taps}) needs at least 1 output and 1 tap")
    length = outputs + taps - 1
    finite = good_points(length - 1) if points is None else tuple(map(Fraction, points))
    if not len(set(finite)) == len(finite) == length - 1:
        found = ", ".join(map(str, finite))
        raise ValueError(f"F({outputs}, {taps}) needs {length - 1} different points, not {found}")
    others = [[q for q in finite if q != p] for p in finite]
    G = [
        tuple(power / prod(p - q for q in rest) for power in _powers(p, taps))
        for p, rest in zip(finite, others, strict=True)
    ]
    B_transposed = [_with_roots(roots, length) for roots in (*others, finite)]
    return (
        (*(_powers(p, outputs) for p in finite), _last(outputs)),
        tuple(zip(*B_transposed, strict=True)),
        (*G, _last(taps)),
    )


def _powers(point: Fraction, count: int) -> tuple[Fraction, ...]:
    """1, p, p^2 ...: what evaluates a polynomial of `count` coefficients in p."""
    return tuple(point**k for k in range(count))


def _last(count: int) -> tuple[Fraction, ...]:
    """What evaluates a polynomial at infinity: its leading coefficient."""
    return (*[Fraction(0)] * (count - 1), Fraction(1))


def _with_roots(roots: Sequence[Fraction], length: int) -> tuple[Fraction, ...]:
    """The coefficients of the product of (x - root), the constant first, filled up with zeros."""

    def times(coefficients: list[Fraction], root: Fraction) -> list[Fraction]:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        return [high - root * low for high, low in zip(shifted, scaled, strict=True)]

    product = reduce(times, roots, [Fraction(1)])
    return (*product, *[Fraction(0)] * (length - len(product)))
