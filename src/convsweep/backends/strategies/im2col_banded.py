"""im2col for one band of output rows at a time, so that columns are used while still cached.

The lowering of Chellapilla et al. 2006, blocked as in Goto & van de Geijn 2008 (Anatomy of
High-Performance Matrix Multiplication): the columns of a band take half of an L2 cache.
"""

from collections.abc import Iterator
from math import prod

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.backends.steps import pad_step, step
from convsweep.problems.problem import ConvProblem

COLUMNS_BYTES = 1 << 18  # Half of a typical L2 cache of 512 KB; weights and outputs use the rest


def bands(problem: ConvProblem, itemsize: int) -> Iterator[slice]:
    """Return the output rows of one image, in bands whose columns fit into `COLUMNS_BYTES`."""
    row = problem.in_channels * prod(problem.kernel_size) * prod(problem.output_size[1:]) * itemsize
    rows, end = max(1, COLUMNS_BYTES // row), problem.output_size[0]
    return (slice(first, min(first + rows, end)) for first in range(0, end, rows))


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to one matrix per group, in the order of windows in memory."""
    from convsweep.backends.tensor_layout import from_pixels, to_pixels

    rank, groups, taps = problem.rank, problem.groups, problem.taps
    padded = pad_step(problem.margins, axes_after=1)
    axes = list(zip(problem.kernel_size, problem.dilation, problem.stride, strict=True))
    kernels = weights.dense.movedim(1, -1).reshape(groups, -1, taps)  # (G, C_out / G, taps)
    matrix = kernels.transpose(1, 2).contiguous()
    places = [
        (image, rows)
        for image in range(problem.batch_size)
        for rows in bands(problem, weights.dense.element_size())
    ]
    channels_last, channels_as_in = step("layout")(to_pixels), step("layout")(from_pixels)

    @step("gather")
    def windows_of(image: Tensor) -> Tensor:
        windows = image.reshape(*image.shape[:-1], groups, -1)
        for axis, (k, d, s) in enumerate(axes, start=1):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]  # a view, no copy
        # (G, N, *output_size, *kernel_size, C_in / G): neighbours in memory stay neighbours
        return windows.movedim(1 + rank, 0).movedim(2 + rank, -1)

    columns_of = step("gather")(lambda windows: windows.reshape(groups, -1, taps))  # the copy
    multiplied = step("product")(lambda columns: columns @ matrix)  # (G, pixels, C_out / G)
    put = step("join")(lambda y, band: y.copy_(band.transpose(0, 1).reshape(y.shape)))
    add_bias = step("bias")(lambda y: y.add_(weights.bias))

    def conv(x: Tensor) -> Tensor:
        windows = windows_of(padded(channels_last(x)))
        y = x.new_empty(problem.batch_size, *problem.output_size, problem.out_channels)
        for image, rows in places:
            put(y[image, rows], multiplied(columns_of(windows[:, image, rows])))
        return channels_as_in(y if weights.bias is None else add_bias(y), x)

    return conv


BACKEND = Backend(
    name="im2col_banded",
    prepare=prepare,
    float32_sums=True,
    own_padding_end=True,
    source="Chellapilla, Puri & Simard 2006; Goto & van de Geijn 2008",
    family="algorithms",
)
