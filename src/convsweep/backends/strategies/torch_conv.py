"""PyTorch's own convolution: its library chooses the algorithm."""

import torch

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.backends.tensor_layout import bind_conv
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Bind the weights; PyTorch prepares nothing in advance."""
    return bind_conv(problem, weights.dense, weights.bias)


BACKEND = Backend(
    name="torch_conv",
    prepare=prepare,
    error_bound=library_bound,
    source="torch.nn.functional.conv1d, conv2d, conv3d",
    version=f"torch {torch.__version__}",
    direct=False,
)
