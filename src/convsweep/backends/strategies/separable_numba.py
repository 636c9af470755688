"""Depthwise and 1x1 convolution fused: what lies between them stays in the cache."""

import math

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import not_separable_reason, separable_macs, separable_min_bytes


def unsupported(problem: ConvProblem) -> str | None:
    """A weight of one group factors; the kernels work on images."""
    if problem.rank != 2:
        return "needs 2 spatial dimensions"
    return not_separable_reason(problem)


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Both factors of the weight, in blocks of channels."""
    from convsweep.backends.kernels import separable

    assert weights.factors is not None
    depthwise, pointwise = weights.factors  # (C_in, 1, *kernel_size), (C_out, C_in, 1, 1)
    return separable.prepare(problem, depthwise.flatten(1), pointwise.flatten(1), weights.bias)


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Both halves' ends: what lies between them need not leave the cache."""
    between = problem.batch_size * problem.in_channels * math.prod(problem.output_size)
    return separable_min_bytes(problem, itemsize) - 2 * itemsize * between


BACKEND = Backend(
    name="separable_numba",
    prepare=prepare,
    unsupported=unsupported,
    macs=separable_macs,
    min_bytes=min_bytes,
    error_bound=factored_sum_bound,
    source="Howard et al. 2017, MobileNets; Zhang, Lo & Lu 2020, High Performance Depthwise and "
    "Pointwise Convolutions on Mobile Devices",
    needs_factors=True,
    device_types=("cpu",),
    dtypes=("float32",),
    family="kernels",
    modules=("numba",),
    extra="numba",
    compile_s=120.0,
)
