"""Matrices of Winograd's minimal filtering, by Cook and Toom's interpolation.

F(m, r) computes m outputs of a correlation of m + r - 1 inputs d with r taps g by m + r - 1
products, y = A^T [(G g) * (B^T d)], instead of m r. In more dimensions it acts along each axis.
It is the transpose of a product of polynomials, interpolated at m + r - 2 points and infinity
(Toom 1963; Cook 1966; Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray 2016, Fast
Algorithms for Convolutional Neural Networks).
"""

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = tuple[tuple[Fraction, ...], ...]

_POINTS = tuple(map(Fraction, ("0", "1", "-1", "1/2", "-1/2", "2", "-2")))
_FIVE_POINTS = tuple(map(Fraction, ("0", "5/8", "-5/8", "3/2", "-3/2")))


def good_points(count: int) -> tuple[Fraction, ...]:
    """Return interpolation points with small rounding errors: 0, and pairs near +-c and +-1/c.

    Those of F(2, 3) and F(6, 3) are from Barabasz, Anderson, Soodhalter & Gregg 2020 (Error
    Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks). The five
    of F(4, 3) are chosen after Alam, Anderson, Barabasz & Gregg 2022 (Winograd Convolution for Deep
    Neural Networks: Efficient Point Selection), and short in binary. The error of F(4x4, 3x3) is
    less than half of that at 0, +-1, +-2.

    Raises:
        ValueError: more than 7 points.
    """
    if count > len(_POINTS):
        raise ValueError(f"good points are known up to {len(_POINTS)}, not {count}")
    return _FIVE_POINTS if count == len(_FIVE_POINTS) else _POINTS[:count]


class Transforms(NamedTuple):
    """Matrices of F(m, r) in float64, n = m + r - 1."""

    A: NDArray[np.float64]  # (n, m): y = A^T (...)
    B: NDArray[np.float64]  # (n, n): B^T d
    G: NDArray[np.float64]  # (n, r): G g


def transforms(outputs: int, taps: int = 3, points: Sequence[Fraction] | None = None) -> Transforms:
    """Return the matrices of F(outputs, taps), rounded once; raises as `exact_transforms`."""
    exact = exact_transforms(outputs, taps, points)
    return Transforms(*(np.array(matrix, dtype=np.float64) for matrix in exact))


def exact_transforms(
    outputs: int, taps: int = 3, points: Sequence[Fraction] | None = None
) -> tuple[Matrix, Matrix, Matrix]:
    """Return A (n, m), B (n, n) and G (n, r) of F(outputs, taps) in fractions.

    They interpolate at n - 1 = outputs + taps - 2 `points`, by default the good ones. All divisors
    are in G, which acts on weights only. So A and B are small, and exact in floating point if the
    points are short in binary.

    Raises:
        ValueError: outputs or taps below 1, or repeated, too few or too many points.
    """
    from numpy.polynomial.polynomial import polyfromroots  # a hundredth of a second

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
    zeros = [Fraction(0)] * length
    products = ([*map(Fraction, polyfromroots(roots)), *zeros] for roots in (*others, finite))
    B_transposed = [product[:length] for product in products]  # coefficients, constant first
    return (
        (*(_powers(p, outputs) for p in finite), _last(outputs)),
        tuple(zip(*B_transposed, strict=True)),
        (*G, _last(taps)),
    )


def _powers(point: Fraction, count: int) -> tuple[Fraction, ...]:
    """Return 1, p, p^2 ..., which evaluate a polynomial of `count` coefficients at p."""
    return tuple(point**k for k in range(count))


def _last(count: int) -> tuple[Fraction, ...]:
    """Return the row that evaluates a polynomial at infinity: its leading coefficient."""
    return (*[Fraction(0)] * (count - 1), Fraction(1))
