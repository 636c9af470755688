"""A standard convolution's separable replacement: its two halves, and what MACs promise of it."""

from __future__ import annotations

import math

from convsweep.problems.problem import ConvProblem

SEPARABLE = "separable"
"""The backend that computes the replacement."""
FACTORED = SEPARABLE
"""How the name of each backend begins that computes from a weight's factors, and of no other: no
column of a row tells it, and every backend that is measured on such a weight has its kind."""
DEPTHWISE, POINTWISE = "depthwise", "pointwise"


def is_replaceable(problem: ConvProblem) -> bool:
    """Whether a separable layer can stand in its place: one group, a kernel above 1."""
    return problem.groups == 1 and not problem.is_pointwise


def not_separable_reason(problem: ConvProblem) -> str | None:
    """Why nothing can stand in its place, in words, or None."""
    return None if is_replaceable(problem) else "needs groups=1 and a kernel above 1"


def depthwise_part(problem: ConvProblem) -> ConvProblem:
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


def pointwise_part(problem: ConvProblem) -> ConvProblem:
    """The 1x1 convolution across channels, with the bias: (N, C_out, *output_size)."""
    return ConvProblem(
        problem.in_channels,
        problem.out_channels,
        problem.output_size,
        1,
        batch_size=problem.batch_size,
        bias=problem.bias,
    )


def separable_macs(problem: ConvProblem) -> int:
    """Both halves' MACs: 1 / C_out + 1 / prod(kernel_size) of the standard layer's."""
    return depthwise_part(problem).macs + pointwise_part(problem).macs


def separable_min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Both halves' least bytes: what lies between them is written and read."""
    return sum(half(problem).min_bytes(itemsize) for half in (depthwise_part, pointwise_part))


SEPARABLE_PARTS = {DEPTHWISE: depthwise_part, POINTWISE: pointwise_part}
"""Each half's problem, by its name."""


def predicted_share(problem: ConvProblem) -> float:
    """The part of the MACs that is left: 1 / C_out + 1 / prod(kernel_size) (Howard et al. 2017)."""
    return 1 / problem.out_channels + 1 / math.prod(problem.kernel_size)
