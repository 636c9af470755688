"""oneDNN as PyTorch ships it, with weights reordered once instead of at every call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convsweep.backends.base import Conv
from convsweep.backends.engines.adapters import is_channels_last, made_for_each
from convsweep.backends.engines.graph import Layer
from convsweep.backends.tensor_layout import from_pixels
from convsweep.problems.problem import ConvProblem

_LARGE = 2**17  # elements of an answer that takes longer to convert than blocks are slower


def unsupported(problem: ConvProblem) -> str | None:
    """A build of PyTorch may come without oneDNN."""
    return None if torch._C._has_mkldnn else "needs a PyTorch built with oneDNN"


def convolution(layers: Sequence[Layer]) -> Conv:
    """The layers one after the other."""
    convs = [_convolution(layer) for layer in layers]

    def conv(x: Tensor) -> Tensor:
        for each in convs:
            x = each(x)
        return x

    return convs[0] if len(convs) == 1 else conv


def _convolution(layer: Layer) -> Conv:
    """One of them by PyTorch's fused operators, which alone take reordered weights.

    oneDNN has two ways: rows of all channels, or planes in blocks of 8 or 16 channels, which it
    makes of contiguous inputs itself. Each wants weights in an order of its own.
    """
    flat = layer.problem.rank == 1

    def make(channels_last: bool) -> Conv:
        if not channels_last and _prefers_blocks(layer):
            return _in_blocks(layer)
        return _in_rows(layer, channels_last)

    _, size, _ = _as_image(layer)
    conv = made_for_each(make, is_channels_last(layer.weight), tuple(size))
    return (lambda x: conv(x.unsqueeze(2)).squeeze(2)) if flat else conv


def _prefers_blocks(layer: Layer) -> bool:
    problem = layer.problem
    large = torch.Size(problem.output_shape).numel() >= _LARGE
    return problem.rank < 3 and (problem.groups > 1 or large)


def _in_blocks(layer: Layer) -> Conv:
    operators = torch.ops.mkldnn_prepacked
    weight, size, (stride, padding, dilation) = _as_image(layer)
    packed = operators.conv2d_prepack(
        weight, layer.bias, stride, padding, dilation, layer.problem.groups, size, "none"
    )
    run = operators.conv2d_run.default

    def conv(x: Tensor) -> Tensor:
        y: Tensor = run(x, packed)
        return y

    return conv


def _in_rows(layer: Layer, channels_last: bool) -> Conv:
    operators, groups, bias = torch.ops.mkldnn, layer.problem.groups, layer.bias
    weight, size, (stride, padding, dilation) = _as_image(layer)
    packed = operators._reorder_convolution_weight(weight, padding, stride, dilation, groups, size)
    run = operators._convolution_pointwise.default

    def conv(x: Tensor) -> Tensor:
        y: Tensor = run(x, packed, bias, padding, stride, dilation, groups, "none", [], "")
        return y if channels_last else from_pixels(y.movedim(1, -1), like=x)

    return conv


def _as_image(layer: Layer) -> tuple[Tensor, list[int], Sequence[list[int]]]:
    """Weight, input size, and stride, padding and dilation; of a line, those of an image."""
    problem, weight = layer.problem, layer.weight
    size, ways = list(problem.input_shape), (problem.stride, problem.padding, problem.dilation)
    if problem.rank > 1:
        return weight, size, [list(way) for way in ways]
    size.insert(2, 1)
    return (
        weight.unsqueeze(2),
        size,
        [[fill, *way] for fill, way in zip((1, 0, 1), ways, strict=True)],
    )
