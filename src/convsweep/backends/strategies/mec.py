"""MEC: windows copied along all axes but the first, along which they overlap in memory.

Cho & Brand 2017, MEC: Memory-efficient Convolution for Deep Neural Network, whose names are used.
The lowered matrix L is K_h / stride times smaller than im2col's: rows are read again, not copied.
"""

from math import prod

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.backends.steps import bias_step, pad_step, step
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """Return why the rows of a window are not neighbours in memory."""
    fits = problem.groups == 1 and problem.dilation[0] == 1
    return None if fits else "needs groups=1, dilation 1 along the first axis"


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to one matrix (taps, C_out), channels fastest."""
    import torch

    from convsweep.backends.tensor_layout import from_pixels, to_pixels

    rank, taps = problem.rank, problem.taps
    padded = pad_step(problem.margins, axes_after=1)
    with_bias = bias_step(weights.bias, axes_after=0)
    axes = list(zip(problem.kernel_size, problem.dilation, problem.stride, strict=True))[1:]
    # (N, H, *rest of output_size, C_in, *rest of kernel_size) -> H and the kernel after the outputs
    order = (0, *range(2, 1 + rank), 1, *range(2 + rank, 1 + 2 * rank), 1 + rank)
    K = weights.dense.movedim(1, -1).reshape(-1, taps).T.contiguous()  # (taps, C_out)
    row = taps // problem.kernel_size[0]  # elements of L per row of a window
    starts = range(0, problem.output_size[0] * problem.stride[0] * row, problem.stride[0] * row)
    pixels = problem.batch_size * prod(problem.output_size[1:])  # per row
    rows_shape = (problem.output_size[0], problem.batch_size, *problem.output_size[1:], -1)
    channels_last, channels_as_in = step("layout")(to_pixels), step("layout")(from_pixels)

    @step("gather")
    def lowered(image: Tensor) -> Tensor:  # L
        windows = image
        for axis, (k, d, s) in enumerate(axes, start=2):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]  # a view, no copy
        return windows.permute(order).reshape(pixels, -1)

    # Row h of the output multiplies a slice of L that overlaps with the slice of row h + 1.
    multiplied = step("product")(lambda L: [L[:, start : start + taps] @ K for start in starts])
    joined = step("join")(lambda rows: torch.stack(rows).view(rows_shape).transpose(0, 1))

    def conv(x: Tensor) -> Tensor:
        L = lowered(padded(channels_last(x)))
        return channels_as_in(with_bias(joined(multiplied(L))), x)

    return conv


BACKEND = Backend(
    name="mec",
    prepare=prepare,
    unsupported=unsupported,
    float32_sums=True,
    own_padding_end=True,
    source="Cho & Brand 2017, MEC: Memory-efficient Convolution for Deep Neural Network",
    family="algorithms",
)
