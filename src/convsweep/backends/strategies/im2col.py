"""im2col: windows copied to columns, then one matrix product per group.

Transposed, in reverse: one product per group, then columns added to their windows (col2im).
"""

from itertools import product
from math import prod

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.backends.steps import bias_step, pad_step, step
from convsweep.problems.case import ITEMSIZE
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to one matrix per group."""
    if problem.transposed:
        return _transposed(problem, weights)
    rank = problem.rank
    padded = pad_step(problem.margins)  # (N, C_in, *padded_size)
    axes = list(zip(problem.kernel_size, problem.dilation, problem.stride, strict=True))
    # (N, C_in, *output_size, *kernel_size) -> (N, C_in, *kernel_size, *output_size)
    kernel_first = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    columns_shape = (problem.batch_size, problem.groups, problem.taps, -1)
    output_shape = problem.output_shape
    matrix = weights.dense.reshape(problem.groups, -1, problem.taps)  # (G, C_out / G, taps)
    with_bias = bias_step(weights.bias, rank)

    @step("gather")
    def columns_of(image: Tensor) -> Tensor:  # (N, G, taps, prod(output_size))
        windows = image
        for axis, (k, d, s) in enumerate(axes, start=2):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]  # a view, no copy
        return windows.permute(kernel_first).reshape(columns_shape)  # each pixel once per window

    multiplied = step("product")(lambda columns: (matrix @ columns).reshape(output_shape))
    return lambda x: with_bias(multiplied(columns_of(padded(x))))


def _transposed(problem: ConvProblem, weights: Weights) -> Conv:
    rank, groups, taps = problem.rank, problem.groups, prod(problem.kernel_size)
    kernels = weights.dense.reshape(groups, problem.in_channels // groups, -1)
    matrix = kernels.mT.contiguous()  # (G, C_out / G * taps, C_in / G)
    pixels_shape = (problem.batch_size, groups, matrix.shape[2], -1)
    columns_shape = (problem.batch_size, problem.out_channels, taps, *problem.input_size)
    axes = list(zip(problem.dilation, problem.input_size, problem.stride, strict=True))
    shifts = (
        [slice(t * d, t * d + (i - 1) * s + 1, s) for t in range(k)]
        for k, (d, i, s) in zip(problem.kernel_size, axes, strict=True)
    )
    windows = [(slice(None), slice(None), *window) for window in product(*shifts)]
    cropped = list(zip(problem.output_size, problem.padding, strict=True))
    inside = (slice(None), slice(None), *(slice(p, p + size) for size, p in cropped))
    full_shape = (*problem.output_shape[:2], *(size + 2 * p for size, p in cropped))
    with_bias = bias_step(weights.bias, rank)

    multiplied = step("product")(lambda pixels: (matrix @ pixels).reshape(columns_shape))

    @step("shift")
    def added(columns: Tensor) -> Tensor:  # (N, C_out, *output_size)
        y = columns.new_zeros(full_shape)
        for window, column in zip(windows, columns.unbind(2), strict=True):
            y[window].add_(column)
        return y[inside].contiguous()

    return lambda x: with_bias(added(multiplied(x.reshape(pixels_shape))))


def dtype_unsupported(problem: ConvProblem, dtype: str) -> str | None:
    """Return why a transposed problem is skipped: its windows would add up in 16 bits."""
    if problem.transposed and ITEMSIZE[dtype] < 4:
        return "computes transposed convolutions in float32, float64"
    return None


BACKEND = Backend(
    name="im2col",
    prepare=prepare,
    float32_sums=True,
    own_padding_end=True,
    transposed=True,
    dtype_unsupported=dtype_unsupported,
    source="Chellapilla, Puri & Simard 2006, High Performance Convolutional Neural Networks",
)
