"""What an engine is given: convolutions one after another, each with what it has learnt."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from convsweep.backends.base import Weights
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import depthwise_part, pointwise_part


class Layer(NamedTuple):
    """One convolution of a graph."""

    problem: ConvProblem
    weight: Tensor  # (C_out, C_in / groups, *kernel_size)
    bias: Tensor | None  # (C_out,)


def dense(problem: ConvProblem, weights: Weights) -> list[Layer]:
    """The convolution itself."""
    return [Layer(problem, weights.dense, weights.bias)]


def separable(problem: ConvProblem, weights: Weights) -> list[Layer]:
    """The depthwise convolution, then the 1x1 convolution with the bias, in one graph."""
    assert weights.factors is not None
    depthwise, pointwise = weights.factors
    return [
        Layer(depthwise_part(problem), depthwise, None),
        Layer(pointwise_part(problem), pointwise, weights.bias),
    ]
