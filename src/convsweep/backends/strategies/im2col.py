"""im2col: windows copied to columns, then one matrix product per group."""

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to one matrix per group."""
    from torch.nn.functional import pad

    rank = problem.rank
    margins = [p for side in reversed(problem.padding) for p in (side, side)]
    axes = list(zip(problem.kernel_size, problem.dilation, problem.stride, strict=True))
    # (N, C_in, *output_size, *kernel_size) -> (N, C_in, *kernel_size, *output_size)
    kernel_first = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    columns_shape = (problem.batch_size, problem.groups, problem.taps, -1)
    output_shape = problem.output_shape
    matrix = weights.dense.reshape(problem.groups, -1, problem.taps)  # (G, C_out / G, taps)
    bias = None if weights.bias is None else weights.bias.view(-1, *[1] * rank)

    def conv(x: Tensor) -> Tensor:
        windows = pad(x, margins) if any(margins) else x
        for axis, (k, d, s) in enumerate(axes, start=2):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]  # a view, no copy
        # The copy, of each pixel once per window: (N, G, taps, prod(output_size))
        columns = windows.permute(kernel_first).reshape(columns_shape)
        y = (matrix @ columns).reshape(output_shape)
        return y if bias is None else y + bias

    return conv


BACKEND = Backend(
    name="im2col",
    prepare=prepare,
    source="Chellapilla, Puri & Simard 2006, High Performance Convolutional Neural Networks",
)
