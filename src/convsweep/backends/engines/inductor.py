"""TorchInductor, which `torch.compile` runs: weights frozen, one problem, one layout of its input.

It is given the graph itself, without the guards that `torch.compile` checks at every call: they
take some 60 us, as long as a small layer.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, conv3d

from convsweep.backends.base import Conv, Weights
from convsweep.backends.engines.adapters import example, is_channels_last, made_for_each
from convsweep.problems.problem import ConvProblem

_OPTIONS: dict[str, Any] = {
    "freezing": True,
    "compile_threads": 1,  # no processes beside the measuring one
}
_BY_RANK = {1: conv1d, 2: conv2d, 3: conv3d}


@cache
def missing_compiler() -> str | None:
    """What Inductor lacks here, in words, or None."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"needs a C++ compiler: {compiler} is not found"


def convolution(problem: ConvProblem, weights: Weights) -> Conv:
    """The problem compiled, with as many threads as PyTorch has now.

    It is compiled here, in the layout of the weights, not at the first call: weights are frozen
    into the graph while it is compiled.
    """

    def make(channels_last: bool) -> Conv:
        return _compiled(problem, weights, channels_last)

    return made_for_each(make, is_channels_last(weights.dense), problem.input_shape)


def _compiled(problem: ConvProblem, weights: Weights, channels_last: bool) -> Conv:
    import torch._inductor as inductor

    graph = torch.fx.symbolic_trace(_Layer(problem, weights).eval())
    zeros = example(problem, channels_last)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own parts that torch has deprecated
        run: Any = inductor.compile(graph, [zeros], options=_OPTIONS)
        run(zeros)  # what it leaves for its first call

    def conv(x: Tensor) -> Tensor:
        answer: Tensor = run(x)[0]
        return answer

    return conv


class _Layer(nn.Module):
    """The convolution as a module."""

    def __init__(self, problem: ConvProblem, weights: Weights) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights.dense, requires_grad=False)
        self.bias = (
            None if weights.bias is None else nn.Parameter(weights.bias, requires_grad=False)
        )
        self.problem = problem

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, C_in, *input_size) -> (N, C_out, *output_size)."""
        problem = self.problem
        ways = (problem.stride, problem.padding, problem.dilation, problem.groups)
        return (_BY_RANK[problem.rank](x, self.weight, self.bias, *ways),)
