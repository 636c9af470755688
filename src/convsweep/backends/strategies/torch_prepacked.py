"""PyTorch's oneDNN with the weights reordered once, where torch_conv does so at every call."""

import torch

from convsweep.backends.base import Backend, Conv, Weights, library_bound
from convsweep.backends.engines import graph, onednn
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """The weights in the order that oneDNN's primitive wants."""
    return onednn.convolution(graph.dense(problem, weights))


BACKEND = Backend(
    name="torch_prepacked",
    prepare=prepare,
    unsupported=onednn.unsupported,
    error_bound=library_bound,
    source="oneDNN by torch.ops.mkldnn and torch.ops.mkldnn_prepacked",
    version=f"torch {torch.__version__}",
    direct=False,
    device_types=("cpu",),
    dtypes=("float32",),
    family="engines",
)
