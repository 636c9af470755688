"""Plain PyTorch code of both layers of a pair."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from convsweep.problems.problem import ConvProblem


def make_layer(pair: ConvProblem, layer: str) -> Callable[[], Tensor]:
    """Return a call of the `standard` or `separable` layer on random inputs."""
    x = torch.randn(pair.input_shape)
    shape = {"stride": pair.stride, "padding": pair.padding, "dilation": pair.dilation}
    if layer == "standard":
        weight = torch.randn(pair.weight_shape)
        return lambda: conv2d(x, weight, **shape)
    depthwise = torch.randn(pair.in_channels, 1, *pair.kernel_size)
    pointwise = torch.randn(pair.out_channels, pair.in_channels, 1, 1)
    return lambda: conv2d(conv2d(x, depthwise, groups=pair.in_channels, **shape), pointwise)
