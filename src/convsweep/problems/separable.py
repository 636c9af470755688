"""Depthwise-separable replacement of a standard convolution: its two parts and their work.

The replacement exists if the weight factors: W[o, c, i, j] = P[o, c] * D[c, i, j].
"""

import math
from dataclasses import replace

from convsweep.problems.problem import ConvProblem

SEPARABLE = "separable"  # Backend that computes the replacement
FACTORED = SEPARABLE
"""Prefix of the names of all backends that compute from the factors, and of no others."""
DEPTHWISE, POINTWISE = "depthwise", "pointwise"


def is_replaceable(problem: ConvProblem) -> bool:
    """Return whether a separable layer can replace it: one group, a kernel above 1."""
    return problem.groups == 1 and not (problem.is_pointwise or problem.transposed)


def not_separable_reason(problem: ConvProblem) -> str | None:
    """Return why no separable layer can replace it, or None."""
    return None if is_replaceable(problem) else "needs groups=1, a kernel above 1, no transposition"


def depthwise_part(problem: ConvProblem) -> ConvProblem:
    """Return the convolution of each channel on its own: output (N, C_in, *output_size)."""
    channels = problem.in_channels
    return replace(problem, out_channels=channels, groups=channels, bias=False)


def pointwise_part(problem: ConvProblem) -> ConvProblem:
    """Return the 1x1 convolution across channels, with the bias: (N, C_out, *output_size)."""
    channels = (problem.in_channels, problem.out_channels)
    batch_size, bias = problem.batch_size, problem.bias
    return ConvProblem(*channels, problem.output_size, 1, batch_size=batch_size, bias=bias)


SEPARABLE_PARTS = {DEPTHWISE: depthwise_part, POINTWISE: pointwise_part}


def standard_problem(depthwise: ConvProblem, pointwise: ConvProblem) -> ConvProblem:
    """Return the standard convolution that has these two parts."""
    out_channels, bias = pointwise.out_channels, pointwise.bias
    return replace(depthwise, out_channels=out_channels, groups=1, bias=bias)


def separable_macs(problem: ConvProblem) -> int:
    """Return the MACs of both parts."""
    return depthwise_part(problem).macs + pointwise_part(problem).macs


def separable_min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Return the least bytes of both parts; the tensor between them is written and read."""
    return sum(part(problem).min_bytes(itemsize) for part in SEPARABLE_PARTS.values())


def predicted_share(problem: ConvProblem) -> float:
    """Return separable / standard MACs: 1 / C_out + 1 / prod(kernel_size) (Howard et al. 2017)."""
    return 1 / problem.out_channels + 1 / math.prod(problem.kernel_size)
