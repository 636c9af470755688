"""A standard convolution's separable replacement: its two halves, and what MACs promise of it."""

from __future__ import annotations

import math

from convsweep.problem import ConvProblem

SEPARABLE = "separable"
"""The backend that computes the replacement."""
DEPTHWISE, POINTWISE = "depthwise", "pointwise"


def is_replaceable(problem: ConvProblem) -> bool:
    """Whether a separable layer can stand in its place: one group, a kernel above 1."""
    return problem.groups == 1 and not problem.is_pointwise


def depthwise_half(problem: ConvProblem) -> ConvProblem:
    """Each input channel convolved on its own: (N, C_in, *output_size)."""
    return ConvProblem(
        problem.in_channels,
        problem.in_channels,
        problem.input_size,
        problem.kernel_size,
        batch_size=problem.batch_size,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.in_channels,
    )


def pointwise_half(problem: ConvProblem) -> ConvProblem:
    """The 1x1 convolution across channels, with the bias: (N, C_out, *output_size)."""
    return ConvProblem(
        problem.in_channels,
        problem.out_channels,
        problem.output_size,
        1,
        batch_size=problem.batch_size,
        bias=problem.bias,
    )


HALF = {DEPTHWISE: depthwise_half, POINTWISE: pointwise_half}
"""Each half's problem, by its name."""


def predicted_share(problem: ConvProblem) -> float:
    """The part of the MACs that is left: 1 / C_out + 1 / prod(kernel_size) (Howard et al. 2017)."""
    return 1 / problem.out_channels + 1 / math.prod(problem.kernel_size)
