"""Depthwise convolution on a GPU by an own kernel, compiled by Triton."""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """Kernels of their own for each input channel, in two dimensions."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    return None if problem.is_depthwise else "needs groups = in_channels, more than 1"


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Weights as the kernel meets them; it is compiled at the first call."""
    from convsweep.backends.kernels import triton_depthwise

    return triton_depthwise.prepare(problem, weights)


BACKEND = Backend(
    name="triton_depthwise",
    prepare=prepare,
    unsupported=unsupported,
    source="own kernel; Tillet, Kung & Cox 2019, Triton",
    device_types=("cuda",),
    dtypes=("float32", "float16", "bfloat16"),
    family="kernels",
    modules=("triton",),
    extra="triton",
    compile_s=60.0,
)
