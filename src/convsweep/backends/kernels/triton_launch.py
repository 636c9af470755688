"""Output and arguments of the Triton kernels, which take inputs in any layout."""

import torch
from torch import Tensor

from convsweep.backends.tensor_layout import check_input, is_channels_last
from convsweep.problems.problem import ConvProblem


def empty_output(problem: ConvProblem, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return new memory for the output (N, C_out, *output_size), in the layout of `x`.

    Raises:
        ValueError: `x` has another shape than the problem, or another dtype than the weights.
    """
    check_input(x, problem.input_shape, dtype)
    format_ = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return torch.empty(problem.output_shape, dtype=x.dtype, device=x.device, memory_format=format_)


def geometry(problem: ConvProblem, x: Tensor, y: Tensor) -> tuple[int, ...]:
    """Return the arguments from `height` to `KERNEL_W`: sizes, strides of x and y, geometry."""
    sizes = (*problem.input_size, *problem.output_size, *x.stride(), *y.stride())
    steps = (*problem.stride, *problem.padding, *problem.dilation, *problem.kernel_size)
    return (*sizes, *steps)
