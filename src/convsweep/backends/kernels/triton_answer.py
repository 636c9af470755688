"""The answer of kernels that take their input as it lies: in the layout that fits it."""

from __future__ import annotations

import torch
from torch import Tensor

from convsweep.backends.tensor_layout import check_input
from convsweep.problems.problem import ConvProblem


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side, and not the pixels of a channel."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def answer(problem: ConvProblem, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Memory for it, (N, C_out, *output_size), as a convolution of `x` would have it.

    Raises:
        ValueError: `x` of another shape than the problem's, or of another dtype than the weights'.
    """
    check_input(x, problem.input_shape, dtype)
    format_ = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return torch.empty(problem.output_shape, dtype=x.dtype, device=x.device, memory_format=format_)
