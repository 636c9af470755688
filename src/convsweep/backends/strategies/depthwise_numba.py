"""Depthwise convolution by an own kernel, compiled by Numba: each input vector is loaded once."""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """One kernel for each channel, in two dimensions."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    if not problem.is_depthwise or problem.out_channels != problem.in_channels:
        return "needs groups = in_channels = out_channels, more than 1"
    return None


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Weights as the kernel meets them; it is compiled at the first call, unless code is kept."""
    from convsweep.backends.kernels import depthwise

    return depthwise.prepare(problem, weights)


BACKEND = Backend(
    name="depthwise_numba",
    prepare=prepare,
    unsupported=unsupported,
    source="own kernel; after Zhang, Lo & Lu (2020), High Performance Depthwise and Pointwise "
    "Convolutions on Mobile Devices",
    family="kernels",
    modules=("numba",),
    extra="numba",
    compile_s=120.0,
    device_types=("cpu",),
    dtypes=("float32",),
)
