"""Convolution on a GPU as an implicit matrix product by an own kernel, compiled by Triton."""

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def unsupported(problem: ConvProblem) -> str | None:
    """Images alone; a depthwise problem would leave it products of one column."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    return "a depthwise problem is no matrix product" if problem.is_depthwise else None


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Weights as matrices; the kernel is compiled at the first call."""
    from convsweep.backends.kernels import triton_gemm

    return triton_gemm.prepare(problem, weights)


BACKEND = Backend(
    name="triton_implicit_gemm",
    prepare=prepare,
    unsupported=unsupported,
    source="own kernel; Chetlur et al. 2014, cuDNN; Tillet, Kung & Cox 2019, Triton",
    device_types=("cuda",),
    dtypes=("float32", "float16", "bfloat16"),
    family="kernels",
    modules=("triton",),
    extra="triton",
    compile_s=60.0,
)
