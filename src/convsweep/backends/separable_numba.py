"""Depthwise and 1x1 convolution fused: what lies between them stays in the cache."""

from convsweep.backend import Backend, Conv, Weights, direct_sum_bound
from convsweep.problem import ConvProblem
from convsweep.separation import depthwise_half, is_replaceable, pointwise_half


def unsupported(problem: ConvProblem) -> str | None:
    """A weight of one group factors; the kernels work on images."""
    if problem.rank != 2:
        return "needs 2 spatial dimensions"
    if not is_replaceable(problem):
        return "needs groups=1 and a kernel above 1"
    return None


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Both factors of the weight, in blocks of channels."""
    from convsweep.kernels import separable

    assert weights.factors is not None
    depthwise, pointwise = weights.factors  # (C_in, 1, *kernel_size), (C_out, C_in, 1, 1)
    return separable.prepare(problem, depthwise.flatten(1), pointwise.flatten(1), weights.bias)


def macs(problem: ConvProblem) -> int:
    """Both halves: 1 / C_out + 1 / prod(kernel_size) of the standard layer's."""
    return depthwise_half(problem).macs + pointwise_half(problem).macs


def min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Both halves' ends: what lies between them need not leave the cache."""
    between = 2 * itemsize * problem.in_channels * _pixels(problem)
    halves = (depthwise_half(problem), pointwise_half(problem))
    return sum(half.min_bytes(itemsize) for half in halves) - between


def _pixels(problem: ConvProblem) -> int:
    height, width = problem.output_size
    return problem.batch_size * height * width


def error_bound(problem: ConvProblem) -> float:
    """Two sums, and a product of factors that the dense weight rounds."""
    return direct_sum_bound(problem) + 2


BACKEND = Backend(
    name="separable_numba",
    prepare=prepare,
    unsupported=unsupported,
    macs=macs,
    min_bytes=min_bytes,
    error_bound=error_bound,
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
