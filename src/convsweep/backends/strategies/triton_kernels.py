"""Own GPU kernels, compiled by Triton at the first call. Their modules import Triton, so late."""

from functools import partial

from convsweep.backends.base import Backend, Conv, Weights
from convsweep.problems.problem import ConvProblem


def depthwise_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not a 2-D depthwise convolution."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    return None if problem.is_depthwise else "needs groups = in_channels, more than 1"


def depthwise(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the taps of each output channel."""
    from convsweep.backends.kernels import triton_depthwise

    return triton_depthwise.prepare(problem, weights)


def gemm_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not 2-D, or is depthwise: its matrices would have one column."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    return "a depthwise problem is no matrix product" if problem.is_depthwise else None


def implicit_gemm(problem: ConvProblem, weights: Weights) -> Conv:
    """Flatten the weights to one matrix per group."""
    from convsweep.backends.kernels import triton_gemm

    return triton_gemm.prepare(problem, weights)


_kernel_backend = partial(
    Backend,
    device_types=("cuda",),
    dtypes=("float32", "float16", "bfloat16"),
    family="kernels",
    modules=("triton",),
    extra="triton",
    compile_s=60.0,
)

BACKENDS = (
    _kernel_backend(
        name="triton_depthwise",
        prepare=depthwise,
        unsupported=depthwise_unsupported,
        source="own kernel; Tillet, Kung & Cox 2019, Triton",
    ),
    _kernel_backend(
        name="triton_implicit_gemm",
        prepare=implicit_gemm,
        unsupported=gemm_unsupported,
        source="own kernel; Chetlur et al. 2014, cuDNN; Tillet, Kung & Cox 2019, Triton",
    ),
)
