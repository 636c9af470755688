"""im2col: windows copied to columns, then one matrix product per group."""

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.backends.steps import bias_step, pad_step, step
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to one matrix per group."""
    rank = problem.rank
    padded = pad_step([(p, p) for p in problem.padding])  # (N, C_in, *padded_size)
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


BACKEND = Backend(
    name="im2col",
    prepare=prepare,
    float32_sums=True,
    source="Chellapilla, Puri & Simard 2006, High Performance Convolutional Neural Networks",
)
