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

POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-2", "2", "-1/2")))
"""Where to interpolate, the mildest first: halves beside twos grow rounding errors half as much as
twos alone (Barabasz, Anderson, Soodhalter & Gregg 2020, Error Analysis and Improving the Accuracy
of Winograd Convolution for Deep Neural Networks)."""


class Transforms(NamedTuple):
    """The matrices of F(m, r) in float64, n = m + r - 1."""

    A: NDArray[np.float64]  # (n, m): y = A^T (...)
    B: NDArray[np.float64]  # (n, n): B^T d
    G: NDArray[np.float64]  # (n, r): G g


def transforms(outputs: int, taps: int = 3, points: Sequence[Fraction] = POINTS) -> Transforms:
    """The matrices of F(outputs, taps), rounded once; errors as `exact_transforms` raises them."""
    exact = exact_transforms(outputs, taps, points)
    return Transforms(*(np.array(matrix, dtype=np.float64) for matrix in exact))


def exact_transforms(
    outputs: int, taps: int = 3, points: Sequence[Fraction] = POINTS
) -> tuple[Matrix, Matrix, Matrix]:
    """A (n, m), B (n, n), G (n, r) of F(outputs, taps) in fractions, by the first of `points`.

    All divisors go to G, which acts on weights alone: A and B stay small and, at points that are
    powers of two, exact in binary. Raises `ValueError` where points are too few or repeat.
    """
    if outputs < 1 or taps < 1:
        raise ValueError(f"F({outputs}, {taps}) needs at least 1 output and 1 tap")
    length = outputs + taps - 1
    finite = [Fraction(point) for point in points[: length - 1]]
    if len(set(finite)) < length - 1:
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
