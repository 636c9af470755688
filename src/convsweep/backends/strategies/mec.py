"""MEC: windows copied along all axes but the first, along which they overlap in memory.

Cho & Brand 2017, MEC: Memory-efficient Convolution for Deep Neural Network, whose names are used.
The lowered matrix L is K_h / stride times smaller than im2col's: rows are read again, not copied.
"""

from math import prod

from convsweep.backends.base import Backend, Conv, Tensor, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """Return why the rows of a window are not neighbours in memory."""
    if problem.groups == 1 and problem.dilation[0] == 1:
        return None
    return "needs groups=1, dilation 1 along the first axis"


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the kernels to one matrix (taps, C_out), channels fastest."""
    import torch
    from torch.nn.functional import pad

    from convsweep.backends.tensor_layout import from_pixels, to_pixels

    rank, taps = problem.rank, problem.taps
    margins = [0, 0, *(p for side in reversed(problem.padding) for p in (side, side))]
    axes = list(zip(problem.kernel_size, problem.dilation, problem.stride, strict=True))[1:]
    # (N, H, *rest of output_size, C_in, *rest of kernel_size) -> H and the kernel after the outputs
    order = (0, *range(2, 1 + rank), 1, *range(2 + rank, 1 + 2 * rank), 1 + rank)
    K = weights.dense.movedim(1, -1).reshape(-1, taps).T.contiguous()  # (taps, C_out)
    row = taps // problem.kernel_size[0]  # elements of L per row of a window
    steps = range(0, problem.output_size[0] * problem.stride[0] * row, problem.stride[0] * row)

    def conv(x: Tensor) -> Tensor:
        windows = pad(to_pixels(x), margins)  # (N, H, ..., C_in)
        for axis, (k, d, s) in enumerate(axes, start=2):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]  # a view, no copy
        L = windows.permute(order).reshape(problem.batch_size * prod(problem.output_size[1:]), -1)
        # Row h of the output multiplies a slice of L that overlaps with the slice of row h + 1.
        rows = torch.stack([L[:, step : step + taps] @ K for step in steps])
        y = rows.view(problem.output_size[0], problem.batch_size, *problem.output_size[1:], -1)
        y = y.transpose(0, 1)  # (N, *output_size, C_out)
        return from_pixels(y if weights.bias is None else y + weights.bias, like=x)

    return conv


BACKEND = Backend(
    name="mec",
    prepare=prepare,
    unsupported=unsupported,
    source="Cho & Brand 2017, MEC: Memory-efficient Convolution for Deep Neural Network",
    family="algorithms",
)
