"""PyTorch's oneDNN with the weights reordered once, where torch_conv does so at every call."""

import torch

from convsweep.backend import Backend, Conv, Weights, library_bound
from convsweep.engines import layers, onednn
from convsweep.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """The weights in the order that oneDNN's primitive wants."""
    return onednn.convolution(layers.dense(problem, weights))


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
