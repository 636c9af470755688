"""cuDNN with settings that hold during the call only."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d

from convsweep.backends.base import Conv, Weights
from convsweep.problems.problem import ConvProblem

_BY_RANK = {1: conv1d, 2: conv2d, 3: conv3d}


def convolution(
    problem: ConvProblem, weights: Weights, *, benchmark: bool = False, tf32: bool = False
) -> Conv:
    """Return PyTorch's convolution with cuDNN's autotuning, or with TF32 (10 bits of mantissa).

    PyTorch has these settings once per process. Every call sets and restores them, which takes
    less than a microsecond, so that other backends are unaffected.
    """
    convolve = partial(
        _BY_RANK[problem.rank],
        weight=weights.dense,
        bias=weights.bias,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.groups,
    )
    settings = torch.backends.cudnn

    def conv(x: Tensor) -> Tensor:
        before = settings.benchmark, settings.allow_tf32
        settings.benchmark, settings.allow_tf32 = benchmark, tf32
        try:
            return convolve(x)
        finally:
            settings.benchmark, settings.allow_tf32 = before

    return conv
