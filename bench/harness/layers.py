"""Both layers of a pair as anyone would write them down to time them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from convsweep.problems.problem import ConvProblem


def make_layer(pair: ConvProblem, layer: str) -> Callable[[], Tensor]:
    """A call of the `standard` or the `separable` layer, on inputs drawn once."""
    x = torch.randn(pair.input_shape)
    shape = {"stride": pair.stride, "padding": pair.padding}
    if layer == "standard":
        weight = torch.randn(pair.weight_shape)
        return lambda: conv2d(x, weight, **shape)
    depthwise = torch.randn(pair.in_channels, 1, *pair.kernel_size)
    pointwise = torch.randn(pair.out_channels, pair.in_channels, 1, 1)
    return lambda: conv2d(conv2d(x, depthwise, groups=pair.in_channels, **shape), pointwise)
