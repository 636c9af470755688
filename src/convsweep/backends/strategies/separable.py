"""Depthwise-separable layer: a depthwise, then a 1x1 convolution (Howard et al. 2017)."""

from functools import partial

from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import (
    not_separable_reason,
    separable_macs,
    separable_min_bytes,
)

_BY_RANK = {1: conv1d, 2: conv2d, 3: conv3d}


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Use the two factors of the weight instead of the weight."""
    assert weights.factors is not None
    depthwise, pointwise = weights.factors  # (C_in, 1, *kernel_size), (C_out, C_in, 1, ...)
    convolve = _BY_RANK[problem.rank]
    depthwise_conv = partial(
        convolve,
        weight=depthwise,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.in_channels,
    )
    pointwise_conv = partial(convolve, weight=pointwise, bias=weights.bias)

    def conv(x: Tensor) -> Tensor:
        return pointwise_conv(depthwise_conv(x))  # both (N, C, *output_size)

    return conv


BACKEND = Backend(
    name="separable",
    prepare=prepare,
    unsupported=not_separable_reason,
    macs=separable_macs,
    min_bytes=separable_min_bytes,
    error_bound=factored_sum_bound,
    source="Howard et al. 2017, MobileNets; Sifre 2014",
    needs_factors=True,
)
