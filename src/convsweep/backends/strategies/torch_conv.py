"""PyTorch's own convolution: its library chooses the algorithm."""

from functools import partial

import torch
from torch.nn.functional import conv1d, conv2d, conv3d

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.problems.problem import ConvProblem

_BY_RANK = {1: conv1d, 2: conv2d, 3: conv3d}


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Bind the weights; PyTorch prepares nothing in advance."""
    return partial(
        _BY_RANK[problem.rank],
        weight=weights.dense,
        bias=weights.bias,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.groups,
    )


BACKEND = Backend(
    name="torch_conv",
    prepare=prepare,
    error_bound=library_bound,
    source="torch.nn.functional.conv1d, conv2d, conv3d",
    version=f"torch {torch.__version__}",
    direct=False,
)
