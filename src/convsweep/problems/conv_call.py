"""Problem of one call of torch's `conv1d`, `conv2d` or `conv3d`, from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence

from convsweep.problems.problem import ConvProblem, Size, per_dimension


def convolution_problem(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    bias: bool,
) -> ConvProblem:
    """Return the problem that a call computes; its arguments are torch's.

    Args:
        input_shape: (N, C_in, *input_size), or the same without N.
        weight_shape: (C_out, C_in / groups, *kernel_size).
        stride: one number, or one per dimension, as for `padding` and `dilation`.
        padding: also "valid" or "same".
        dilation: distance of taps.
        groups: number of channel groups.
        bias: whether the call has one.

    Raises:
        ValueError: no `ConvProblem` has this shape.
    """
    kernel_size = tuple(weight_shape[2:])
    rank = len(kernel_size)
    batch_size, channels, *input_size = (1,) * (rank + 2 - len(input_shape)) + tuple(input_shape)
    dilation = per_dimension(dilation, rank)
    if padding == "same":
        rows, padding = same_padding(kernel_size, dilation)
        input_size = [size + row for size, row in zip(input_size, rows, strict=True)]
    if channels != weight_shape[1] * groups:
        raise ValueError(f"the input has {channels} channels, not {weight_shape[1] * groups}")
    return ConvProblem(
        channels,
        weight_shape[0],
        input_size,
        kernel_size,
        batch_size=batch_size,
        stride=per_dimension(stride, rank),
        padding=0 if isinstance(padding, str) else per_dimension(padding, rank),
        dilation=dilation,
        groups=groups,
        bias=bias,
    )


def same_padding(kernel_size: Size, dilation: Size) -> tuple[Size, Size]:
    """Return, per dimension, the zeros that `padding="same"` adds: behind, and on both sides.

    Torch copies the input with one zero behind if the total is odd, and pads both sides alike.
    """
    added = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    return tuple(rows % 2 for rows in added), tuple(rows // 2 for rows in added)
