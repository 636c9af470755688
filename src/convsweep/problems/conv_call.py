"""Problem of one call of torch's `conv1d`, `conv2d` or `conv3d`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convsweep.problems.case import DTYPES
from convsweep.problems.problem import ConvProblem, Size, per_dimension

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def convolution_problem(
    input: Tensor,  # (N, C_in, *input_size), or the same without N
    weight: Tensor,  # (C_out, C_in / groups, *kernel_size)
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
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
    if padding == "same":
        rows, padding = same_padding(kernel_size, dilation)
        input_size = [size + row for size, row in zip(input_size, rows, strict=True)]
    if channels != weight.shape[1] * groups:
        raise ValueError(f"the input has {channels} channels, not {weight.shape[1] * groups}")
    return ConvProblem(
        channels,
        weight.shape[0],
        input_size,
        kernel_size,
        batch_size=batch_size,
        stride=per_dimension(stride, rank),
        padding=0 if isinstance(padding, str) else per_dimension(padding, rank),
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
    )


def dtype_name(dtype: torch.dtype) -> str:
    """Return `torch.float32` as `float32`."""
    return str(dtype).removeprefix("torch.")


def dtype_reason(x: Tensor) -> str:
    """Return why a convolution of this dtype is not measured."""
    return f"{dtype_name(x.dtype)} convolutions are not measured"


def same_padding(kernel_size: Size, dilation: Size) -> tuple[Size, Size]:
    """Return, per dimension, the zeros that `padding="same"` adds: behind, and on both sides.

    Torch copies the input with one zero behind if the total is odd, and pads both sides alike.
    """
    added = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    return tuple(rows % 2 for rows in added), tuple(rows // 2 for rows in added)
