"""Problem of one call of torch's `conv1d`, `conv2d`, `conv3d`, or of their transposed ones."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from convsweep.problems.case import DTYPES
from convsweep.problems.problem import ConvProblem, Size, per_dimension

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def convolution_problem(
    input: Tensor,  # (N, C_in, *input_size), or the same without N
    weight: Tensor,  # (C_out, C_in / groups, *kernel_size), transposed (C_in, C_out / groups, ...)
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: int | Sequence[int] = 0,
) -> ConvProblem:
    """Return the problem that a call computes; its arguments are torch's.

    Raises:
        ValueError: no `ConvProblem` describes the call.
    """
    if dtype_name(input.dtype) not in DTYPES:
        raise ValueError(dtype_reason(input))
    kernel_size = tuple(weight.shape[2:])
    rank = len(kernel_size)
    batch_size, channels, *input_size = (1,) * (rank + 2 - input.dim()) + tuple(input.shape)
    dilation = per_dimension(dilation, rank)
    padding_end = None
    if padding == "same":
        padding, padding_end = same_padding(kernel_size, dilation)
    in_channels, out_channels = weight.shape[1] * groups, weight.shape[0]
    if transposed:
        in_channels, out_channels = out_channels, in_channels
    if channels != in_channels:
        raise ValueError(f"the input has {channels} channels, not {in_channels}")
    return ConvProblem(
        channels,
        out_channels,
        input_size,
        kernel_size,
        batch_size=batch_size,
        stride=per_dimension(stride, rank),
        padding=0 if isinstance(padding, str) else per_dimension(padding, rank),
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
        padding_end=padding_end,
        transposed=transposed,
        output_padding=per_dimension(output_padding, rank),
    )


def with_zeros(problem: ConvProblem, zeros: Sequence[int]) -> ConvProblem:
    """Return the problem on the image to which `zeros` were added, as `F.pad` takes them."""
    sides = [*zeros, *[0] * (2 * problem.rank - len(zeros))]
    before, behind = sides[::2][::-1], sides[1::2][::-1]
    if problem.transposed or len(before) > problem.rank or min(sides) < 0:
        return problem
    axes = zip(problem.input_size, before, behind, strict=True)
    return replace(
        problem,
        input_size=tuple(size - front - back for size, front, back in axes),
        padding=tuple(map(operator.add, problem.padding, before)),
        padding_end=tuple(map(operator.add, problem.padding_end, behind)),
    )


def dtype_name(dtype: torch.dtype) -> str:
    """Return `torch.float32` as `float32`."""
    return str(dtype).removeprefix("torch.")


def dtype_reason(x: Tensor) -> str:
    """Return why a convolution of this dtype is not measured."""
    return f"{dtype_name(x.dtype)} convolutions are not measured"


def same_padding(kernel_size: Size, dilation: Size) -> tuple[Size, Size]:
    """Return, per dimension, the zeros that `padding="same"` adds: before, and behind."""
    return halves([d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)])


def halves(added: Sequence[int]) -> tuple[Size, Size]:
    """Return the smaller and the larger half of each number."""
    return tuple(n // 2 for n in added), tuple(n - n // 2 for n in added)
