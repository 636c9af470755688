"""Choice of the tile of a 3x3 Winograd convolution, its MACs and error bound; without Numba."""

from __future__ import annotations

from math import prod

import numpy as np

from convsweep.backends.base import direct_sum_bound
from convsweep.backends.winograd_transforms import transforms
from convsweep.problems.problem import ConvProblem

OVERLAP = 2
"""Inputs that neighbouring tiles share along each side."""
TILES = (2, 4, 6)
"""Outputs per tile along each side."""
LAST_CACHE_BYTES = 2**24
"""Weights up to this size stay in the last cache between calls."""

_TRANSFORM_COST = 10  # per number, in multiply-accumulates
_NEAR_COST, _FAR_COST = 4, 5  # per weight read from the last cache, from memory
_GAIN = 0.92  # a larger tile has larger errors: it must be faster by a margin


def tiles_across(outputs: int, tile: int) -> int:
    """Return the number of tiles that cover the outputs; the last one may be partial."""
    return -(-outputs // tile)


def tiles_of(problem: ConvProblem, tile: int) -> int:
    """Return the tiles of the whole batch."""
    return problem.batch_size * prod(tiles_across(size, tile) for size in problem.output_size)


def frequencies(tile: int) -> int:
    """Return the products of F(tile x tile, 3x3) per tile and pair of channels."""
    return (tile + OVERLAP) ** 2


def best_tile(problem: ConvProblem) -> int:
    """Return the tile with the least work; larger ones multiply less, and read and waste more."""
    best = TILES[0]
    for tile in TILES[1:]:
        if _cost(problem, tile) < _GAIN * _cost(problem, best):
            best = tile
    return best


def _cost(problem: ConvProblem, tile: int) -> int:
    """Return the cost of products, transforms and reading weights, in multiply-accumulates."""
    pairs = problem.in_channels * problem.out_channels
    numbers = problem.in_channels + problem.out_channels
    far = weights_bytes(problem, tile) > LAST_CACHE_BYTES
    reading = (_FAR_COST if far else _NEAR_COST) * pairs
    work = tiles_of(problem, tile) * (pairs + _TRANSFORM_COST * numbers)
    return frequencies(tile) * (work + reading)


def weights_bytes(problem: ConvProblem, tile: int) -> int:
    """Return the bytes of the transformed weights in float32."""
    return 4 * frequencies(tile) * problem.in_channels * problem.out_channels


def macs(problem: ConvProblem) -> int:
    """Return one product per tile, frequency and pair of channels; partial tiles count fully."""
    tile = best_tile(problem)
    pairs = problem.in_channels * problem.out_channels
    return tiles_of(problem, tile) * frequencies(tile) * pairs


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Return the direct bytes with one number per frequency in place of the taps."""
    growth = frequencies(best_tile(problem)) - prod(problem.kernel_size)
    pairs = problem.in_channels * problem.out_channels
    return problem.min_bytes(itemsize) + itemsize * growth * pairs


def error_bound(problem: ConvProblem, tile: int | None = None) -> float:
    """Return the direct bound plus the largest growth of rounding errors in the transforms.

    Along an axis an error eps grows up to `|A^T| (|G| |g| * |B^T| |d|)`, relative to a sum of 3
    products for weights and inputs of size 1 (product of norms in Barabasz, Anderson, Soodhalter &
    Gregg 2020, Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
    Networks, theorem 1). In 2-D it is squared. Errors have both signs: measured ones are about a
    twentieth of it.
    """
    A, B, G = (np.abs(matrix) for matrix in transforms(tile or best_tile(problem)))
    growth = float((A.T @ (G.sum(1) * B.sum(0))).max()) / 3
    return direct_sum_bound(problem) + growth**2
