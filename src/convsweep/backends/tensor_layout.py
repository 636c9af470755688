"""Tensors of a problem: PyTorch's convolution of its rank, layouts, and input checks."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from convsweep.backends.base import Conv, Weights
from convsweep.problems.problem import ConvProblem

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Memory formats by the dimensions of a tensor."""
CONV_BY_RANK = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED_BY_RANK = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def bind_conv(problem: ConvProblem, weight: Tensor, bias: Tensor | None) -> Conv:
    """Return PyTorch's convolution with all arguments but the input."""
    if problem.transposed:
        function = partial(_TRANSPOSED_BY_RANK[problem.rank], output_padding=problem.output_padding)
    else:
        function = partial(CONV_BY_RANK[problem.rank])
    return partial(
        function,
        weight=weight,
        bias=bias,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.groups,
    )


def bind_weights(problem: ConvProblem, weights: Weights) -> Conv:
    """Return PyTorch's convolution with these weights, of which it prepares nothing."""
    return bind_conv(problem, weights.dense, weights.bias)


def check_input(x: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
    """Check that an input is what the backend was prepared for; kernels read raw memory.

    Raises:
        ValueError: another shape or dtype.
    """
    if x.shape != shape or x.dtype is not dtype:
        raise ValueError(
            f"x must be {tuple(shape)} in {dtype}, as prepared for, "
            f"not {tuple(x.shape)} in {x.dtype}"
        )


def is_channels_last(x: Tensor) -> bool:
    """Return whether the channels of a pixel are neighbours; False if also contiguous."""
    if x.is_contiguous():
        return False
    if (memory_format := CHANNELS_LAST.get(x.dim())) is not None:
        return x.is_contiguous(memory_format=memory_format)
    return x.movedim(1, -1).is_contiguous()


def to_pixels(x: Tensor) -> Tensor:
    """Return x (N, C, *size) as (N, *size, C), contiguous; a view if x is channels_last."""
    pixels = x.movedim(1, -1)
    if pixels.is_contiguous():
        return pixels
    # Image by image: torch transposes matrices in blocks, and larger tensors element by element.
    return torch.stack([image.flatten(1).T for image in x]).view(pixels.shape)


def from_pixels(y: Tensor, like: Tensor) -> Tensor:
    """Return y (N, *size, C) as (N, C, *size), contiguous if `like` is, else channels_last."""
    if not like.is_contiguous():
        return y.contiguous().movedim(-1, 1)
    return torch.stack([image.flatten(0, -2).T for image in y]).view(y.movedim(-1, 1).shape)


def in_layout_of(x: Tensor, y: Tensor) -> Tensor:
    """Return y (N, C, *size), contiguous if `x` is, else channels_last."""
    return y.contiguous() if x.is_contiguous() else to_pixels(y).movedim(-1, 1)
