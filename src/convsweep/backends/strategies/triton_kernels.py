"""Own GPU kernels, compiled by Triton at the first call."""

from functools import partial

from convsweep.backends.base import Backend, imported_late
from convsweep.problems.problem import ConvProblem


def depthwise_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not a 2-D depthwise convolution."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    return None if problem.is_depthwise else "needs groups = in_channels, more than 1"


def gemm_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not 2-D, or is depthwise: its matrices would have one column."""
    if problem.rank != 2:
        return f"needs 2 spatial dimensions, not {problem.rank}"
    return "a depthwise problem is no matrix product" if problem.is_depthwise else None


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
        prepare=imported_late("kernels.triton_convolutions", "prepare_depthwise"),
        unsupported=depthwise_unsupported,
        source="own kernel; Tillet, Kung & Cox 2019, Triton",
    ),
    _kernel_backend(
        name="triton_implicit_gemm",
        prepare=imported_late("kernels.triton_convolutions", "prepare_gemm"),
        unsupported=gemm_unsupported,
        source="own kernel; Chetlur et al. 2014, cuDNN; Tillet, Kung & Cox 2019, Triton",
    ),
)
