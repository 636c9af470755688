"""Winograd convolution: tiles transformed, multiplied per frequency, transformed back.

Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks, algorithm 1, whose names are
used: F(m, 3) along each axis, tiles of m outputs from n = m + 2 inputs.
"""

from math import ceil, prod, sqrt

from convsweep.backends.base import Backend, Conv, Tensor, Weights, direct_sum_bound
from convsweep.backends.steps import bias_step, pad_step, step
from convsweep.backends.winograd_transforms import transforms
from convsweep.problems.problem import ConvProblem, Size

TILES_BYTES = 8 << 20
"""Bytes of transformed input per band of tiles: about one core's share of the last cache."""

FEW_TILES = 32
"""Below this number of tiles, reading the 4 times larger weights of F(4, 3) costs more."""


def unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem has other kernels than 3 neighbouring taps per axis at stride 1.

    The transforms mix all taps, so taps that meet padding only would add their rounding errors.
    """
    taps = zip(problem.kernel_size, problem.stride, problem.dilation, strict=True)
    if {*taps} != {(3, 1, 1)}:
        return "needs kernel_size 3, stride 1, dilation 1"
    return "needs at least 2 pixels along each side" if 1 in problem.input_size else None


def tile_outputs(problem: ConvProblem) -> int:
    """Return m: 4, or 2 for few tiles and in 3-D."""
    tiles = problem.batch_size * prod(ceil(size / 4) for size in problem.output_size)
    return 4 if problem.rank < 3 and tiles >= FEW_TILES else 2


def tiles_of(problem: ConvProblem) -> Size:
    """Return the number of tiles that cover the output along each axis."""
    return tuple(ceil(size / tile_outputs(problem)) for size in problem.output_size)


def along_axes(matrix: Tensor, t: Tensor, rank: int) -> Tensor:
    """Apply `matrix` (q, p) along each of the first `rank` axes of t (p, ..., p, *rest)."""
    for axis in range(rank):
        t = (matrix @ t.flatten(axis + 1)).view(*t.shape[:axis], -1, *t.shape[axis + 1 :])
    return t


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Transform the weights in float64 and round them once."""
    import torch

    from convsweep.backends.tensor_layout import from_pixels, to_pixels

    rank, groups, m = problem.rank, problem.groups, tile_outputs(problem)
    n, tiles, dense = m + 2, tiles_of(problem), weights.dense
    A, B, G = (torch.from_numpy(matrix) for matrix in transforms(m))
    g = dense.cpu().double().reshape(groups, -1, *dense.shape[1:])  # (G, C_out / G, C_in / G, 3...)
    g = g.permute(*range(3, 3 + rank), 0, 2, 1).contiguous()
    U = along_axes(G, g, rank).flatten(0, rank - 1).to(dense)  # (n^rank, G, C_in / G, C_out / G)
    A_T, B_T = A.T.contiguous().to(dense), B.T.contiguous().to(dense)
    sizes = zip(problem.input_size, problem.padding, tiles, strict=True)
    padded = pad_step([(p, m * t + 2 - i - p) for i, p, t in sizes], axes_after=1)
    with_bias = bias_step(weights.bias, axes_after=0)
    tile_row_bytes = n**rank * problem.batch_size * prod(tiles[1:]) * problem.in_channels
    rows = max(1, TILES_BYTES // (tile_row_bytes * dense.element_size()))
    channels_last, channels_as_in = step("layout")(to_pixels), step("layout")(from_pixels)

    # (N, *tiles, C_in, n, ..., n) -> (n, ..., n, N, *tiles, C_in)
    taps_first = (*range(2 + rank, 2 + 2 * rank), *range(2 + rank))

    @step("gather")
    def tiled(d: Tensor) -> Tensor:
        for axis in range(1, 1 + rank):
            d = d.unfold(axis, n, m)
        return d.permute(taps_first).contiguous()

    transformed = step("input_transform")(lambda d: along_axes(B_T, d, rank))  # V

    @step("product")
    def multiplied(V: Tensor) -> Tensor:  # M (n, ..., n, N, *tiles, C_out)
        grouped = V.reshape(n**rank, -1, groups, U.shape[2]).transpose(1, 2)
        return (grouped @ U).transpose(1, 2).reshape(*V.shape[:-1], -1)

    # (m, ..., m, N, *tiles, C_out) -> (N, tiles, m, ..., tiles, m, C_out)
    pixel_order = (rank, *(a for i in range(rank) for a in (rank + 1 + i, i)), 2 * rank + 1)

    @step("output_transform")
    def transformed_back(M: Tensor) -> Tensor:  # (N, m rows, ..., C_out)
        Y = along_axes(A_T, M, rank)
        shape = (Y.shape[rank], *(m * t for t in Y.shape[rank + 1 : -1]), -1)
        return Y.permute(pixel_order).reshape(shape)

    inside = (slice(None), *map(slice, problem.output_size))  # tiles may exceed the output
    joined = step("join")(lambda bands: torch.cat(bands, 1)[inside])

    def conv(x: Tensor) -> Tensor:
        d = padded(channels_last(x))
        bands = (d[:, m * top : m * (top + rows) + 2] for top in range(0, tiles[0], rows))
        done = [transformed_back(multiplied(transformed(tiled(band)))) for band in bands]
        return channels_as_in(with_bias(joined(done)), x)

    return conv


def macs(problem: ConvProblem) -> int:
    """Return the products per frequency plus the matrix products of both transforms."""
    m, rank, tiles = tile_outputs(problem), problem.rank, prod(tiles_of(problem))
    n = m + 2
    products = n**rank * problem.out_channels * problem.in_channels // problem.groups
    image = rank * n ** (rank + 1) * problem.in_channels
    back = sum(m ** (axis + 1) * n ** (rank - axis) for axis in range(rank)) * problem.out_channels
    return int(problem.batch_size * tiles * (products + image + back))


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Return the direct bytes with n^rank instead of 3^rank numbers per kernel."""
    growth = (tile_outputs(problem) + 2) ** problem.rank - 3**problem.rank
    weights = problem.out_channels * problem.in_channels // problem.groups
    return problem.min_bytes(itemsize) + int(growth * weights * itemsize)


def amplification(m: int) -> float:
    """Return the error of F(m, 3) along one axis relative to a direct sum, for independent errors.

    Output k is the sum over i of A[i, k] (G g)[i] (B^T d)[i], each term with variance
    A[i, k]^2 |G[i]|^2 |B[:, i]|^2. A direct sum has 3 products of variance 1. Norms are those of
    Barabasz et al. 2020, theorem 1; errors have zero mean as in Higham & Mary 2020.
    """
    A, B, G = transforms(m)
    variances = (A**2).T @ ((G**2).sum(1) * (B**2).sum(0))
    return sqrt(float(variances.max()) / 3)


def error_bound(problem: ConvProblem) -> float:
    """Return the direct bound plus the error of the transforms, which averages over channels."""
    growth = amplification(tile_outputs(problem)) ** problem.rank
    return direct_sum_bound(problem) * (1 + growth / sqrt(problem.in_channels / problem.groups))


BACKEND = Backend(
    name="winograd",
    prepare=prepare,
    unsupported=unsupported,
    macs=macs,
    min_bytes=min_bytes,
    error_bound=error_bound,
    source="Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks",
    direct=False,
    own_padding_end=True,
    family="algorithms",
)
