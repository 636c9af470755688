"""TorchInductor, the compiler of `torch.compile`, for one problem and one input layout.

It compiles the graph directly. The guards that `torch.compile` checks at every call take about
60 us, as long as a small layer.
"""

import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convsweep.backends.base import Conv, GraphLayer, Weights
from convsweep.backends.blocks import activation, dense_graph
from convsweep.backends.engines.adapters import example, for_each_layout
from convsweep.backends.tensor_layout import bind_conv, is_channels_last
from convsweep.problems.problem import ConvProblem
from convsweep.system.private_folder import use_for_compilers

_OPTIONS: dict[str, Any] = {
    "freezing": True,
    "compile_threads": 1,  # starts no processes
    "cpp.enable_kernel_profile": True,  # a profiler sees the generated kernels
}


def unsupported(problem: ConvProblem) -> str | None:
    """Return which C++ compiler Inductor needs and does not find, or None."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"needs a C++ compiler: {compiler} is not found"


def convolution(problem: ConvProblem, weights: Weights) -> Conv:
    """Compile the problem for the layout of the weights, with PyTorch's current thread count.

    Weights are frozen into the graph, so that no call reorders them.
    """
    return block(dense_graph(problem, weights))


def block(layers: Sequence[GraphLayer]) -> Conv:
    """Compile a layer with its batch norm and ReLU."""
    (layer,) = layers
    make = partial(_compiled, layer)
    weight = layer.weight
    return for_each_layout(make, is_channels_last(weight), layer.problem.input_shape, weight.dtype)


def _compiled(layer: GraphLayer, channels_last: bool) -> Conv:
    use_for_compilers()
    import torch._inductor as inductor

    graph = torch.fx.symbolic_trace(_Layer(layer).eval())
    zeros = example(layer.problem, channels_last, layer.weight.dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses deprecated parts of torch
        run: Any = inductor.compile(graph, [zeros], options=_OPTIONS)
        run(zeros)  # the first call finishes the compilation
    return lambda x: run(x)[0]


class _Layer(nn.Module):
    """Module that computes the layer."""

    def __init__(self, layer: GraphLayer) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight, requires_grad=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias, requires_grad=False)
        self.problem, self.activation = layer.problem, activation(layer)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Compute (N, C_in, *input_size) -> (N, C_out, *output_size)."""
        y = bind_conv(self.problem, self.weight, self.bias)(x)
        return (self.activation(y),)
