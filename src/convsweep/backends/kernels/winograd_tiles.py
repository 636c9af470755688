"""Which tile suits a 3x3 convolution, what it multiplies and how far it errs; needs no Numba."""

from __future__ import annotations

from math import prod

import numpy as np

from convsweep.backends.base import direct_bytes, direct_sum_bound
from convsweep.backends.winograd_transforms import transforms
from convsweep.problems.problem import ConvProblem

OVERLAP = 2
"""How many inputs, along each side, neighbouring tiles share."""
TILES = (2, 4, 6)
"""Outputs of a tile along each side."""
LAST_CACHE_BYTES = 2**24
"""Weights up to here stay in a last cache between two calls."""

_TRANSFORM_COST = 10  # of one number, in multiply-accumulates
_NEAR_COST, _FAR_COST = 4, 5  # of reading one weight from a last cache, from memory
_GAIN = 0.92  # a larger tile errs more: it has to be faster by a margin


def tiles_across(outputs: int, tile: int) -> int:
    """How many tiles cover so many outputs; the last may hang over."""
    return -(-outputs // tile)


def tiles_of(problem: ConvProblem, tile: int) -> int:
    """Tiles of the whole batch."""
    return problem.batch_size * prod(tiles_across(size, tile) for size in problem.output_size)


def frequencies(tile: int) -> int:
    """Products that F(tile x tile, 3x3) needs for a tile and a pair of channels."""
    return (tile + OVERLAP) ** 2


def best_tile(problem: ConvProblem) -> int:
    """The tile with the least work; a larger one multiplies less, and reads and wastes more."""
    best = TILES[0]
    for tile in TILES[1:]:
        if _cost(problem, tile) < _GAIN * _cost(problem, best):
            best = tile
    return best


def _cost(problem: ConvProblem, tile: int) -> int:
    """Products, transforms and the reading of weights, in multiply-accumulates."""
    pairs = problem.in_channels * problem.out_channels
    numbers = problem.in_channels + problem.out_channels
    far = weights_bytes(problem, tile) > LAST_CACHE_BYTES
    reading = (_FAR_COST if far else _NEAR_COST) * pairs
    work = tiles_of(problem, tile) * (pairs + _TRANSFORM_COST * numbers)
    return frequencies(tile) * (work + reading)


def weights_bytes(problem: ConvProblem, tile: int) -> int:
    """What the transformed weights take, in float32."""
    return 4 * frequencies(tile) * problem.in_channels * problem.out_channels


def macs(problem: ConvProblem) -> int:
    """A product for each tile, frequency and pair of channels; tiles that hang over count whole."""
    tile = best_tile(problem)
    pairs = problem.in_channels * problem.out_channels
    return tiles_of(problem, tile) * frequencies(tile) * pairs


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Input and output once, and the weights as they are kept: a number for each frequency."""
    growth = frequencies(best_tile(problem)) - prod(problem.kernel_size)
    pairs = problem.in_channels * problem.out_channels
    return direct_bytes(problem, itemsize) + itemsize * growth * pairs


def error_bound(problem: ConvProblem, tile: int | None = None) -> float:
    """A direct sum's, and what roundings within the transforms can grow to.

    Along an axis a number of size eps becomes up to `|A^T| (|G| |g| * |B^T| |d|)`, which for
    weights and inputs of size 1 is held against the sum of 3 products (the product of norms of
    Barabasz, Anderson, Soodhalter & Gregg 2020, Error Analysis and Improving the Accuracy of
    Winograd Convolution for Deep Neural Networks, theorem 1); in 2 dimensions it is squared.
    Roundings differ in sign, so that errors seen are about a twentieth of it.
    """
    A, B, G = (np.abs(matrix) for matrix in transforms(tile or best_tile(problem)))
    growth = float((A.T @ (G.sum(1) * B.sum(0))).max()) / 3
    return direct_sum_bound(problem) + growth**2
