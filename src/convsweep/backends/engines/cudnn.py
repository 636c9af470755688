"""cuDNN with settings that apply during the call only."""

import torch
from torch import Tensor

from convsweep.backends.base import Conv, Weights
from convsweep.backends.tensor_layout import bind_weights
from convsweep.problems.problem import ConvProblem


def convolution(
    problem: ConvProblem, weights: Weights, *, benchmark: bool = False, tf32: bool = False
) -> Conv:
    """Return PyTorch's convolution with cuDNN's autotuning, or with TF32 (10 bits of mantissa).

    PyTorch has these settings once per process. Every call sets and restores them, which takes
    less than a microsecond, so that other backends are unaffected.
    """
    convolve, settings = bind_weights(problem, weights), torch.backends.cudnn

    def conv(x: Tensor) -> Tensor:
        before = settings.benchmark, settings.allow_tf32
        settings.benchmark, settings.allow_tf32 = benchmark, tf32
        try:
            return convolve(x)
        finally:
            settings.benchmark, settings.allow_tf32 = before

    return conv
