"""Choice of the tile of a 3x3 Winograd convolution, its MACs and error bound; without Numba."""

from math import prod

import numpy as np

from convsweep.backends.base import direct_sum_bound
from convsweep.backends.winograd_transforms import transforms
from convsweep.problems.problem import ConvProblem
from convsweep.system import calibration
from convsweep.system.calibration import Machine

FLOAT_BYTES = 4
OVERLAP = 2  # inputs that neighbouring tiles share along each side
TILES = (2, 4, 6)  # outputs per tile along each side

_TRANSFORM_MACS, _TRANSFORM_BYTES = 5, 10  # per number
_ONE_STREAM = 0.7  # rate of reading the weights, relative to that of two streams
_READING_SHARE = 0.2  # time of reading the weights, of that of products; more tiles hide it
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


def best_tile(problem: ConvProblem, machine: Machine | None = None) -> int:
    """Return the tile with the least time; larger ones multiply less, and read and waste more."""
    known, best = machine or calibration.machine(), TILES[0]
    for tile in TILES[1:]:
        if seconds(problem, tile, known) < _GAIN * seconds(problem, best, known):
            best = tile
    return best


def seconds(problem: ConvProblem, tile: int, machine: Machine | None = None) -> float:
    """Return the estimated time on one thread of transforms, products and reading the weights.

    Products wait for weights from the last cache; reading them from memory overlaps with both.
    """
    machine = machine or calibration.machine()
    pairs = problem.in_channels * problem.out_channels
    numbers = tiles_of(problem, tile) * (problem.in_channels + problem.out_channels)
    calculating = _TRANSFORM_MACS / machine.macs_per_s + _TRANSFORM_BYTES / machine.l2_bytes_per_s
    products = tiles_of(problem, tile) * pairs / machine.macs_per_s
    products += FLOAT_BYTES * pairs / (_ONE_STREAM * machine.last_cache_bytes_per_s)
    reading = FLOAT_BYTES * pairs / _weights_rate(problem, tile, machine)
    return frequencies(tile) * (numbers * calculating + max(products, reading))


def tiles_per_reading(problem: ConvProblem, tile: int, machine: Machine | None = None) -> int:
    """Return the tiles per reading of all weights that products hide the reading behind."""
    known = machine or calibration.machine()
    macs_per_weight = FLOAT_BYTES * known.macs_per_s / _weights_rate(problem, tile, known)
    return max(1, round(macs_per_weight / _READING_SHARE))


def _weights_rate(problem: ConvProblem, tile: int, machine: Machine) -> float:
    """Return the rate in bytes per second: weights stay in the last cache between calls, or not."""
    near = weights_stay(problem, tile, machine)
    return _ONE_STREAM * (machine.last_cache_bytes_per_s if near else machine.memory_bytes_per_s)


def weights_stay(problem: ConvProblem, tile: int, machine: Machine | None = None) -> bool:
    """Return whether the transformed weights stay in the last cache between calls."""
    known, pairs = machine or calibration.machine(), problem.in_channels * problem.out_channels
    return FLOAT_BYTES * frequencies(tile) * pairs <= known.last_cache_bytes


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
