"""oneDNN as shipped with PyTorch, with weights reordered once instead of at every call."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from convsweep.backends.base import Conv, GraphLayer
from convsweep.backends.blocks import activation
from convsweep.backends.engines.adapters import for_each_layout
from convsweep.backends.steps import step
from convsweep.backends.tensor_layout import from_pixels, is_channels_last
from convsweep.problems.problem import ConvProblem

_LARGE = 2**17  # output elements; above, converting rows takes longer than blocks do


def unsupported(problem: ConvProblem) -> str | None:
    """Return the reason if this build of PyTorch has no oneDNN, or None."""
    return None if torch._C._has_mkldnn else "needs a PyTorch built with oneDNN"


def dtype_unsupported(problem: ConvProblem, dtype: str) -> str | None:
    """Return the reason if oneDNN does not compute in this 16-bit dtype on this CPU, or None."""
    supported = {
        "bfloat16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
        "float16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    ok = dtype not in supported or supported[dtype]()
    return None if ok else f"oneDNN does not compute in {dtype} on this CPU"


def convolution(layers: Sequence[GraphLayer]) -> Conv:
    """Return a function that runs one layer, or a depthwise and a pointwise one.

    ReLU is part of a convolution's primitive, unless a batch norm is between them.
    """
    convs = [_convolution(layer) for layer in layers]
    if len(convs) == 1:
        return convs[0]
    depthwise, pointwise = step("depthwise")(convs[0]), step("pointwise")(convs[1])
    return lambda x: pointwise(depthwise(x))


def _convolution(layer: GraphLayer) -> Conv:
    """Prepare one layer with PyTorch's fused operators, which accept reordered weights.

    oneDNN computes in rows of all channels, or in blocks of 8 or 16 channels, to which it converts
    contiguous inputs itself. Each needs its own order of weights.
    """
    flat = layer.problem.rank == 1

    def make(channels_last: bool) -> Conv:
        if not channels_last and _prefers_blocks(layer):
            return _in_blocks(layer)
        return _in_rows(layer, channels_last)

    _, size, _ = _as_image(layer)
    weight = layer.weight
    conv = for_each_layout(make, is_channels_last(weight), tuple(size), weight.dtype)
    after = activation(layer) if _attached(layer) == "none" else lambda y: y
    return (lambda x: after(conv(x.unsqueeze(2)).squeeze(2))) if flat else lambda x: after(conv(x))


def _prefers_blocks(layer: GraphLayer) -> bool:
    problem = layer.problem
    large = torch.Size(problem.output_shape).numel() >= _LARGE
    return problem.rank < 3 and (problem.groups > 1 or large)


def _attached(layer: GraphLayer) -> str:
    """Return the operation that the convolution's primitive applies to its sums."""
    return "relu" if layer.relu == math.inf and not layer.norm else "none"


def _in_blocks(layer: GraphLayer) -> Conv:
    operators = torch.ops.mkldnn_prepacked
    weight, size, (stride, padding, dilation) = _as_image(layer)
    packed = operators.conv2d_prepack(
        weight, layer.bias, stride, padding, dilation, layer.problem.groups, size, _attached(layer)
    )
    run = operators.conv2d_run.default
    return lambda x: run(x, packed)


def _in_rows(layer: GraphLayer, channels_last: bool) -> Conv:
    operators, groups, bias = torch.ops.mkldnn, layer.problem.groups, layer.bias
    weight, size, (stride, padding, dilation) = _as_image(layer)
    packed = operators._reorder_convolution_weight(weight, padding, stride, dilation, groups, size)
    run, relu = operators._convolution_pointwise.default, _attached(layer)

    def conv(x: Tensor) -> Tensor:
        y: Tensor = run(x, packed, bias, padding, stride, dilation, groups, relu, [], "")
        return y if channels_last else from_pixels(y.movedim(1, -1), like=x)

    return conv


def _as_image(layer: GraphLayer) -> tuple[Tensor, list[int], Sequence[list[int]]]:
    """Return weight, input size and (stride, padding, dilation); of a 1-D layer as a 2-D one."""
    problem, weight = layer.problem, layer.weight
    size, geometry = list(problem.input_shape), (problem.stride, problem.padding, problem.dilation)
    if problem.rank > 1:
        return weight, size, [list(values) for values in geometry]
    size.insert(2, 1)
    return (
        weight.unsqueeze(2),
        size,
        [[first, *values] for first, values in zip((1, 0, 1), geometry, strict=True)],
    )
